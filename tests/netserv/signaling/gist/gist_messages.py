"""Messages for tests: the golden vectors, and hypothesis strategies for every object and message."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from hypothesis import strategies as st

from netserv.signaling.gist import wire
from netserv.signaling.gist.messages import Confirm, Data, Error, MaHello, Message, Query, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Area, Direction, LooseEndMri, OffPathMri, PathCoupledMri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal


class Vector(msgspec.Struct):
    """What another implementation has sent."""

    name: str
    transport: str
    src: str
    dst: str
    payload_hex: str
    sport: str
    dport: str

    @property
    def payload(self) -> bytes:
        return bytes.fromhex(self.payload_hex)

    @property
    def message(self) -> bytes:
        return self.payload.removeprefix(wire.MAGIC) if self.transport == "udp" else self.payload


def _read_vectors() -> Mapping[str, Vector]:
    found = json.loads(Path(__file__).with_name("nsis_ka_vectors.json").read_text())["vectors"]
    return {one["name"]: msgspec.convert(one, Vector) for one in found}


VECTORS: Final = _read_vectors()
DEFECT: Final = "ka_error_unknown_type"
"The peer has made this one in part against the RFC."
GOOD: Final = tuple(name for name in VECTORS if name != DEFECT)


def words(most: int = 16) -> st.SearchStrategy[bytes]:
    """Whole words, up to `most` of them."""
    return st.integers(0, most).flatmap(lambda count: st.binary(min_size=4 * count, max_size=4 * count))


U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
SIDS = st.binary(min_size=16, max_size=16)
ADDRESSES = st.sampled_from((4, 16)).flatmap(lambda size: st.binary(min_size=size, max_size=size))
HOST_ADDRESSES = st.one_of(
    st.tuples(st.integers(1, 223), st.binary(min_size=3, max_size=3)).map(lambda both: bytes((both[0],)) + both[1]),
    st.binary(min_size=16, max_size=16).filter(lambda address: address[0] != 0xFF and any(address)),
)
DIRECTIONS = st.sampled_from(Direction)


@st.composite
def path_coupled_mris(draw: st.DrawFn) -> PathCoupledMri:
    source = draw(ADDRESSES)
    size = len(source)
    protocol = draw(st.none() | U8)
    with_protocol = protocol is not None
    return PathCoupledMri(
        source=source,
        destination=draw(st.binary(min_size=size, max_size=size)),
        source_prefix=draw(st.integers(0, 8 * size)),
        destination_prefix=draw(st.integers(0, 8 * size)),
        direction=draw(DIRECTIONS),
        protocol=protocol,
        dscp=draw(st.none() | st.integers(0, 63)),
        flow_label=draw(st.none() | st.integers(0, 0xF_FFFF)) if size == 16 else None,
        spi=draw(st.none() | U32) if with_protocol else None,
        source_port=draw(st.none() | U16) if with_protocol else None,
        destination_port=draw(st.none() | U16) if with_protocol else None,
    )


def _address_pairs() -> st.SearchStrategy[tuple[bytes, bytes]]:
    return ADDRESSES.flatmap(lambda one: st.tuples(st.just(one), st.binary(min_size=len(one), max_size=len(one))))


LOOSE_END_MRIS = st.builds(
    lambda both, direction: LooseEndMri(source=both[0], destination=both[1], direction=direction),
    _address_pairs(),
    DIRECTIONS,
)
OFF_PATH_MRIS = st.builds(
    lambda both, area, radius, direction: OffPathMri(
        source=both[0], destination=both[1], area=area, radius=radius, direction=direction
    ),
    _address_pairs(),
    st.sampled_from(Area),
    st.integers(1, 15),
    DIRECTIONS,
)
MRIS = path_coupled_mris() | LOOSE_END_MRIS | OFF_PATH_MRIS
NLIS = st.builds(
    Nli,
    peer_identity=st.binary(min_size=1, max_size=40),
    address=HOST_ADDRESSES,
    ip_ttl=U8,
    validity_ms=st.integers(1, 0xFFFF_FFFF),
)
STACK_PROPOSALS = st.builds(
    StackProposal,
    st.lists(st.lists(st.integers(1, 255), min_size=1, max_size=9).map(tuple), min_size=1, max_size=5).map(tuple),
)
OPTIONS = st.builds(
    ProtocolOption, protocol=st.integers(1, 255), profile=U8, must_not_be_used=st.booleans(), data=st.binary(max_size=9)
)
STACK_CONFIGURATIONS = st.builds(
    StackConfiguration, hold_time_ms=st.integers(1, 0xFFFF_FFFF), options=st.lists(OPTIONS, max_size=5).map(tuple)
)
NAT_TRAVERSALS = st.builds(
    NatTraversal,
    original_mri=words(8).filter(bool),
    translated_types=st.lists(U16, max_size=5).map(tuple),
    opaque=st.lists(st.binary(max_size=9), max_size=4).map(tuple),
)
COMMENTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@st.composite
def error_objects(draw: st.DrawFn) -> ErrorObject:
    was_d_mode = draw(st.booleans())
    return ErrorObject(
        error_class=draw(U8),
        code=draw(U16),
        subcode=draw(U8),
        was_d_mode=was_d_mode,
        was_q_mode=was_d_mode and draw(st.booleans()),
        original_header=draw(st.binary(min_size=8, max_size=8)),
        sid=draw(st.none() | SIDS),
        mri=draw(st.none() | words(13)),
        info=draw(st.lists(st.tuples(U16, words(4)), max_size=3).map(tuple)),
        comment=draw(st.none() | COMMENTS),
    )


@st.composite
def offers(draw: st.DrawFn) -> tuple[StackProposal | None, StackConfiguration | None]:
    """A proposal with what belongs to it, or neither."""
    if draw(st.booleans()):
        return None, None
    proposal = draw(STACK_PROPOSALS)
    options = [
        ProtocolOption(protocol=protocol, profile=number, data=draw(st.binary(max_size=5)))
        for number, profile in enumerate(proposal.profiles, 1)
        for protocol in profile
        if protocol == 1 or draw(st.booleans())
    ]
    return proposal, StackConfiguration(hold_time_ms=draw(st.integers(1, 0xFFFF_FFFF)), options=tuple(options))


ROUTED = {"nslp_id": U16, "hops": U8, "source_is_signaller": st.booleans(), "mri": MRIS, "sid": SIDS}
PAYLOADS = st.none() | words()
NATS = st.none() | NAT_TRAVERSALS


@st.composite
def queries(draw: st.DrawFn) -> Query:
    proposal, configuration = draw(offers())
    rest = draw(
        st.fixed_dictionaries({**ROUTED, "nli": NLIS, "query_cookie": words(), "nslp_data": PAYLOADS, "nat": NATS})
    )
    return Query(**rest, stack_proposal=proposal, stack_configuration=configuration)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    cookie = draw(st.none() | words())
    proposal, configuration = draw(offers()) if cookie is not None else (None, None)
    rest = draw(
        st.fixed_dictionaries({**ROUTED, "nli": NLIS, "query_cookie": words(), "nslp_data": PAYLOADS, "nat": NATS})
    )
    return Response(
        **rest,
        wants_confirm=cookie is not None or draw(st.booleans()),
        responder_cookie=cookie,
        stack_proposal=proposal,
        stack_configuration=configuration,
    )


@st.composite
def confirms(draw: st.DrawFn) -> Confirm:
    cookie = draw(st.none() | words())
    proposal = draw(st.none() | STACK_PROPOSALS) if cookie is not None else None
    configuration = draw(st.none() | STACK_CONFIGURATIONS) if proposal is not None else None
    rest = draw(st.fixed_dictionaries({**ROUTED, "nli": NLIS, "nslp_data": PAYLOADS}))
    return Confirm(**rest, responder_cookie=cookie, stack_proposal=proposal, stack_configuration=configuration)


@st.composite
def data_messages(draw: st.DrawFn) -> Data:
    q_mode = draw(st.booleans())
    rest = draw(
        st.fixed_dictionaries({**ROUTED, "explicitly_routed": st.booleans(), "nslp_data": words(), "nat": NATS})
    )
    return Data(**rest, q_mode=q_mode, nli=draw(NLIS if q_mode else st.none() | NLIS))


ERRORS = st.builds(
    Error, hops=U8, source_is_signaller=st.booleans(), nli=st.none() | NLIS, error=error_objects(), nat=NATS
)


@st.composite
def ma_hellos(draw: st.DrawFn) -> MaHello:
    wants_reply = draw(st.booleans())
    return MaHello(
        hops=draw(U8),
        source_is_signaller=draw(st.booleans()),
        wants_reply=wants_reply,
        hello_id=draw(st.integers(int(wants_reply), 0xFFFF_FFFF)),
    )


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    queries(), responses(), confirms(), data_messages(), ERRORS, ma_hellos()
)
