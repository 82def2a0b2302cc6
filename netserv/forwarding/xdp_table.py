"""What the XDP program looks packets up in, made from filters: pure values, so that tests need no kernel.

A packet is looked for twice at most: by its destination, and as one of a reverse flow by its source. A table finds the
longest prefix only, so an entry answers for all filters whose prefix lies around its own: where they are several, it
catches what any of them might want, and the broker looks closer.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from netserv.forwarding import overlaps
from netserv.forwarding.base import PREMATCHES_MAX
from netserv.forwarding.filters import PROTOCOLS, PacketFilter, Prefix
from netserv.modules.manifest import PREMATCH_MAX, Prematch

FORWARD: Final = 0
REVERSE: Final = 1
KEY: Final = struct.Struct("=IBB2s16s")
"Bits of the prefix with 32 of what stands before it; version and way, protocol, port, address."
KEY_BITS: Final = 32
VALUE: Final = struct.Struct("=IIII16s16s")
"Number of the filter; flags; prematches; index of its counter; network and mask of the other end."
PREMATCH: Final = struct.Struct(f"=II{PREMATCH_MAX}s")
VALUE_BYTES: Final = VALUE.size + PREMATCHES_MAX * PREMATCH.size
SINGLE: Final = 1
"A flow that was accepted may be forwarded in the kernel: no other filter may want it, and its module is not away."
BITMAP_BYTES: Final = 8_192
"A bit for each port."
OUT_AT: Final = 4 * BITMAP_BYTES
"A byte for each interface that packets may be redirected to, behind the bitmaps."
OUT_MAX: Final = 4_096
SETTINGS_BYTES: Final = OUT_AT + OUT_MAX


class Entry(NamedTuple):
    """A key in words."""

    version: int
    way: int
    proto: int
    port: int
    prefix: Prefix

    def packed(self) -> bytes:
        """The key in the table."""
        bits = KEY_BITS + self.prefix.prefixlen
        address = self.prefix.network_address.packed
        return KEY.pack(bits, self.version << 4 | self.way, self.proto, self.port.to_bytes(2), address)


def entries(wanted: PacketFilter) -> Iterator[Entry]:
    """The keys of a filter."""
    for port in wanted.ports:
        for way in (FORWARD, REVERSE) if wanted.reverse else (FORWARD,):
            yield Entry(wanted.destination.version, way, PROTOCOLS[wanted.proto], port, wanted.destination)


def table(
    filters: Mapping[int, PacketFilter], counters: Mapping[int, int], away: Collection[int] = ()
) -> dict[bytes, bytes]:
    """The whole table.

    Args:
        filters: by their numbers.
        counters: index of the counter of each.
        away: filters none of whose packets is forwarded in the kernel.
    """
    by_port: dict[tuple[int, int, int, int], list[tuple[int, Entry]]] = {}
    for number in sorted(filters):
        for entry in entries(filters[number]):
            by_port.setdefault(entry[:4], []).append((number, entry))
    single = {number: number not in away and _alone(number, filters) for number in filters}
    found: dict[bytes, bytes] = {}
    for group in by_port.values():
        for _, entry in group:
            around = [number for number, other in group if _covers(other.prefix, entry.prefix)]
            found[entry.packed()] = _value(around, filters, counters, single=len(around) == 1 and single[around[0]])
    return found


def bitmaps(filters: Iterable[PacketFilter]) -> bytes:
    """Ports that somebody wants: UDP forward and reverse, TCP forward and reverse.

    A port counts as the program reads it: its two bytes as a little-endian number.
    """
    found = bytearray(OUT_AT)
    for wanted in filters:
        for entry in entries(wanted):
            kind = (0 if entry.proto == PROTOCOLS["udp"] else 2) + entry.way
            read = int.from_bytes(entry.port.to_bytes(2), "little")
            found[kind * BITMAP_BYTES + read // 8] |= 1 << read % 8
    return bytes(found)


def _alone(number: int, filters: Mapping[int, PacketFilter]) -> bool:
    wanted = filters[number]
    return not any(each != number and overlaps.may_share(wanted, other) for each, other in filters.items())


def _covers(outer: Prefix, inner: Prefix) -> bool:
    bits = outer.prefixlen
    if bits > inner.prefixlen:
        return False
    shift = outer.max_prefixlen - bits
    return int(outer.network_address) >> shift == int(inner.network_address) >> shift


def _value(
    numbers: list[int], filters: Mapping[int, PacketFilter], counters: Mapping[int, int], *, single: bool
) -> bytes:
    wanted = [filters[number] for number in numbers]
    sources = {each.source for each in wanted}
    source = next(iter(sources)) if len(sources) == 1 else None
    network, mask = (source.network_address.packed, source.netmask.packed) if source is not None else (b"", b"")
    compared: list[Prematch] = [each for one in wanted for each in one.prematch]
    if len(compared) > PREMATCHES_MAX or not all(one.prematch for one in wanted):
        compared = []
    head = VALUE.pack(numbers[0], SINGLE if single else 0, len(compared), counters[numbers[0]], network, mask)
    return (head + b"".join(PREMATCH.pack(each.offset, len(each.data), each.data) for each in compared)).ljust(
        VALUE_BYTES, b"\0"
    )
