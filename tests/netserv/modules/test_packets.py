from ipaddress import ip_address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.modules.packets import (
    PACKET_MAX,
    TCP,
    UDP,
    Packet,
    PacketView,
    PythonPacketView,
    plain_reply,
    python_plain_reply,
)

FOUR = ("10.1.0.1", "10.9.0.2")
SIX = ("2001:db8::1", "2001:db8::2")


def packet_bytes(ends: tuple[str, str], proto: int, payload: bytes, ports: tuple[int, int] = (5060, 6000)) -> bytes:
    """A packet as dpkt makes it, whose code is not ours."""
    src, dst = (ip_address(end).packed for end in ends)
    if proto == UDP:
        inner = dpkt.udp.UDP(sport=ports[0], dport=ports[1], data=payload)
        inner.ulen = len(inner)
    else:
        inner = dpkt.tcp.TCP(
            sport=ports[0], dport=ports[1], data=payload, flags=dpkt.tcp.TH_ACK, opts=b"\1\1\1\1", off=6
        )
    if len(src) == 4:
        whole = dpkt.ip.IP(src=src, dst=dst, p=proto, ttl=61, data=inner)
        whole.len = len(whole)
    else:
        whole = dpkt.ip6.IP6(src=src, dst=dst, nxt=proto, hlim=61, data=inner, plen=len(inner))
        whole.extension_hdrs = {}
    return bytes(whole)


def view(data: bytes) -> Packet:
    return Packet(memoryview(bytearray(data)))


PYTHON = type("Packet", (PythonPacketView,), dict(vars(Packet)))
"`Packet` above the form in Python, where the other one is in C."
ASKED = (
    *("version", "src", "dst", "ends", "ttl", "proto", "sport", "dport"),
    *("_find_transport", "_ports_at", "_payload_at"),
)


def said(packet: PythonPacketView, name: str) -> object:
    try:
        value = getattr(packet, name)
        return value() if callable(value) else bytes(value) if name == "payload" else value
    except IndexError as error:
        return type(error)


@st.composite
def nearly_packets(draw: st.DrawFn) -> bytes:
    """Packets with some bytes that are others, cut or longer."""
    ends, proto = draw(st.sampled_from([FOUR, SIX])), draw(st.sampled_from([UDP, TCP]))
    data = bytearray(packet_bytes(ends, proto, draw(st.binary(max_size=40))))
    for at in draw(st.lists(st.integers(0, min(48, len(data) - 1)), max_size=4)):
        data[at] = draw(st.sampled_from([0, 1, 6, 17, 43, 44, 60, 0x45, 0x46, 0x4F, 0x60, 0xFF]))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data) + draw(st.binary())


@given(st.one_of(nearly_packets(), st.binary(max_size=120)))
def test_both_forms_of_a_packet_say_the_same(data: bytes) -> None:
    for each in (*ASKED, "payload"):
        raw = memoryview(bytearray(data))
        assert said(PacketView(raw), each) == said(PythonPacketView(raw), each), each


@given(nearly_packets(), st.binary(max_size=40), st.booleans())
def test_both_forms_of_a_packet_make_the_same(data: bytes, payload: bytes, looks: bool) -> None:
    made = []
    for form in (Packet, PYTHON):
        packet = form(memoryview(bytearray(data)))
        if looks:
            said(packet, "payload")
        try:
            made.append((packet.reply(payload), packet.replaced(payload, sport=7, ttl=9), repr(packet), len(packet)))
            packet.refresh()
            made[-1] += (bytes(packet.raw),)
        except (IndexError, ValueError) as error:
            made.append(type(error))
    assert made[0] == made[1]


def test_a_packet_is_made_of_its_bytes_alone() -> None:
    for wrong in ((), (memoryview(b""), 1)):
        with pytest.raises(TypeError):
            Packet(*wrong)
    raw = memoryview(bytearray(packet_bytes(FOUR, UDP, b"abc")))
    packet = Packet(raw=raw)
    assert packet.raw is raw
    with pytest.raises(AttributeError):
        packet.other = 1  # type: ignore[attr-defined]
    raw.release()
    with pytest.raises(ValueError, match="released"):
        _ = packet.src


@pytest.mark.parametrize("ends", [FOUR, SIX])
@pytest.mark.parametrize("proto", [UDP, TCP])
def test_a_packet_is_taken_apart(ends: tuple[str, str], proto: int) -> None:
    packet = view(packet_bytes(ends, proto, b"NOTIFY "))
    assert packet.version == ip_address(ends[0]).version
    assert (packet.source, packet.destination) == (ip_address(ends[0]), ip_address(ends[1]))
    assert (packet.src, packet.dst) == (packet.source.packed, packet.destination.packed)
    assert packet.ends == packet.src + packet.dst
    assert (packet.proto, packet.sport, packet.dport, packet.ttl) == (proto, 5060, 6000, 61)
    assert bytes(packet.payload) == b"NOTIFY "
    assert repr(packet).startswith(f"<Packet {ends[0]} 5060 > {ends[1]} 6000 proto {proto} ttl 61")


@given(st.sampled_from([FOUR, SIX]), st.sampled_from([UDP, TCP]), st.binary(max_size=90), st.binary(max_size=90))
def test_a_replaced_payload_has_the_lengths_and_checksums_of_a_new_packet(
    ends: tuple[str, str], proto: int, old: bytes, new: bytes
) -> None:
    assert bytes(view(packet_bytes(ends, proto, old)).replaced(new)) == packet_bytes(ends, proto, new)


@given(st.sampled_from([FOUR, SIX]), st.sampled_from([UDP, TCP]), st.binary(max_size=90))
def test_a_reply_goes_back_where_the_packet_is_from(ends: tuple[str, str], proto: int, payload: bytes) -> None:
    reply = bytearray(view(packet_bytes(ends, proto, b"?")).reply(payload))
    assert reply[8 if reply[0] < 0x60 else 7] == 64
    expected = view(packet_bytes((ends[1], ends[0]), proto, payload, (6000, 5060))).replaced(ttl=64)
    assert reply == expected


@given(st.binary(min_size=12, max_size=12), st.binary(max_size=90), st.integers(0, 255), st.integers(0, 255))
def test_both_forms_of_a_plain_reply_are_right(ends: bytes, payload: bytes, tos: int, ttl: int) -> None:
    packet = view(packet_bytes(FOUR, UDP, b"?"))
    packet.raw[1], packet.raw[12:24] = tos, ends
    expected = packet.replaced(payload, src=ends[4:8], dst=ends[:4], sport=packet.dport, dport=packet.sport, ttl=ttl)
    for form in (python_plain_reply, plain_reply):
        assert form(packet.raw, payload, ttl) == expected
    with pytest.raises(ValueError, match="65535 are possible"):
        plain_reply(packet.raw, bytes(PACKET_MAX - 27), ttl)


@pytest.mark.parametrize(("at", "byte"), [(0, 0x46), (0, 0x65), (6, 0x1F), (7, 1), (9, TCP), (27, None)])
def test_packets_of_another_kind_have_no_plain_reply(at: int, byte: int | None) -> None:
    data = bytearray(packet_bytes(FOUR, UDP, b""))
    if byte is None:
        del data[at]
    else:
        data[at] = byte
    for form in (python_plain_reply, plain_reply):
        assert form(memoryview(data), b"", 64) is None


def test_what_is_changed_in_place_is_made_right() -> None:
    packet = view(packet_bytes(FOUR, UDP, b"aaaa"))
    packet.payload[:] = b"bbbb"
    packet.refresh()
    assert bytes(packet.raw) == packet_bytes(FOUR, UDP, b"bbbb")


def test_a_checksum_that_would_be_0_says_ffff() -> None:
    wanted = next(
        bytes(found)
        for found in (view(packet_bytes(FOUR, UDP, bytes(2))).replaced(n.to_bytes(2)) for n in range(65_536))
        if found[26:28] == b"\xff\xff"
    )
    assert wanted[26:28] == b"\xff\xff"


def test_later_fragments_have_no_ports_and_keep_their_payload() -> None:
    data = bytearray(packet_bytes(FOUR, UDP, b"abcdefgh"))
    data[7] = 1  # fragment offset
    packet = view(data)
    assert (packet.proto, packet.sport, packet.dport) == (UDP, 0, 0)
    assert bytes(packet.payload) == bytes(data[20:])
    assert bytes(packet.replaced(b"xy", sport=9))[20:] == b"xy"


def test_extension_headers_of_ipv6_are_stepped_over() -> None:
    data = packet_bytes(SIX, UDP, b"abc")
    options = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])
    extended = bytearray(data[:40] + options + data[40:])
    extended[6] = 60
    packet = view(extended)
    assert (packet.proto, packet.sport, bytes(packet.payload)) == (UDP, 5060, b"abc")
    fragment = bytearray(data[:40] + bytes([UDP, 0, 0, 9, 0, 0, 0, 1]) + data[40:])
    fragment[6] = 44
    assert (view(fragment).proto, view(fragment).sport) == (UDP, 0)
    fragment[42:44] = b"\0\1"  # the first one
    assert view(fragment).sport == 5060


def test_impossible_packets_are_refused() -> None:
    packet = view(packet_bytes(FOUR, UDP, b""))
    with pytest.raises(ValueError, match=f"{PACKET_MAX} are possible"):
        packet.replaced(bytes(65_600))
    with pytest.raises(ValueError, match="the other family"):
        packet.replaced(dst=bytes(16))


@given(st.binary(min_size=40, max_size=120))
def test_looking_at_any_bytes_raises_nothing(data: bytes) -> None:
    packet = view(data)
    assert 0 <= packet.sport <= 65_535
    assert 0 <= packet.dport <= 65_535
    assert len(packet.payload) <= len(data)
    assert len(repr(packet)) > 0
    packet.replaced(b"other")
