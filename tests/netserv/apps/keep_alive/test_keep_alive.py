from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.apps.keep_alive import stun
from netserv.apps.keep_alive.keep_alive import PING, PONG, ZEROS, KeepAlive, is_keep_alive
from netserv.apps.sources import app_files
from netserv.modules.api import ACCEPT, Packet
from netserv.modules.blocks.metrics import Metrics
from netserv.modules.manifest import read_manifest
from netserv.modules.sources import check_sources
from tests.netserv.apps.keep_alive.messages import AGENT, NOTIFY, notify
from tests.netserv.apps.keep_alive.test_stun import REQUEST
from tests.netserv.modules.test_packets import TCP, UDP, packet_bytes, view

FOUR = (AGENT[0], "10.1.0.2")
SIX = ("2001:db8::7", "2001:db8:1::2")
PORTS = (AGENT[1], 5060)


@pytest.fixture
def module() -> KeepAlive:
    keep_alive = KeepAlive()
    keep_alive.start(SimpleNamespace(metrics=Metrics(), log=SimpleNamespace(info=lambda *_: None)))  # type: ignore[arg-type]
    return keep_alive


def reply(module: KeepAlive, data: bytes, ends: tuple[str, str] = FOUR, proto: int = UDP) -> Packet | None:
    (said,) = module.process_batch([view(packet_bytes(ends, proto, data, PORTS))])
    return None if said is ACCEPT else Packet(memoryview(said))  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", [FOUR, SIX])
@pytest.mark.parametrize(
    ("data", "begins"),
    [(NOTIFY, b"SIP/2.0 200 OK\r\n"), (PING, PONG), (PONG, PONG), (ZEROS, ZEROS), (REQUEST, b"\x01\x01")],
)
def test_a_keep_alive_is_answered_from_the_server_to_its_sender(
    module: KeepAlive, ends: tuple[str, str], data: bytes, begins: bytes
) -> None:
    data = data.replace(FOUR[0].encode(), f"[{SIX[0]}]".encode()) if ends == SIX else data
    answer = reply(module, data, ends)
    assert answer is not None
    assert (str(answer.source), answer.sport) == (ends[1], 5060)
    assert (str(answer.destination), answer.dport) == (ends[0], AGENT[1])
    payload = bytes(answer.payload)
    assert payload.startswith(begins)
    assert len(payload) == len(begins) or len(begins) > 4 or begins == b"\x01\x01"
    # Lengths and checksums are those that other code gives such a packet.
    expected = view(packet_bytes((ends[1], ends[0]), UDP, payload, (5060, AGENT[1]))).replaced(ttl=answer.ttl)
    assert bytes(answer.raw[20:]) == bytes(expected[20:])


def test_what_could_go_round_between_two_nodes_comes_to_an_end(module: KeepAlive) -> None:
    for data in (ZEROS, PONG):
        ttl, turns = 61, 0
        packet = view(packet_bytes(FOUR, UDP, data, (5060, 5060)))
        while packet.ttl > 1:
            (said,) = module.process_batch([packet])
            packet = Packet(memoryview(said))  # type: ignore[arg-type]
            turns += 1
            assert packet.ttl < ttl
            ttl = packet.ttl
        assert turns == 60


def test_an_answer_goes_to_the_port_that_the_via_names(module: KeepAlive) -> None:
    answer = reply(module, notify((b"192.0.2.7:40000", b"192.0.2.7:5070")))
    assert answer is not None
    assert (answer.dport, bytes(answer.payload[:11])) == (5070, b"SIP/2.0 200")


@pytest.mark.parametrize(
    "data",
    [
        notify((b"keep-alive", b"presence")),
        b"NOTIFY ",
        bytes(3),
        bytes(5),
        b"\r\n\r\nINVITE sip:a SIP/2.0\r\n",
        b"\r\n\r",
        b"\0\1",
        b"",
        b"INVITE sip:b@10.1.0.2 SIP/2.0\r\n\r\n",
    ],
)
def test_anything_else_passes_as_it_is(module: KeepAlive, data: bytes) -> None:
    assert reply(module, data) is None
    assert not is_keep_alive(data, AGENT)


def test_what_does_not_come_by_udp_passes(module: KeepAlive) -> None:
    assert reply(module, NOTIFY, proto=TCP) is None


@given(st.binary(max_size=200))
def test_the_watcher_takes_for_a_keep_alive_what_the_module_answers(data: bytes) -> None:
    keep_alive = KeepAlive()
    keep_alive.start(SimpleNamespace(metrics=Metrics(), log=SimpleNamespace(info=lambda *_: None)))  # type: ignore[arg-type]
    assert (reply(keep_alive, data) is not None) == is_keep_alive(data, AGENT)


def test_every_keep_alive_passes_the_prematch_of_the_manifest() -> None:
    files = app_files("keep-alive")
    check_sources(files)
    manifest = read_manifest(files["module.toml"])
    for data in (NOTIFY, PING, PONG, ZEROS, REQUEST):
        assert any(data.startswith(each.data, each.offset) for each in manifest.prematch)
    assert not any(b"INVITE sip:a SIP/2.0".startswith(each.data, each.offset) for each in manifest.prematch)


def test_what_it_has_answered_is_counted_by_kind(module: KeepAlive) -> None:
    metrics = Metrics()
    module.start(SimpleNamespace(metrics=metrics, log=SimpleNamespace(info=lambda *_: None)))  # type: ignore[arg-type]
    for data in (NOTIFY, NOTIFY, PING, ZEROS, REQUEST, b"NOTIFY"):
        reply(module, data)
    assert metrics.values() == {"notify": 2, "crlf": 1, "zero": 1, "stun": 1, "passed": 1}


def test_stun_tells_the_source_of_the_packet(module: KeepAlive) -> None:
    answer = reply(module, REQUEST)
    assert answer is not None
    assert stun.read_mapped(bytes(answer.payload)) == AGENT
