"""The program that runs in the kernel for each packet that comes in by an interface of the node.

A packet that no filter wants goes on to the kernel untouched: two bits decide for most of them. One that is wanted goes
to the broker by AF_XDP, with the kernel's own word on where it is to leave in front of it. One of a flow that a module
has accepted for good is forwarded right here. Fragments, IPv4 options, IPv6 extension headers, VLAN tags, packets to
this machine, and those whose TTL or size the kernel must complain about are the kernel's.
"""

from typing import Final, NamedTuple

from netserv.forwarding.base import PREMATCHES_MAX
from netserv.forwarding.bpf_assembler import (
    DW,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
    Assembler,
    B,
    H,
    Register,
    W,
)
from netserv.forwarding.xdp_table import (
    BITMAP_BYTES,
    FORWARD,
    KEY_BITS,
    OUT_AT,
    OUT_MAX,
    PREMATCH,
    REVERSE,
    SINGLE,
    VALUE,
)

FRAME_MAX: Final = 1_792
"Longest frame that a buffer of AF_XDP takes: 2,048 bytes without the headroom of XDP."
META_BYTES: Final = 20
"In front of a packet for the broker: filter, interface by which it leaves (0: ask again), its two hardware addresses."
FLOW_BYTES: Final = 40
FLOW_VALUE_BYTES: Final = 24
_PASS: Final = 2
_ADJUST_META: Final = 54
_FIB_LOOKUP: Final = 69
_LOOKUP: Final = 1
_REDIRECT_MAP: Final = 51
_LOAD_BYTES: Final = 189
_UDP: Final = 17
_TCP: Final = 6
_FOUND: Final = 0
_TUNNELLED: Final = 6
_NO_NEIGHBOUR: Final = 7
# The stack, from R10 down.
_FIB: Final = -64
"struct bpf_fib_lookup."
_FLOW: Final = -104
"Version, protocol, ports, source, destination: the key of the table of flows."
_KEY: Final = -128
"Of the table of filters, and later an index."
_BUFFER: Final = -144
"Bytes to compare."
_PAYLOAD: Final = -152
"Where the payload begins."
_FLOW_FOUND: Final = -160
"Address of the flow's counters; 0: it is no flow accepted for good."
# Within struct bpf_fib_lookup.
_OUT: Final = _FIB + 8
_SOURCE_MAC: Final = _FIB + 52
_DESTINATION_MAC: Final = _FIB + 58
_IP: Final = 14


class Maps(NamedTuple):
    """Descriptors of the tables."""

    settings: int
    filters: int
    flows: int
    counters: int
    sockets: int
    devices: int


class _Family(NamedTuple):
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


_FAMILIES: Final = (
    _Family(4, 2, 23, 22, 26, 30, 16, 0, 34, 1),
    _Family(6, 10, 20, 21, 22, 38, 18, 40, 54, 4),
)


def main_program(maps: Maps, mac: bytes, first_socket: int) -> bytes:
    """The program of one interface.

    Args:
        maps: the tables.
        mac: hardware address of the interface: only what is sent to it is to be forwarded.
        first_socket: where the sockets of its queues begin in the table of sockets.
    """
    a = Assembler()
    a.move(R6, R1)
    a.load(W, R7, R6, 0)
    a.load(W, R8, R6, 4)
    a.move(R1, R7)
    a.operate("+=", R1, _FAMILIES[0].transport + 8)
    a.jump(">", R1, R8, "pass")
    a.load(H, R1, R7, 12)
    a.jump("==", R1, int.from_bytes(b"\x08\x00", "little"), "ip4")
    a.jump("!=", R1, int.from_bytes(b"\x86\xdd", "little"), "pass")
    a.move(R1, R7)
    a.operate("+=", R1, _FAMILIES[1].transport + 8)
    a.jump(">", R1, R8, "pass")
    _family(a, _FAMILIES[1], maps, mac, first_socket)
    a.label("ip4")
    a.load(B, R1, R7, _IP)
    a.jump("!=", R1, 0x45, "pass")
    a.load(H, R1, R7, _IP + 6)
    a.jump("&", R1, int.from_bytes(b"\x3f\xff", "little"), "pass")
    _family(a, _FAMILIES[0], maps, mac, first_socket)
    a.label("pass")
    a.move(R0, _PASS)
    a.exit()
    return a.assemble()


def router_program(interface: int) -> bytes:
    """A program that is run on frames of the node's own making: returns by which interface one leaves, or 0.

    Args:
        interface: by which it is taken to have come, for routing rules.
    """
    a = Assembler()
    a.move(R6, R1)
    a.load(W, R7, R6, 0)
    a.load(W, R8, R6, 4)
    a.move(R1, R7)
    a.operate("+=", R1, _IP + 20)
    a.jump(">", R1, R8, "none")
    a.load(B, R1, R7, _IP)
    a.operate(">>=", R1, 4)
    a.jump("==", R1, 4, "ip4")
    a.move(R1, R7)
    a.operate("+=", R1, _IP + 40)
    a.jump(">", R1, R8, "none")
    for family, name in ((_FAMILIES[1], "ask"), (_FAMILIES[0], "ask")):
        if family.version == 4:
            a.label("ip4")
        _ask_route(a, family, ports=False)
        a.store(W, R10, _OUT, interface)
        if family.version == 6:
            a.go(name)
    a.label("ask")
    _call_route(a)
    a.jump("!=", R0, _FOUND, "none")
    _write_macs(a, R7, 0)
    a.load(W, R0, R10, _OUT)
    a.exit()
    a.label("none")
    a.move(R0, 0)
    a.exit()
    return a.assemble()


def _family(a: Assembler, family: _Family, maps: Maps, mac: bytes, first_socket: int) -> None:
    name = f"ip{family.version}"
    a.load(B, R9, R7, family.proto)
    a.move(R5, 0)
    a.jump("==", R9, _UDP, f"{name} bits")
    a.move(R5, 2 * BITMAP_BYTES)
    a.jump("!=", R9, _TCP, "pass")
    a.label(f"{name} bits")
    for way, at in ((FORWARD, family.transport + 2), (REVERSE, family.transport)):
        _test_bit(a, maps, way, at, f"{name} wanted")
    a.go("pass")
    a.label(f"{name} wanted")
    _check_frame(a, family, mac)
    _describe(a, family)
    for way, otherwise in ((FORWARD, f"{name} reverse"), (REVERSE, "pass")):
        _find_filter(a, family, maps, way, otherwise)
        if way == FORWARD:
            a.label(otherwise)
    a.label(f"{name} matched")
    _find_flow(a, maps, f"{name} route")
    a.label(f"{name} route")
    _ask_route(a, family, ports=True)
    a.load(W, R1, R6, 12)
    a.store(W, R10, _OUT, R1)
    _call_route(a)
    a.load(DW, R1, R10, _FLOW_FOUND)
    a.jump("!=", R1, 0, f"{name} cached")
    _to_broker(a, maps, name, first_socket)
    a.label(f"{name} cached")
    _forward(a, family, maps)


def _test_bit(a: Assembler, maps: Maps, way: int, at: int, wanted: str) -> None:
    """Whether a port is wanted at all; R5: where the bitmaps of the protocol begin."""
    a.load(H, R1, R7, at)
    a.move(R2, R1)
    a.operate(">>=", R2, 3)
    a.operate("+=", R2, R5)
    a.load_map_value(R3, maps.settings, way * BITMAP_BYTES)
    a.operate("+=", R3, R2)
    a.load(B, R4, R3, 0)
    a.operate("&=", R1, 7)
    a.operate(">>=", R4, R1)
    a.jump("&", R4, 1, wanted)


def _check_frame(a: Assembler, family: _Family, mac: bytes) -> None:
    a.load(B, R1, R7, family.hops)
    a.jump("<=", R1, 1, "pass")
    a.load(W, R1, R7, 0)
    a.operate("^=", R1, int.from_bytes(mac[:4], "little"), narrow=True)
    a.jump("!=", R1, 0, "pass")
    a.load(H, R1, R7, 4)
    a.jump("!=", R1, int.from_bytes(mac[4:], "little"), "pass")
    a.move(R1, R7)
    a.operate("+=", R1, FRAME_MAX)
    a.jump(">", R8, R1, "pass")


def _describe(a: Assembler, family: _Family) -> None:
    """Fill in the key of the table of flows; R9 is the protocol."""
    _clear(a, _FLOW, FLOW_BYTES)
    _clear(a, _KEY, 24)
    a.store(B, R10, _FLOW, family.version)
    a.store(B, R10, _FLOW + 1, R9)
    for number in range(2):
        a.load(H, R1, R7, family.transport + 2 * number)
        a.store(H, R10, _FLOW + 2 + 2 * number, R1)
    for at, to in ((family.source, _FLOW + 8), (family.destination, _FLOW + 24)):
        _copy(a, R7, at, R10, to, family.words)


def _find_filter(a: Assembler, family: _Family, maps: Maps, way: int, otherwise: str) -> None:
    """Look a packet up; its entry is in R9 afterwards."""
    port, near, far = (_FLOW + 4, _FLOW + 24, _FLOW + 8) if way == FORWARD else (_FLOW + 2, _FLOW + 8, _FLOW + 24)
    a.store(W, R10, _KEY, KEY_BITS + 32 * family.words)
    a.store(B, R10, _KEY + 4, family.version << 4 | way)
    a.load(B, R1, R10, _FLOW + 1)
    a.store(B, R10, _KEY + 5, R1)
    a.load(H, R1, R10, port)
    a.store(H, R10, _KEY + 6, R1)
    for number in range(2):
        a.load(DW, R1, R10, near + 8 * number)
        a.store(DW, R10, _KEY + 8 + 8 * number, R1)
    _look_up(a, maps.filters, _KEY)
    a.jump("==", R0, 0, otherwise)
    a.move(R9, R0)
    for number in range(2):
        a.load(DW, R1, R10, far + 8 * number)
        a.load(DW, R2, R9, 32 + 8 * number)
        a.operate("&=", R1, R2)
        a.load(DW, R2, R9, 16 + 8 * number)
        a.jump("!=", R1, R2, otherwise)
    _compare(a, family, f"ip{family.version} matched", otherwise, f"ip{family.version} {way}")


def _compare(a: Assembler, family: _Family, matched: str, otherwise: str, name: str) -> None:
    """Compare the payload with the prematches of the entry in R9."""
    a.load(W, R1, R9, 8)
    a.jump("==", R1, 0, matched)
    a.move(R2, family.transport + 8)
    a.load(B, R1, R10, _FLOW + 1)
    a.jump("==", R1, _UDP, f"{name} payload")
    a.move(R1, R7)
    a.operate("+=", R1, family.transport + 20)
    a.jump(">", R1, R8, otherwise)
    a.load(B, R2, R7, family.transport + 12)
    a.operate(">>=", R2, 4)
    a.operate("<<=", R2, 2)
    a.operate("+=", R2, family.transport)
    a.label(f"{name} payload")
    a.store(DW, R10, _PAYLOAD, R2)
    for number in range(PREMATCHES_MAX):
        at, following = VALUE.size + number * PREMATCH.size, f"{name} prematch {number + 1}"
        a.load(W, R1, R9, 8)
        a.jump("<=", R1, number, otherwise)
        a.load(W, R2, R9, at)
        a.load(DW, R1, R10, _PAYLOAD)
        a.operate("+=", R2, R1)
        a.load(W, R4, R9, at + 4)
        a.jump("==", R4, 0, otherwise)
        a.jump(">", R4, 16, otherwise)
        _clear(a, _BUFFER, 16)
        a.move(R1, R6)
        _address(a, R3, _BUFFER)
        a.call(_LOAD_BYTES)
        a.jump("!=", R0, 0, following)
        for half in (0, 8):
            a.load(DW, R1, R10, _BUFFER + half)
            a.load(DW, R2, R9, at + 8 + half)
            a.jump("!=", R1, R2, following)
        a.go(matched)
        a.label(following)
    a.go(otherwise)


def _find_flow(a: Assembler, maps: Maps, otherwise: str) -> None:
    """Whether a module has accepted this flow for good."""
    a.store(DW, R10, _FLOW_FOUND, 0)
    a.load(W, R1, R9, 4)
    a.operate("&=", R1, SINGLE)
    a.jump("==", R1, 0, otherwise)
    _look_up(a, maps.flows, _FLOW)
    a.jump("==", R0, 0, otherwise)
    a.load(DW, R1, R0, 0)
    a.load(W, R2, R9, 0)
    a.jump("!=", R1, R2, otherwise)
    a.store(DW, R10, _FLOW_FOUND, R0)


def _ask_route(a: Assembler, family: _Family, *, ports: bool) -> None:
    """Fill in the question to the routing table, but for the interface."""
    _clear(a, _FIB, 64)
    a.store(B, R10, _FIB, family.kind)
    if ports:
        a.load(B, R1, R10, _FLOW + 1)
        a.store(B, R10, _FIB + 1, R1)
        for number in range(2):
            a.load(H, R1, R10, _FLOW + 2 + 2 * number)
            a.store(H, R10, _FIB + 2 + 2 * number, R1)
        _length(a, family, R1)
        a.store(H, R10, _FIB + 6, R1)
    if family.version == 4:
        a.load(B, R1, R7, _IP + 1)
        a.store(B, R10, _FIB + 12, R1)
    else:
        a.load(W, R1, R7, _IP)
        a.operate("&=", R1, int.from_bytes(b"\x0f\xff\xff\xff", "little"), narrow=True)
        a.store(W, R10, _FIB + 12, R1)
    _copy(a, R7, family.source, R10, _FIB + 16, family.words)
    _copy(a, R7, family.destination, R10, _FIB + 32, family.words)


def _call_route(a: Assembler) -> None:
    a.move(R1, R6)
    _address(a, R2, _FIB)
    a.move(R3, 64)
    a.move(R4, 0)
    a.call(_FIB_LOOKUP)


def _to_broker(a: Assembler, maps: Maps, name: str, first_socket: int) -> None:
    """Redirect to the socket of this queue; R0: what the routing table said."""
    a.jump("==", R0, _FOUND, f"{name} known")
    a.store(W, R10, _OUT, 0)  # the broker lets the kernel find the neighbour
    a.jump("==", R0, _NO_NEIGHBOUR, f"{name} known")
    a.jump("!=", R0, _TUNNELLED, "pass")
    a.label(f"{name} known")
    a.move(R1, R6)
    a.move(R2, -META_BYTES)
    a.call(_ADJUST_META)
    a.jump("!=", R0, 0, "pass")
    a.load(W, R1, R6, 8)
    a.load(W, R2, R6, 0)
    a.move(R3, R1)
    a.operate("+=", R3, META_BYTES)
    a.jump(">", R3, R2, "pass")
    a.load(W, R2, R9, 0)
    a.store(W, R1, 0, R2)
    a.load(W, R2, R10, _OUT)
    a.store(W, R1, 4, R2)
    _write_macs(a, R1, 8)
    a.load(W, R2, R6, 16)
    a.operate("+=", R2, first_socket)
    a.load_map(R1, maps.sockets)
    a.move(R3, _PASS)
    a.call(_REDIRECT_MAP)
    a.exit()


def _forward(a: Assembler, family: _Family, maps: Maps) -> None:
    """Forward a packet of a flow that was accepted for good; R0: what the routing table said."""
    a.jump("!=", R0, _FOUND, "pass")
    a.load(W, R1, R10, _OUT)
    a.jump(">=", R1, OUT_MAX, "pass")
    a.load_map_value(R2, maps.settings, OUT_AT)
    a.operate("+=", R2, R1)
    a.load(B, R2, R2, 0)
    a.jump("==", R2, 0, "pass")
    _refuse_unfinished(a, family)
    a.load(DW, R0, R10, _FLOW_FOUND)
    a.jump("==", R0, 0, "pass")
    _count(a, family, 8)
    a.load(W, R1, R9, 12)
    a.store(W, R10, _KEY, R1)
    _look_up(a, maps.counters, _KEY)
    a.jump("==", R0, 0, "pass")
    _count(a, family, 0)
    a.load(B, R1, R7, family.hops)
    a.operate("-=", R1, 1)
    a.store(B, R7, family.hops, R1)
    if family.version == 4:  # RFC 1624; one less in the first byte is one less in a little-endian word
        a.load(H, R1, R7, _IP + 10)
        a.operate("+=", R1, 1)
        a.move(R2, R1)
        a.operate(">>=", R2, 16)
        a.operate("+=", R1, R2)
        a.store(H, R7, _IP + 10, R1)
    _write_macs(a, R7, 0)
    a.load_map(R1, maps.devices)
    a.load(W, R2, R10, _OUT)
    a.move(R3, 0)
    a.call(_REDIRECT_MAP)
    a.exit()


def _refuse_unfinished(a: Assembler, family: _Family) -> None:
    """Leave to the kernel what a sender on this machine has left the checksum of to hardware that is not there.

    Its checksum is then that of the pseudo header, not complemented. R5: the checksum.
    """
    name = f"ip{family.version}"
    a.load(H, R5, R7, family.transport + 6)
    a.load(B, R2, R10, _FLOW + 1)
    a.jump("==", R2, _UDP, f"{name} checksum")
    a.move(R1, R7)
    a.operate("+=", R1, family.transport + 18)
    a.jump(">", R1, R8, "pass")
    a.load(H, R5, R7, family.transport + 16)
    a.label(f"{name} checksum")
    a.operate("<<=", R2, 8)
    a.move(R3, R2)
    for at in (_FLOW + 8, _FLOW + 24):
        for number in range(family.words):
            a.load(W, R1, R10, at + 4 * number)
            a.operate("+=", R3, R1)
    a.load(H, R1, R7, family.length)
    if family.version == 4:
        a.swap16(R1)
        a.operate("-=", R1, 20)
        a.swap16(R1)
    a.operate("+=", R3, R1)
    for _ in range(4):
        a.move(R1, R3)
        a.operate(">>=", R1, 16)
        a.operate("&=", R3, 0xFFFF)
        a.operate("+=", R3, R1)
    a.jump("==", R3, R5, "pass")


def _count(a: Assembler, family: _Family, at: int) -> None:
    """One packet more, and its bytes, at R0."""
    a.move(R1, 1)
    a.add_atomically(R0, at, R1)
    _length(a, family, R1)
    a.add_atomically(R0, at + 8, R1)


def _length(a: Assembler, family: _Family, to: Register) -> None:
    a.load(H, to, R7, family.length)
    a.swap16(to)
    if family.length_extra:
        a.operate("+=", to, family.length_extra)


def _write_macs(a: Assembler, base: Register, at: int) -> None:
    for number, source in enumerate((_DESTINATION_MAC, _SOURCE_MAC)):
        for part in (0, 2, 4):
            a.load(H, R2, R10, source + part)
            a.store(H, base, at + 6 * number + part, R2)


def _look_up(a: Assembler, descriptor: int, key: int) -> None:
    a.load_map(R1, descriptor)
    _address(a, R2, key)
    a.call(_LOOKUP)


def _address(a: Assembler, to: Register, at: int) -> None:
    a.move(to, R10)
    a.operate("+=", to, at)


def _clear(a: Assembler, at: int, size: int) -> None:
    for offset in range(0, size, 8):
        a.store(DW, R10, at + offset, 0)


def _copy(a: Assembler, base: Register, at: int, to: Register, to_at: int, words: int) -> None:
    for number in range(words):
        a.load(W, R1, base, at + 4 * number)
        a.store(W, to, to_at + 4 * number, R1)
