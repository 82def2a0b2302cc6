import io
from contextlib import suppress
from random import Random
from struct import pack

import pytest

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import packed
from netserv.signaling.pcap_io import RECORD_MAX, Capture, Packet
from tests.netserv.signaling.captures import (
    ACK,
    COOKED,
    COOKED_2,
    ETHERNET,
    FIN,
    LOOPBACK,
    RAW,
    SYN,
    TCP_PROTOCOL,
    TIME,
    UDP_PROTOCOL,
    framed,
    ip,
    pcap,
    pcapng,
    tcp,
    udp,
)

PAIRS = [("10.71.1.1", "10.71.2.2"), ("2001:db8::1", "2001:db8::2")]


def packets(capture: bytes) -> list[Packet]:
    return list(Capture(io.BytesIO(capture)).packets())


@pytest.mark.parametrize("link", [ETHERNET, RAW, COOKED, COOKED_2, LOOPBACK])
@pytest.mark.parametrize(("source", "destination"), PAIRS)
@pytest.mark.parametrize("written", [pcap, pcapng])
def test_datagram_is_found_in_every_kind_of_frame(link: int, source: str, destination: str, written) -> None:
    frame = framed(ip(udp(b"hello", 1234, 270), UDP_PROTOCOL, source, destination), link)
    (packet,) = packets(written(frame, link=link))
    assert packet == Packet(
        number=1,
        time=TIME,
        tcp=False,
        source=(packed(source), 1234),
        destination=(packed(destination), 270),
        ip_ttl=63,
        router_alert=False,
        payload=b"hello",
    )


@pytest.mark.parametrize("vlans", [(7,), (7, 8)])
def test_datagram_is_found_behind_vlan_tags(vlans: tuple[int, ...]) -> None:
    frame = framed(ip(udp(b"hello"), UDP_PROTOCOL), ETHERNET, vlans)
    assert [packet.payload for packet in packets(pcap(frame, link=ETHERNET))] == [b"hello"]


def test_big_endian_capture_is_read() -> None:
    assert [packet.payload for packet in packets(pcap(ip(udp(b"hello"), UDP_PROTOCOL), big_endian=True))] == [b"hello"]


@pytest.mark.parametrize(
    ("source", "destination", "options"),
    [(*PAIRS[0], bytes.fromhex("94040000")), (*PAIRS[1], bytes.fromhex("1100050200000100"))],
)
def test_router_alert_is_noticed(source: str, destination: str, options: bytes) -> None:
    (packet,) = packets(pcap(ip(udp(b"hello"), UDP_PROTOCOL, source, destination, options)))
    assert packet.router_alert
    assert packet.payload == b"hello"


@pytest.mark.parametrize(("source", "destination"), PAIRS)
def test_segment_has_its_place_in_the_stream_and_no_padding(source: str, destination: str) -> None:
    frames = [ip(tcp(b"ab", 77, SYN | ACK), TCP_PROTOCOL, source, destination), ip(tcp(b"", 78, FIN), TCP_PROTOCOL)]
    first, second = packets(pcap(*(framed(frame, ETHERNET) for frame in frames), link=ETHERNET))
    assert (first.tcp, first.sequence, first.payload, first.opens, first.ends) == (True, 77, b"ab", True, False)
    assert (second.payload, second.ends, second.missing) == (b"", True, 0)


def test_what_the_capture_has_cut_is_counted() -> None:
    frames = (ip(udp(bytes(100)), UDP_PROTOCOL), ip(tcp(bytes(100), 1), TCP_PROTOCOL))
    assert [packet.missing for packet in packets(pcap(*frames, snap=68))] == [60, 72]


def test_other_packets_are_counted_and_passed_over() -> None:
    capture = Capture(io.BytesIO(pcap(ip(b"\x08\0abcd", 1), b"\x45", b"", ip(udp(b"x"), UDP_PROTOCOL))))
    assert [packet.number for packet in capture.packets()] == [4]
    assert capture.seen == 4


@pytest.mark.parametrize("data", [b"", b"\n", b"#!/bin/sh\nexit 0\n" * 9, pcap()[:20], pcapng()[:28]])
def test_file_that_is_no_capture_is_refused(data: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        Capture(io.BytesIO(data))


def test_unknown_link_type_is_named() -> None:
    with pytest.raises(LocalProtocolError, match="link type 147"):
        Capture(io.BytesIO(pcap(link=147)))


@pytest.mark.parametrize("written", [pcap, pcapng])
def test_capture_cut_in_a_record_is_read_up_to_there(written) -> None:
    frame = ip(udp(b"hello"), UDP_PROTOCOL)
    capture = Capture(io.BytesIO(written(frame, frame)[:-3]))
    found = []
    with pytest.raises(LocalProtocolError, match="behind packet 1"):
        found.extend(packet.number for packet in capture.packets())
    assert found == [1]


def test_record_that_claims_to_be_huge_is_refused() -> None:
    whole = pcap(ip(udp(b"hello"), UDP_PROTOCOL))
    capture = Capture(io.BytesIO(whole[:32] + (RECORD_MAX + 1).to_bytes(4, "little") + whole[36:]))
    with pytest.raises(LocalProtocolError, match="damaged"):
        list(capture.packets())


def test_time_that_no_calendar_has_is_none() -> None:
    whole = pcapng(ip(udp(b"hello"), UDP_PROTOCOL))
    at = whole.index(pack("<I", TIME * 1_000_000 >> 32))
    (packet,) = packets(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
    assert packet.time == 0


def test_damaged_captures_are_read_or_refused() -> None:
    rng = Random(2113)
    frames = [ip(udp(b"hello", 1234, 270), UDP_PROTOCOL, *pair) for pair in PAIRS] + [ip(tcp(b"ab", 77), TCP_PROTOCOL)]
    captures = [
        written(*(framed(frame, link) for frame in frames), link=link)
        for link in (ETHERNET, RAW, COOKED, COOKED_2, LOOPBACK)
        for written in (pcap, pcapng)
    ]
    for _ in range(5_000):
        damaged = bytearray(rng.choice(captures))
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(LocalProtocolError):
            packets(bytes(damaged[: rng.randint(0, len(damaged))] if rng.random() < 0.2 else damaged))
