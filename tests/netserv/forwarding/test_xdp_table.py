"""The table of filters, looked up as the kernel's program does."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import Matcher, Parts, Rule, read
from netserv.forwarding.xdp_table import (
    BITMAP_BYTES,
    FORWARD,
    KEY,
    KEY_BITS,
    PREMATCH,
    REVERSE,
    SINGLE,
    VALUE,
    bitmaps,
    table,
)
from tests.netserv.forwarding.ip_packets import build, packed, packets
from tests.netserv.forwarding.test_matching import rules

COUNTERS = {number: number + 100 for number in range(1, 40)}


def look_up(found: dict[bytes, bytes], bits: bytes, parts: Parts, packet: bytes) -> tuple[int, int] | None:
    """Number and flags of the entry for a packet, by the steps of xdp_program.py."""
    size = 4 if parts.version == 4 else 16
    source, destination = parts.source.to_bytes(size), parts.destination.to_bytes(size)
    ways = ((FORWARD, parts.destination_port, destination, source), (REVERSE, parts.source_port, source, destination))
    reads = [int.from_bytes(port.to_bytes(2), "little") for _, port, _, _ in ways]
    kinds = [(0 if parts.proto == 17 else 2) + way for way, *_ in ways]
    if not any(bits[kind * BITMAP_BYTES + at // 8] >> at % 8 & 1 for kind, at in zip(kinds, reads, strict=True)):
        return None
    for way, port, near, far in ways:
        key = KEY.pack(0, parts.version << 4 | way, parts.proto, port.to_bytes(2), near)[4:]
        for length in range(8 * size, -1, -1):
            masked = int.from_bytes(near) >> 8 * size - length << 8 * size - length
            entry = found.get(KEY.pack(KEY_BITS + length, key[0], key[1], key[2:4], masked.to_bytes(size)))
            if entry is not None:
                break
        else:
            continue
        number, flags, count, _, network, mask = VALUE.unpack_from(entry)
        other = far.ljust(16, b"\0")
        if bytes(a & b for a, b in zip(other, mask, strict=True)) != network:
            continue
        at = parts.transport_at + (8 if parts.proto == 17 else (packet[parts.transport_at + 12] >> 4) * 4)
        compared = [PREMATCH.unpack_from(entry, VALUE.size + each * PREMATCH.size) for each in range(count)]
        if not count or any(packet.startswith(data[:length], at + offset) for offset, length, data in compared):
            return number, flags
    return None


def test_flows_of_a_filter_that_is_shut_are_not_forwarded_in_the_kernel() -> None:
    filters = {
        number: PacketFilter(proto="udp", ports=(number,), destination=ip_network("10.2.0.0/24")) for number in (1, 2)
    }
    flags = {VALUE.unpack_from(each)[0]: VALUE.unpack_from(each)[1] for each in table(filters, COUNTERS, {2}).values()}
    assert flags == {1: SINGLE, 2: 0}


@given(st.lists(rules(), min_size=1, max_size=5), packets())
def test_the_kernel_lets_no_wanted_packet_by(wanted: list[Rule], packet: bytes) -> None:
    filters = {number: rule.wanted for number, rule in enumerate(wanted, 1)}
    found, bits = table(filters, COUNTERS), bitmaps(filters.values())
    parts = read(packet)
    if parts is None or (parts.proto == 6 and len(packet) < parts.transport_at + 20):
        return
    takers = [number for number, each in filters.items() if Matcher(each).wants(parts, packet)]
    entry = look_up(found, bits, parts, packet)
    if takers:
        assert entry is not None
    if entry is not None and entry[1] & SINGLE:
        assert takers == [entry[0]]


def test_an_entry_answers_for_all_filters_around_it() -> None:
    def wanted(destination: str, **values: object) -> PacketFilter:
        return PacketFilter(proto="udp", ports=(5060,), destination=ip_network(destination), **values)  # type: ignore[arg-type]

    inner = wanted("10.2.0.0/24", source=ip_network("10.1.0.0/16"))
    filters = {1: inner, 2: wanted("10.0.0.0/8")}
    found, bits = table(filters, COUNTERS), bitmaps(filters.values())
    foreign = build(packed("10.9.0.1"), packed("10.2.0.5"), 17, (1, 5060), b"")
    parts = read(foreign)
    assert parts is not None
    assert look_up(found, bits, parts, foreign) == (1, 0)
    assert look_up(table({1: inner}, COUNTERS), bits, parts, foreign) is None
