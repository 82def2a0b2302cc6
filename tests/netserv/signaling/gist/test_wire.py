import os
from contextlib import suppress
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.signaling.gist import wire
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.errors import ErrorCode, GistError
from netserv.signaling.gist.messages import Confirm, Data, Error, Message, Query, Response
from netserv.signaling.gist.objects.mri import Direction, PathCoupledMri
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal
from netserv.signaling.gist.tlv import ObjectType, framed
from tests.netserv.signaling.gist.gist_messages import DEFECT, GOOD, MESSAGES, MRIS, VECTORS, words

MUTATIONS = int(os.environ.get("GIST_MUTATIONS", "20000"))
"Of golden messages; a million takes some minutes."
FLOW = PathCoupledMri(
    source=packed("10.71.1.1"), destination=packed("10.71.2.2"), source_prefix=32, destination_prefix=32
)


def mutated(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(6):
            case 0 if changed:
                changed[at] = rng.randrange(256)
            case 1 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + rng.randint(1, 8)]
            case 4:  # the length right again, so that what stands behind the header is looked at
                changed[2:4] = (max(0, len(changed) - 8) // 4).to_bytes(2, "big")
            case _:
                changed[at:at] = rng.randbytes(4 * rng.randint(1, 3))
    return bytes(changed)


@pytest.mark.parametrize("name", GOOD)
def test_golden_message_is_read_and_written_byte_for_byte(name: str) -> None:
    """NSIS-ka 0.98 (KIT) has sent these bytes, on a path of three network namespaces, on 2026-11-22."""
    message = VECTORS[name].message
    assert wire.encode(wire.decode(message)) == message


def test_golden_query_has_the_values_that_were_sent() -> None:
    assert wire.decode(VECTORS["ka_query_cmode_offer"].message) == Query(
        nslp_id=32704,
        hops=32,
        mri=FLOW,
        sid=bytes(16),
        nli=Nli(
            peer_identity=bytes.fromhex("d0a39d6dcf71e7c4a87b19d2b9ed3ea2"),
            address=packed("10.71.1.1"),
            ip_ttl=64,
            validity_ms=60_000,
        ),
        query_cookie=bytes.fromhex("92aa4e73"),
        stack_proposal=StackProposal(((1,), (2, 1))),
        stack_configuration=StackConfiguration(
            hold_time_ms=180_000,
            options=(ProtocolOption(protocol=1, profile=1), ProtocolOption(protocol=1, profile=2)),
        ),
    )


def test_golden_response_goes_upstream_and_names_ports() -> None:
    response = wire.decode(VECTORS["ka_response_udp"].message)
    assert isinstance(response, Response)
    assert response.wants_confirm
    assert response.mri == msgspec.structs.replace(
        FLOW, direction=Direction.UPSTREAM, protocol=17, source_port=5060, destination_port=5060
    )


def test_golden_error_with_its_defects_says_what_can_be_read() -> None:
    """NSIS-ka counts one field of additional information and sends none.

    The field is left out, everything else is taken: an Error is never answered, and that it came is what matters.
    S=0 together with an NLI is another defect of that message, and is left to whoever looks at the IP source.
    Written again, it counts what there is: one byte is different.
    """
    golden = VECTORS[DEFECT].message
    message = wire.decode(golden, on_association=False)
    assert isinstance(message, Error)
    assert not message.source_is_signaller
    assert (message.error.code, message.error.subcode) == (ErrorCode.COMMON_HEADER_PARSE_ERROR, 1)
    assert message.error.original_header == bytes.fromhex("012000127fc00980")
    assert message.error.info == ()
    again = wire.encode(message)
    assert [at for at in range(len(golden)) if golden[at] != again[at]] == [51]


@given(MESSAGES)
def test_any_message_comes_back_as_it_was(message: Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(MRIS)
def test_any_mri_comes_back_from_its_value(mri: PathCoupledMri) -> None:
    assert wire.mri_from(mri.encode()) == mri
    assert mri.inverted().direction != mri.direction
    assert mri.inverted().inverted() == mri


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, _with_header(data)):
        with suppress(GistError):
            message = wire.decode(candidate)
            assert wire.decode(wire.encode(message)) == message
    with suppress(GistError):
        assert wire.mri_from(data).encode()


@given(MESSAGES, st.binary(min_size=1, max_size=12))
def test_message_with_a_tail_is_refused(message: Message, tail: bytes) -> None:
    with pytest.raises(GistError) as refused:
        wire.decode(wire.encode(message) + tail)
    assert refused.value.code is ErrorCode.COMMON_HEADER_PARSE_ERROR


@given(MESSAGES, st.data())
def test_message_cut_short_is_refused(message: Message, data: st.DataObject) -> None:
    written = wire.encode(message)
    with pytest.raises(GistError):
        wire.decode(written[: data.draw(st.integers(0, len(written) - 1))])


def test_mutated_golden_messages_are_read_or_refused_and_an_error_can_be_written_about_each() -> None:
    rng = Random(5971)
    originals = [vector.message for vector in VECTORS.values()]
    read = 0
    for _ in range(MUTATIONS):
        data = mutated(rng.choice(originals), rng)
        try:
            message = wire.decode(data)
        except GistError as error:
            about = wire.error_about(data, error, d_mode=True, q_mode=rng.random() < 0.5)
            written = wire.encode(Error(error=about))
            assert len(written) <= 512 - 32
            assert wire.decode(written) == Error(error=about)
        else:
            read += 1
            assert wire.decode(wire.encode(message)) == message
    assert MUTATIONS * 0.02 < read < MUTATIONS * 0.9


@given(MESSAGES, st.integers(0, 255))
def test_forwarded_message_differs_in_its_hops_only(message: Message, hops: int) -> None:
    written = wire.encode(message)
    forwarded = wire.forwarded(written, hops=hops)
    assert forwarded[1] == hops
    assert forwarded[:1] + forwarded[2:] == written[:1] + written[2:]


@given(st.sampled_from(GOOD).map(lambda name: VECTORS[name].message), words(40))
def test_forwarded_message_has_the_new_payload_and_all_else_as_it_was(written: bytes, payload: bytes) -> None:
    before = wire.decode(written)
    if not isinstance(before, (Query, Response, Confirm, Data)):
        return
    after = wire.decode(wire.forwarded(written, hops=7, nslp_data=payload))
    assert after == msgspec.structs.replace(before, hops=7, nslp_data=payload)


def test_forwarded_message_keeps_objects_that_are_unknown_here() -> None:
    """Appendix A.2.1 has AB=10 kept where a message is forwarded; it stands behind the payload here."""
    data = VECTORS["ka_data_dmode"].message
    unknown = bytes.fromhex("87d000010000002a")
    sent = data[:2] + (int.from_bytes(data[2:4], "big") + 2).to_bytes(2, "big") + data[4:] + unknown
    forwarded = wire.forwarded(sent, hops=1, nslp_data=b"longer than before, in words")
    assert forwarded.endswith(unknown)


def test_payload_that_is_no_whole_word_is_the_callers_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        wire.forwarded(VECTORS["ka_data_dmode"].message, hops=1, nslp_data=b"12345")


def test_header_is_read_before_anything_else() -> None:
    header = wire.header_of(VECTORS["ka_query_dmode"].message[:8] + b"nonsense")
    assert (header.hops, header.nslp_id, header.kind) == (32, 32704, wire.MessageType.QUERY)
    assert (header.context_free, header.source_is_signaller, header.wants_reply, header.explicitly_routed) == (
        True,
        True,
        True,
        False,
    )


def test_error_about_a_message_names_its_session_and_flow() -> None:
    query = VECTORS["ka_query_dmode"].message
    error = GistError("nobody", code=ErrorCode.ENDPOINT_FOUND)
    about = wire.error_about(query, error, d_mode=True, q_mode=True, comment="no such application here")
    assert about.original_header == query[:8]
    assert about.sid == bytes(16)
    assert about.mri == FLOW.encode()
    assert (about.error_class, about.was_d_mode, about.was_q_mode) == (4, True, True)


def test_error_about_a_bad_header_names_neither() -> None:
    query = b"\2" + VECTORS["ka_query_dmode"].message[1:]
    with pytest.raises(GistError) as refused:
        wire.decode(query)
    about = wire.error_about(query, refused.value, d_mode=True)
    assert about.sid is None
    assert about.mri is None
    assert about.original_header == query[:8]


def test_error_about_a_scrap_has_a_header_filled_up() -> None:
    with pytest.raises(GistError) as refused:
        wire.decode(b"\1\2\3")
    assert wire.error_about(b"\1\2\3", refused.value, d_mode=True).original_header == b"\1\2\3\0\0\0\0\0"


def test_error_about_long_objects_still_fits_a_datagram() -> None:
    """The two objects that do not go together are both shown, as far as 512 bytes allow."""
    query = wire.decode(VECTORS["ka_query_dmode"].message)
    assert isinstance(query, Query)
    offer = framed(ObjectType.STACK_PROPOSAL, StackProposal(((9,) * 250,) * 20).encode())
    option = ProtocolOption(protocol=1, profile=1, data=bytes(200))
    configuration = StackConfiguration(hold_time_ms=1, options=(option,) * 20)
    data = wire.encode(query) + offer + framed(ObjectType.STACK_CONFIGURATION, configuration.encode())
    data = data[:2] + (len(data) // 4 - 2).to_bytes(2, "big") + data[4:]
    with pytest.raises(GistError) as refused:
        wire.decode(data)
    about = wire.error_about(data, refused.value, d_mode=True, q_mode=True)
    assert len(wire.encode(Error(nli=query.nli, error=about))) <= 512
    shown = [offer[:128], framed(ObjectType.STACK_CONFIGURATION, configuration.encode())[:128]]
    assert [value[4:] for _, value in about.info] == shown


def _with_header(objects: bytes) -> bytes:
    objects = objects[: len(objects) // 4 * 4]
    return bytes((1, 3, 0, len(objects) // 4)) + b"\x7f\xc0\x03\x80" + objects
