import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.checksum import internet_checksum
from netserv.signaling.transport.packet import (
    ROUTER_ALERT4,
    ROUTER_ALERT6,
    PacketError,
    build,
    has_router_alert,
    parse,
    with_payload,
)
from tests.netserv.signaling.transport.ip_packets import PACKETS, PAYLOADS

ENDS4 = (bytes([10, 0, 0, 1]), 270), (bytes([10, 0, 0, 2]), 270)
ENDS6 = (bytes(15) + b"\x01", 270), (bytes(15) + b"\x02", 270)


@given(PACKETS)
def test_a_built_packet_is_read_back(parts: Any) -> None:
    source, destination, payload, header = parts
    whole = build(source, destination, payload, **header)
    found = parse(whole)
    assert (found.source, found.destination, found.payload) == (source, destination, payload)
    assert {name: getattr(found, name) for name in header} == header
    assert found.checksum_right
    assert whole[found.payload_at :] == payload


@given(PACKETS, st.binary(max_size=20))
def test_bytes_behind_a_packet_are_no_part_of_it(parts: Any, tail: bytes) -> None:
    source, destination, payload, header = parts
    whole = build(source, destination, payload, **header)
    assert parse(whole + tail) == parse(whole)


@given(PACKETS, PAYLOADS)
def test_another_payload_leaves_all_else_and_is_as_if_built_so(parts: Any, other: bytes) -> None:
    source, destination, payload, header = parts
    whole = build(source, destination, payload, **header)
    assert with_payload(whole, parse(whole), other) == build(source, destination, other, **header)


@given(PACKETS, st.integers(0, 2**32))
def test_a_changed_byte_is_refused_or_read_with_a_wrong_checksum_or_is_of_the_header(parts: Any, seed: int) -> None:
    source, destination, payload, header = parts
    whole = bytearray(build(source, destination, payload, **header))
    at = parse(bytes(whole)).payload_at - 8
    place = at + seed % (len(whole) - at)
    whole[place] ^= 1 + seed // 512 % 255
    with suppress(PacketError):
        found = parse(bytes(whole))
        no_checksum = len(source[0]) == 4 and whole[at + 6 : at + 8] == bytes(2)
        assert no_checksum or not found.checksum_right


@given(st.binary(max_size=120) | PACKETS.map(lambda parts: build(*parts[:3], **parts[3])[:-1]))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(PacketError):
        parse(data)


@given(PACKETS, st.integers(1, 200))
def test_a_cut_packet_is_refused(parts: Any, cut: int) -> None:
    source, destination, payload, header = parts
    whole = build(source, destination, payload, **header)
    with pytest.raises(PacketError):
        parse(whole[: max(len(whole) - cut, 0)])


def test_the_header_checksum_of_ipv4_adds_up() -> None:
    whole = build(*ENDS4, b"payload", ttl=7, tos=40, options=ROUTER_ALERT4)
    assert internet_checksum(whole[:24]) == 0
    assert internet_checksum(with_payload(whole, parse(whole), b"longer payload")[:24]) == 0


def test_a_query_has_df() -> None:
    assert build(*ENDS4, b"", ttl=7)[6] == 0x40


@pytest.mark.parametrize("flags", [0x2000, 0x0001, 0x1FFF])
def test_a_fragment_is_refused(flags: int) -> None:
    whole = bytearray(build(*ENDS4, b"payload", ttl=7))
    struct.pack_into("!H", whole, 6, flags)
    with pytest.raises(PacketError, match="fragment"):
        parse(bytes(whole))


def test_another_protocol_is_refused() -> None:
    whole = bytearray(build(*ENDS4, b"payload", ttl=7))
    whole[9] = 6
    with pytest.raises(PacketError, match="protocol 6"):
        parse(bytes(whole))
    whole = bytearray(build(*ENDS6, b"payload", ttl=7))
    whole[6] = 58
    with pytest.raises(PacketError, match="protocol 58"):
        parse(bytes(whole))


def test_extension_headers_are_passed_over() -> None:
    plain = build(*ENDS6, b"payload", ttl=7)
    routing = bytes.fromhex("3c00040000000000")
    destination = bytes.fromhex("1100010400000000")
    words, length = struct.unpack_from("!IH", plain)
    extended = struct.pack("!IHBB", words, length + 16, 43, 7) + plain[8:40] + routing + destination + plain[40:]
    found = parse(extended)
    assert found.payload == b"payload"
    assert found.checksum_right
    assert with_payload(extended, found, b"other")[40:56] == routing + destination


def test_too_much_is_refused() -> None:
    with pytest.raises(PacketError):
        build(*ENDS4, bytes(65_535 - 27), ttl=1)
    with pytest.raises(PacketError):
        build(*ENDS6, bytes(65_535 - 7), ttl=1)
    with pytest.raises(PacketError):
        build(*ENDS4, b"", ttl=1, options=bytes(44))
    with pytest.raises(PacketError):
        build(*ENDS4, b"", ttl=1, options=bytes(3))


@pytest.mark.parametrize(
    ("version", "options", "answer"),
    [
        (4, "94040000", True),
        (4, "01019404 00000000", True),
        (4, "8303049404000000", False),  # inside a source route, which ends at its length
        (4, "83030494 04000000", True),
        (4, "00940400", False),  # behind the end of the list
        (4, "8300", False),
        (4, "07", False),
        (4, "", False),
        (6, ROUTER_ALERT6.hex(), True),
        (6, "11000104 00000000", False),
        (6, "1100000502000000", True),
        (6, "1100", False),
        (6, "11000105", False),
    ],
)
def test_the_router_alert_option_is_found(version: int, options: str, answer: bool) -> None:
    if options == "8303049404000000":
        options = "83040494 04000000"  # the option's own bytes hold what looks like the alert
    assert has_router_alert(bytes.fromhex(options), version=version) is answer
