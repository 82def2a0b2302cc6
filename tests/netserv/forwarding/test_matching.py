"""Which packets belong to a filter and which may leave: known cases, and the compiled part against the Python one."""

from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserv.forwarding import compiled
from netserv.forwarding.filters import PacketFilter, Prefix
from netserv.forwarding.matching import UDP, EgressError, Matcher, Rule, outgoing, read
from netserv.modules.manifest import Prematch
from tests.netserv.forwarding.ip_packets import build, packed, packets

WANTED = PacketFilter(
    proto="udp", ports=(5060, 5061), destination=ip_network("10.2.0.0/24"), prematch=(Prematch(0, b"NOTIFY "),)
)
SERVER, CLIENT = packed("10.2.0.2"), packed("10.1.0.2")


def wants(wanted: PacketFilter, packet: bytes) -> bool:
    parts = read(packet)
    return parts is not None and Matcher(wanted).wants(parts, packet)


def may(packet: bytes, wanted: PacketFilter = WANTED, allowed: tuple[Prefix, ...] = ()) -> str:
    try:
        outgoing(packet, [Matcher(wanted)], allowed)
    except EgressError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("ports", "destination", "payload", "wanted"),
    [
        ((1, 5060), "10.2.0.2", b"NOTIFY x", True),
        ((1, 5061), "10.2.0.255", b"NOTIFY ", True),
        ((1, 5062), "10.2.0.2", b"NOTIFY x", False),
        ((5060, 1), "10.2.0.2", b"NOTIFY x", False),
        ((1, 5060), "10.2.1.2", b"NOTIFY x", False),
        ((1, 5060), "10.2.0.2", b"NOTIFY", False),
        ((1, 5060), "10.2.0.2", b"xNOTIFY x", False),
    ],
)
def test_a_packet_is_wanted_by_protocol_port_destination_and_payload(
    ports: tuple[int, int], destination: str, payload: bytes, wanted: bool
) -> None:
    assert wants(WANTED, build(CLIENT, packed(destination), UDP, ports, payload)) == wanted


def test_fragments_and_options_are_not_for_modules() -> None:
    packet = build(CLIENT, SERVER, UDP, (1, 5060), b"NOTIFY x")
    assert wants(WANTED, packet)
    assert not wants(WANTED, packet[:6] + b"\x20\0" + packet[8:])
    assert not wants(WANTED, b"\x46" + packet[1:20] + bytes(4) + packet[20:])


def test_what_may_leave() -> None:
    own = build(CLIENT, SERVER, UDP, (1, 5060), b"x")
    reverse = build(SERVER, CLIENT, UDP, (5060, 1), b"x")
    foreign = build(CLIENT, packed("10.3.0.1"), UDP, (1, 5060), b"x")
    assert not may(own)
    assert not may(reverse)
    assert "outside" in may(foreign)
    assert not may(foreign, allowed=(ip_network("10.3.0.0/16"),))
    assert not may(foreign, allowed=(ip_network("10.1.0.2/32"),))
    assert "options" in may(b"\x46" + own[1:])
    assert "length" in may(own + b"x")
    assert "no IP packet" in may(own[:19])
    assert "no IP packet" in may(b"\x60" + own[1:])
    assert "no IP packet" in may(b"")
    assert "fragment" in may(own[:6] + b"\x20\0" + own[8:])
    assert "TTL" in may(own[:8] + b"\0" + own[9:])
    assert "signalling" in may(build(CLIENT, SERVER, UDP, (1, 270), b"x"))
    assert "nowhere" in may(build(packed("127.0.0.1"), SERVER, UDP, (1, 5060), b"x"))
    assert "protocol" in may(build(CLIENT, SERVER, 132, (1, 5060), b"xxxxxxxx"))
    assert "UDP length" in may(own[:24] + b"\0\x08" + own[26:])


def test_checksums_are_mended() -> None:
    packet = build(CLIENT, SERVER, UDP, (1, 5060), b"odd")
    spoilt = packet[:10] + b"\1\1" + packet[12:26] + bytes(2) + packet[28:]
    assert outgoing(spoilt, [Matcher(WANTED)], ()) == packet


PREFIXES = ("10.2.0.0/24", "10.2.0.2/32", "0.0.0.0/0", "10.0.0.0/13", "2001:db8:2::/64", "2001:db8:2::2/128", "::/0")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    destination = ip_network(draw(st.sampled_from(PREFIXES)))
    same = [ip_network(each) for each in PREFIXES if ip_network(each).version == destination.version]
    return Rule(
        number=draw(st.integers(1, 9)),
        wanted=PacketFilter(
            proto=draw(st.sampled_from(("udp", "tcp"))),
            ports=tuple(draw(st.lists(st.sampled_from((5060, 5061, 4_000, 65_535)), min_size=1, max_size=3))),
            destination=destination,
            source=draw(st.none() | st.sampled_from(same)),
            reverse=draw(st.booleans()),
            prematch=tuple(draw(st.lists(st.sampled_from((Prematch(0, b"NOTIFY "), Prematch(1, b"b"))), max_size=2))),
        ),
        closed=False,
        allowed=tuple(map(ip_network, draw(st.lists(st.sampled_from(PREFIXES), max_size=2)))),
    )


@pytest.mark.skipif(not compiled.BUILT, reason="installed without a compiler")
@given(rules(), packets() | st.binary(max_size=80))
@example(
    Rule(
        number=1, wanted=PacketFilter(proto="tcp", ports=(0,), destination=ip_network("::/0")), closed=False, allowed=()
    ),
    b"\x45" + bytes(27),
)
def test_both_forms_of_the_broker_judge_alike(rule: Rule, packet: bytes) -> None:
    engine = compiled.CompiledEngine(1.0, 0.0, (-1, -1))
    engine.add_filter(rule, 0, ())
    assert engine.core.wants(rule.number, packet) == wants(rule.wanted, packet)
    try:
        leaves = outgoing(packet, [Matcher(rule.wanted)], rule.allowed)
    except EgressError:
        leaves = None
    assert engine.core.outgoing(rule.number, packet) == leaves
