"""Pieces of the program in xdp_program.py: where things are on its stack and in a frame, and what it does often."""

from typing import Final, NamedTuple

from netserv.forwarding.bpf_assembler import DW, R1, R2, R3, R4, R6, R7, R10, Assembler, B, H, Register, W

PASS: Final = 2
ADJUST_META: Final = 54
FIB_LOOKUP: Final = 69
LOOKUP: Final = 1
REDIRECT_MAP: Final = 51
LOAD_BYTES: Final = 189
UDP: Final = 17
TCP: Final = 6
FOUND: Final = 0
TUNNELLED: Final = 6
NO_NEIGHBOUR: Final = 7
# The stack, from R10 down.
FIB: Final = -64
"struct bpf_fib_lookup."
FLOW: Final = -104
"Version, protocol, ports, TTL, source, destination: the key of the table of flows."
KEY: Final = -128
"Of the table of filters, and later an index."
BUFFER: Final = -144
"Bytes to compare."
PAYLOAD: Final = -152
"Where the payload begins; later what the routing table said."
FLOW_FOUND: Final = -160
"0: it is no flow accepted for good; else one more than the place where it is counted."
# Within struct bpf_fib_lookup.
OUT: Final = FIB + 8
SOURCE_MAC: Final = FIB + 52
DESTINATION_MAC: Final = FIB + 58
IP: Final = 14


class Family(NamedTuple):
    """Where things are in a frame of one IP version."""

    version: int
    kind: int
    "AF_INET or AF_INET6."
    proto: int
    "Where things are in the frame."
    hops: int
    source: int
    destination: int
    length: int
    length_extra: int
    "Bytes that the length field leaves out."
    transport: int
    words: int
    "Of an address."


FAMILIES: Final = (
    Family(4, 2, 23, 22, 26, 30, 16, 0, 34, 1),
    Family(6, 10, 20, 21, 22, 38, 18, 40, 54, 4),
)


def ask_route(a: Assembler, family: Family, *, ports: bool) -> None:
    """Fill in the question to the routing table, but for the interface."""
    clear(a, FIB, 64)
    a.store(B, R10, FIB, family.kind)
    if ports:
        a.load(B, R1, R10, FLOW + 1)
        a.store(B, R10, FIB + 1, R1)
        for number in range(2):
            a.load(H, R1, R10, FLOW + 2 + 2 * number)
            a.store(H, R10, FIB + 2 + 2 * number, R1)
        length(a, family, R1)
        a.store(H, R10, FIB + 6, R1)
    if family.version == 4:
        a.load(B, R1, R7, IP + 1)
        a.store(B, R10, FIB + 12, R1)
    else:
        a.load(W, R1, R7, IP)
        a.operate("&=", R1, int.from_bytes(b"\x0f\xff\xff\xff", "little"), narrow=True)
        a.store(W, R10, FIB + 12, R1)
    copy(a, R7, family.source, R10, FIB + 16, family.words)
    copy(a, R7, family.destination, R10, FIB + 32, family.words)


def call_route(a: Assembler) -> None:
    """Ask the routing table; R0: its answer."""
    a.move(R1, R6)
    address(a, R2, FIB)
    a.move(R3, 64)
    a.move(R4, 0)
    a.call(FIB_LOOKUP)


def length(a: Assembler, family: Family, to: Register) -> None:
    """Bytes of the IP packet."""
    a.load(H, to, R7, family.length)
    a.swap16(to)
    if family.length_extra:
        a.operate("+=", to, family.length_extra)


def write_macs(a: Assembler, base: Register, at: int) -> None:
    """Write the hardware addresses that the routing table named."""
    for number, source in enumerate((DESTINATION_MAC, SOURCE_MAC)):
        for part in (0, 2, 4):
            a.load(H, R2, R10, source + part)
            a.store(H, base, at + 6 * number + part, R2)


def look_up(a: Assembler, descriptor: int, key: int) -> None:
    """Look a key on the stack up; R0: the address of its value, or 0."""
    a.load_map(R1, descriptor)
    address(a, R2, key)
    a.call(LOOKUP)


def address(a: Assembler, to: Register, at: int) -> None:
    """The address of a place on the stack."""
    a.move(to, R10)
    a.operate("+=", to, at)


def clear(a: Assembler, at: int, size: int) -> None:
    """Fill a part of the stack with zeros."""
    for offset in range(0, size, 8):
        a.store(DW, R10, at + offset, 0)


def copy(a: Assembler, base: Register, at: int, to: Register, to_at: int, words: int) -> None:
    """Copy words of four bytes."""
    for number in range(words):
        a.load(W, R1, base, at + 4 * number)
        a.store(W, to, to_at + 4 * number, R1)
