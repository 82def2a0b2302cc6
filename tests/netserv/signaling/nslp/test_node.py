"""What nodes on a path do with a request, without losses."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from mdht.signing import SigningKey
from netserv.errors import LocalProtocolError
from netserv.signaling.gist.messages import HOPS_DEFAULT
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.service import LastBy, RecvMessage, SendMessage
from netserv.signaling.handler import RecordingHandler
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.effects import Abandoned
from netserv.signaling.nslp.node import flow_mri
from netserv.signaling.nslp.publishers import Publishers
from netserv.signaling.nslp.requests import Probe, Remove, encode, request_id
from netserv.signaling.nslp.signing import entry_is_of, signed
from netserv.signaling.nslp.text import padded
from tests.netserv.signaling.nslp.memory_path import (
    ALICE,
    HOP_S,
    MODULE,
    PUBLISHERS,
    RECEIVER,
    SENDER,
    TO_RECEIVER,
    UNIX,
    Accepting,
    Path,
    probe,
    setup,
)

MALLORY = SigningKey.from_seed(b"\6" * 32)
HOW_LONG = {LastBy.ICMP: 5 * HOP_S, LastBy.TIMEOUT: 7.5 + 4 * HOP_S, LastBy.ENDPOINT: 5 * HOP_S}


def codes(path: Path) -> list[int]:
    """Of the nodes, nearest first."""
    return [entry.code for entry in path.answer.response.nearest_first()]


def sent_by(path: Path, index: int, direction: Direction) -> Sequence[SendMessage]:
    return [message for who, message in path.sent if who == index and message.mri.direction == direction]


@pytest.mark.parametrize("last_by", LastBy)
def test_a_probe_brings_the_entries_of_all_nodes(last_by: LastBy) -> None:
    path = Path(RecordingHandler(PUBLISHERS), RecordingHandler(PUBLISHERS), last_by=last_by)
    request = probe("status", "load")
    path.ask(request)
    path.run()
    response = path.answer.response
    assert path.answer.nonce == response.request == request.nonce
    assert [(entry.node_id, entry.code, entry.last_by) for entry in response.nearest_first()] == [
        ("n1", 200, None),
        ("n2", 200, last_by),
    ]
    assert [name for name, _ in response.stack[0].lines] == ["status", "load"]
    assert path.done[0][0] == pytest.approx(HOW_LONG[last_by])


def test_a_node_at_the_end_of_the_flow_is_the_last() -> None:
    path = Path(Accepting(), receiver=Accepting())
    path.ask(probe())
    path.run()
    assert [(entry.node_id, entry.last_by) for entry in path.answer.response.stack] == [
        ("receiver", LastBy.ENDPOINT),
        ("n1", None),
    ]


def test_a_host_at_the_end_that_is_no_node_has_no_entry() -> None:
    path = Path(Accepting(), Accepting())
    path.nodes[-1] = path._node("receiver", "10.9.0.1", None)
    path.ask(probe())
    path.run()
    assert [(entry.node_id, entry.last_by) for entry in path.answer.response.stack] == [
        ("n2", LastBy.ENDPOINT),
        ("n1", None),
    ]


def test_the_request_goes_on_unchanged_and_before_it_is_answered() -> None:
    path = Path(Accepting(), Accepting())
    request = setup(others=(("x-note", "kept"),))
    path.ask(request)
    path.run()
    downwards = [message for _, message in path.sent if message.mri.direction == Direction.DOWNSTREAM]
    assert len(downwards) == 3
    assert {message.data for message in downwards} == {padded(encode(request))}
    assert len({message.sid for message in downwards}) == 1
    assert [message.hops for message in downwards] == [HOPS_DEFAULT, HOPS_DEFAULT - 1, HOPS_DEFAULT - 2]
    assert all(message.attributes.reliable for _, message in path.sent)
    for handler in path.handlers:
        assert isinstance(handler, Accepting)
        assert [encode(one) for one in handler.acted] == [encode(request)]
    assert codes(path) == [202, 202]


def test_a_node_knows_how_a_request_has_come() -> None:
    handler = RecordingHandler(PUBLISHERS)
    path = Path(handler)
    path.ask(probe())
    path.run()
    arrival = handler.records[0].arrival
    assert arrival.flow == TO_RECEIVER
    assert (arrival.distance, arrival.interface, arrival.publisher) == (1, 1, ALICE.public_key)


@pytest.mark.parametrize(
    ("request_", "code", "why"),
    [
        (probe(key=MALLORY), Code.UNAUTHORIZED, "signature is not alice's"),
        (probe(user="bob"), Code.UNAUTHORIZED, "bob is not known"),
        (probe(expires=int(UNIX) - 60), Code.GONE, "expired 60 s ago"),
        (probe(expires=int(UNIX) + 86_400), Code.FORBIDDEN, "3600 s at most"),
        (probe(flow=TO_RECEIVER.swapped()), Code.FORBIDDEN, "signed for the flow"),
        (probe(nonce=None), Code.BAD_REQUEST, "nonce is missing"),
        (Probe(items=("status",)), Code.UNAUTHORIZED, "no public probes"),
        (signed(Remove(target=MODULE, user="alice"), ALICE), Code.BAD_REQUEST, "nonce is missing"),
        (setup(), Code.FORBIDDEN, "runs no modules"),
        (probe(target=MODULE), Code.NOT_FOUND, "is not here"),
    ],
)
def test_what_a_node_refuses_goes_on_and_its_entry_says_why(request_: Probe, code: Code, why: str) -> None:
    path = Path(RecordingHandler(PUBLISHERS), RecordingHandler(PUBLISHERS))
    path.ask(request_)
    path.run()
    assert codes(path) == [code, code]
    assert path.answer.response.code == code
    for entry, handler in zip(path.answer.response.stack, path.handlers, strict=True):
        assert why in entry.text
        assert [record.code for record in handler.records] == [code]


def test_one_node_that_refuses_leaves_the_others_alone() -> None:
    path = Path(Accepting(), Accepting(Publishers({"alice": (MALLORY.public_key,)})), Accepting())
    path.ask(setup())
    path.run()
    assert codes(path) == [202, 401, 202]
    assert path.answer.response.code == 401
    assert [len(handler.acted) for handler in path.handlers if isinstance(handler, Accepting)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"PROBE * NETSERV/0.2\n\n", Code.BAD_REQUEST),
        (b"FETCH * NETSERV/0.1\n\n", Code.BAD_REQUEST),
        (b"PROBE * NETSERV/0.1\nprobe:status\nprobe:load\n\n", Code.BAD_REQUEST),
        (b"\xff\xfe", Code.BAD_REQUEST),
        (b"PROBE * NETSERV/0.1\nx:" + b"y" * 9_000 + b"\n\n", Code.TOO_LARGE),
    ],
)
def test_what_cannot_be_read_goes_on_too(data: bytes, code: Code) -> None:
    path = Path(Accepting(), Accepting())
    mri = flow_mri(SENDER, RECEIVER)
    path.perform(0, [SendMessage(nslp_id=32704, sid=bytes(16), mri=mri, data=padded(data))])
    path.run(1.0)
    upwards = sent_by(path, 1, Direction.UPSTREAM)
    assert len(upwards) == 1
    assert upwards[0].data.count(f"code:{int(code)}".encode()) == 3
    assert f"request:{request_id(None, data).hex()}".encode() in upwards[0].data
    assert [path.node(index).counters.malformed for index in (1, 2)] == [1, 1]


def test_a_public_probe_is_answered_where_the_operator_opens_them() -> None:
    path = Path(RecordingHandler(Publishers()), config=NslpConfig(public_probes=True, thesis_mode=True))
    path.ask(Probe(items=("status",)))
    path.run()
    assert codes(path) == [200]
    assert path.handlers[0].records[0].arrival.publisher is None


def test_only_the_named_node_acts() -> None:
    path = Path(Accepting(), Accepting(), Accepting())
    path.ask(setup(node_id="n2"))
    path.run()
    assert [(entry.code, entry.text) for entry in path.answer.response.nearest_first()] == [
        (200, "relayed: it is for node n2"),
        (202, "work has begun"),
        (200, "relayed: it is for node n2"),
    ]
    assert [len(handler.acted) for handler in path.handlers if isinstance(handler, Accepting)] == [0, 1, 0]


def test_thesis_mode_demands_no_claims() -> None:
    path = Path(Accepting(), config=NslpConfig(thesis_mode=True))
    path.ask(setup(nonce=None, expires=None, flow=None))
    path.run()
    assert codes(path) == [202]


def test_without_a_node_the_request_is_abandoned() -> None:
    path = Path()
    path.ask(probe())
    path.run()
    when, effect = path.done[0]
    assert isinstance(effect, Abandoned)
    assert effect.no_node
    assert "nothing listens on the GIST port" in effect.reason
    assert when == pytest.approx(HOP_S)


def test_signed_entries_verify_at_the_requester() -> None:
    keys = [SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2)]
    path = Path(Accepting(), Accepting(), keys=keys)
    path.ask(probe())
    path.run()
    response = path.answer.response
    for entry, key in zip(response.nearest_first(), keys, strict=True):
        assert entry_is_of(response, entry, key.public_key)


def test_a_node_is_shown_by_its_address_towards_the_requester() -> None:
    path = Path(Accepting())
    path.nodes[1] = path._node("n1", "10.0.1.1", path.handlers[0])
    path.node(1)._relay._entries._addresses = lambda: ["2001:db8::1", "192.0.2.1", "10.0.0.254", "10.1.0.1"]
    path.ask(probe())
    path.run()
    assert path.answer.response.stack[0].address == bytes([10, 0, 0, 254])


def test_routing_state_is_released_after_an_exchange() -> None:
    path = Path(Accepting(), Accepting())
    path.ask(probe())
    path.run()
    assert [(index, one.mri.direction, one.lifetime_s) for index, one in path.lifetimes] == [
        (0, Direction.DOWNSTREAM, 0.0),
        *((index, direction, 0.0) for index in (2, 1) for direction in Direction),
    ]
    assert all(one.sid == path.sent[0][1].sid for _, one in path.lifetimes)
    for index in range(3):
        status = path.node(index).status()
        assert (status.waiting, status.kept, status.sessions, status.own) == (0, 0, 0, 0)
        assert path.node(index).next_deadline() == math.inf


def test_a_session_declared_long_is_kept_and_used_again() -> None:
    path = Path(Accepting(), Accepting())
    sid = b"\5" * 16
    path.ask(setup(long_session=True), sid=sid)
    path.run(100.0)
    assert {one.lifetime_s for _, one in path.lifetimes} == {3_600.0}
    assert path.node(1).status().long_sessions == 1
    path.ask(setup(long_session=True, expires=int(UNIX) + 160), sid=sid)
    path.run(200.0)
    assert len(path.done) == 2
    path.perform(0, path.sender.release(sid, source=SENDER, destination=RECEIVER))
    assert path.lifetimes[-1][1].lifetime_s == 0.0
    assert path.lifetimes[-1][1].sid == sid
    path.run(4_000.0)
    assert path.node(1).status().long_sessions == 0
    assert sum(one.lifetime_s == 0.0 for index, one in path.lifetimes if index == 1) == 2


def test_a_session_is_not_lengthened_by_who_may_not() -> None:
    path = Path(Accepting(), config=NslpConfig(long_sessions_max=1))
    path.ask(setup(long_session=True, key=MALLORY))
    path.run()
    assert {one.lifetime_s for index, one in path.lifetimes if index == 1} == {0.0}
    path.ask(setup(long_session=True, expires=int(UNIX) + 260))
    path.ask(setup(long_session=True, expires=int(UNIX) + 260))
    path.run(400.0)
    assert path.node(1).status().long_sessions == 1


def test_what_runs_against_the_direction_of_its_kind_is_dropped() -> None:
    path = Path(Accepting())
    mri = flow_mri(SENDER, RECEIVER)
    against = msgspec.structs.replace(mri, direction=Direction.UPSTREAM)
    node = path.node(1)
    for flow, data in ((against, encode(probe())), (mri, b"RESPONSE * NETSERV/0.1\n\n")):
        assert node.received(RecvMessage(nslp_id=32704, sid=bytes(16), mri=flow, data=data), 0.0) == []
    assert node.counters.strays == 2
    assert node.received(RecvMessage(nslp_id=32704, sid=bytes(16), mri=mri, data=b""), 0.0) == []


def test_what_came_without_a_handshake_is_dropped() -> None:
    handler = Accepting()
    node = Path(handler).node(1)
    message = RecvMessage(
        nslp_id=32704,
        sid=bytes(16),
        mri=flow_mri(SENDER, RECEIVER),
        data=padded(encode(setup())),
        state_validated=False,
    )
    assert node.received(message, 0.0) == []
    assert node.counters.unvalidated == 1
    assert handler.acted == []
    assert node.status().waiting == 0


def test_a_node_peers_with_every_session_an_end_host_only_with_its_own() -> None:
    path = Path(Accepting())
    query = RecvMessage(nslp_id=32704, sid=bytes(16), mri=flow_mri(SENDER, RECEIVER), data=b"")
    assert path.node(1).peering(query, 0.0).peer
    assert not path.sender.peering(query, 0.0).peer
    assert path.sender.peering(msgspec.structs.replace(query, to_flow_endpoint=True), 0.0).peer
    assert path.node(1).peering(query, 0.0).payload is None


def test_asking_has_its_rules() -> None:
    path = Path(Accepting(), config=NslpConfig(asks_max=2))
    request = probe()
    path.ask(request, sid=bytes(16))
    with pytest.raises(LocalProtocolError, match="under way already"):
        path.ask(request, sid=bytes(16))
    with pytest.raises(LocalProtocolError, match="do not fit a datagram"):
        path.ask(setup(others=(("x", "y" * 99),)), reliable=False)
    path.ask(probe())
    with pytest.raises(LocalProtocolError, match="wait for their answers"):
        path.ask(probe())
    with pytest.raises(NslpError):
        path.ask(b"strange")


def test_a_request_of_bytes_goes_out_as_it_is() -> None:
    path = Path(Accepting())
    text = encode(probe(signature=None))
    head = text[: text.index(b"signature:")].replace(b"\n", b"\r\n")
    request = head + text[text.index(b"signature:") :]
    path.ask(request)
    path.run()
    assert path.sent[0][1].data == padded(request)
    assert codes(path) == [401]


def test_a_small_probe_travels_by_datagrams_and_so_does_its_answer() -> None:
    path = Path(RecordingHandler(PUBLISHERS), RecordingHandler(PUBLISHERS))
    path.ask(probe(), reliable=False)
    path.run()
    assert codes(path) == [200, 200]
    assert not any(message.attributes.reliable for _, message in path.sent)
    assert max(len(message.data) for _, message in path.sent) <= NslpConfig().unreliable_bytes_max


def test_what_finds_no_room_in_datagrams_is_counted() -> None:
    path = Path(*(RecordingHandler(PUBLISHERS) for _ in range(6)))
    path.ask(probe(), reliable=False)
    path.run(10.0)
    response = path.answer.response
    assert len(response.stack) + response.truncated == 6
    assert response.truncated > 0
    assert response.stack[0].node_id == "n6"
    path.ask(probe())
    path.run(20.0)
    last = path.done[1][1]
    assert not isinstance(last, Abandoned)
    assert len(last.response.stack) == 6


@pytest.mark.parametrize("changes", [{"discovery_s": 0.0}, {"answer_within_s": 5.0}, {"ask_within_s": 10.0}])
def test_settings_that_cannot_work_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        NslpConfig(**changes)
    assert NslpConfig.for_discovery(63.5).ask_within_s > 63.5
