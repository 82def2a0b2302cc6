"""The program that runs in the kernel for each packet that comes in by an interface of the node.

A packet that no filter wants goes on to the kernel untouched: two bits decide for most of them. One that is wanted goes
to the broker by AF_XDP, with the kernel's own word on where it is to leave in front of it. One of a flow that a module
has accepted for good is forwarded right here, and counted where the module wants to know. Fragments, IPv4 options, IPv6
extension headers, VLAN tags, packets to this machine, and those whose TTL or size the kernel must complain about are
the kernel's.
"""

# Over 400 lines: it is one program, read from top to bottom.

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
    W,
)
from netserv.forwarding.xdp_parts import (
    ADJUST_META,
    BUFFER,
    FAMILIES,
    FLOW,
    FLOW_FOUND,
    FOUND,
    IP,
    KEY,
    LOAD_BYTES,
    NO_NEIGHBOUR,
    OUT,
    PASS,
    PAYLOAD,
    REDIRECT_MAP,
    TCP,
    TUNNELLED,
    UDP,
    Family,
    address,
    ask_route,
    call_route,
    clear,
    copy,
    length,
    look_up,
    write_macs,
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
FLOW_VALUE_BYTES: Final = 16
"Number of the filter; where the flow is counted, 0 for nowhere."


class Maps(NamedTuple):
    """Descriptors of the tables."""

    settings: int
    filters: int
    flows: int
    counters: int
    counted: int
    sockets: int
    devices: int


def main_program(maps: Maps, mac: bytes, first_socket: int, *, stack: bool = False) -> bytes:
    """The program of one interface.

    Args:
        maps: the tables.
        mac: hardware address of the interface: only what is sent to it is to be forwarded.
        first_socket: where the sockets of its queues begin in the table of sockets.
        stack: flows that were accepted for good are counted, and are the kernel's to forward.
    """
    a = Assembler()
    a.move(R6, R1)
    a.load(W, R7, R6, 0)
    a.load(W, R8, R6, 4)
    a.move(R1, R7)
    a.operate("+=", R1, FAMILIES[0].transport + 8)
    a.jump(">", R1, R8, "pass")
    a.load(H, R1, R7, 12)
    a.jump("==", R1, int.from_bytes(b"\x08\x00", "little"), "ip4")
    a.jump("!=", R1, int.from_bytes(b"\x86\xdd", "little"), "pass")
    a.move(R1, R7)
    a.operate("+=", R1, FAMILIES[1].transport + 8)
    a.jump(">", R1, R8, "pass")
    _family(a, FAMILIES[1], maps, mac, first_socket, stack=stack)
    a.label("ip4")
    a.load(B, R1, R7, IP)
    a.jump("!=", R1, 0x45, "pass")
    a.load(H, R1, R7, IP + 6)
    a.jump("&", R1, int.from_bytes(b"\x3f\xff", "little"), "pass")
    _family(a, FAMILIES[0], maps, mac, first_socket, stack=stack)
    a.label("pass")
    a.move(R0, PASS)
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
    a.operate("+=", R1, IP + 20)
    a.jump(">", R1, R8, "none")
    a.load(B, R1, R7, IP)
    a.operate(">>=", R1, 4)
    a.jump("==", R1, 4, "ip4")
    a.move(R1, R7)
    a.operate("+=", R1, IP + 40)
    a.jump(">", R1, R8, "none")
    for family, name in ((FAMILIES[1], "ask"), (FAMILIES[0], "ask")):
        if family.version == 4:
            a.label("ip4")
        ask_route(a, family, ports=False)
        a.store(W, R10, OUT, interface)
        if family.version == 6:
            a.go(name)
    a.label("ask")
    call_route(a)
    a.jump("!=", R0, FOUND, "none")
    write_macs(a, R7, 0)
    a.load(W, R0, R10, OUT)
    a.exit()
    a.label("none")
    a.move(R0, 0)
    a.exit()
    return a.assemble()


def _family(a: Assembler, family: Family, maps: Maps, mac: bytes, first_socket: int, *, stack: bool) -> None:
    name = f"ip{family.version}"
    a.load(B, R9, R7, family.proto)
    a.move(R5, 0)
    a.jump("==", R9, UDP, f"{name} bits")
    a.move(R5, 2 * BITMAP_BYTES)
    a.jump("!=", R9, TCP, "pass")
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
    ask_route(a, family, ports=True)
    a.load(W, R1, R6, 12)
    a.store(W, R10, OUT, R1)
    call_route(a)
    a.load(DW, R1, R10, FLOW_FOUND)
    a.jump("!=", R1, 0, f"{name} cached")
    _to_broker(a, maps, name, first_socket)
    a.label(f"{name} cached")
    _count(a, family, maps)
    if stack:
        a.go("pass")
    else:
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


def _check_frame(a: Assembler, family: Family, mac: bytes) -> None:
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


def _describe(a: Assembler, family: Family) -> None:
    """Fill in the key of the table of flows; R9 is the protocol."""
    clear(a, FLOW, FLOW_BYTES)
    clear(a, KEY, 24)
    a.store(B, R10, FLOW, family.version)
    a.store(B, R10, FLOW + 1, R9)
    a.load(B, R1, R7, family.hops)
    a.store(B, R10, FLOW + 6, R1)
    for number in range(2):
        a.load(H, R1, R7, family.transport + 2 * number)
        a.store(H, R10, FLOW + 2 + 2 * number, R1)
    for at, to in ((family.source, FLOW + 8), (family.destination, FLOW + 24)):
        copy(a, R7, at, R10, to, family.words)


def _find_filter(a: Assembler, family: Family, maps: Maps, way: int, otherwise: str) -> None:
    """Look a packet up; its entry is in R9 afterwards."""
    port, near, far = (FLOW + 4, FLOW + 24, FLOW + 8) if way == FORWARD else (FLOW + 2, FLOW + 8, FLOW + 24)
    a.store(W, R10, KEY, KEY_BITS + 32 * family.words)
    a.store(B, R10, KEY + 4, family.version << 4 | way)
    a.load(B, R1, R10, FLOW + 1)
    a.store(B, R10, KEY + 5, R1)
    a.load(H, R1, R10, port)
    a.store(H, R10, KEY + 6, R1)
    for number in range(2):
        a.load(DW, R1, R10, near + 8 * number)
        a.store(DW, R10, KEY + 8 + 8 * number, R1)
    look_up(a, maps.filters, KEY)
    a.jump("==", R0, 0, otherwise)
    a.move(R9, R0)
    for number in range(2):
        a.load(DW, R1, R10, far + 8 * number)
        a.load(DW, R2, R9, 32 + 8 * number)
        a.operate("&=", R1, R2)
        a.load(DW, R2, R9, 16 + 8 * number)
        a.jump("!=", R1, R2, otherwise)
    _compare(a, family, f"ip{family.version} matched", otherwise, f"ip{family.version} {way}")


def _compare(a: Assembler, family: Family, matched: str, otherwise: str, name: str) -> None:
    """Compare the payload with the prematches of the entry in R9."""
    a.load(W, R1, R9, 8)
    a.jump("==", R1, 0, matched)
    a.move(R2, family.transport + 8)
    a.load(B, R1, R10, FLOW + 1)
    a.jump("==", R1, UDP, f"{name} payload")
    a.move(R1, R7)
    a.operate("+=", R1, family.transport + 20)
    a.jump(">", R1, R8, otherwise)
    a.load(B, R2, R7, family.transport + 12)
    a.operate(">>=", R2, 4)
    a.operate("<<=", R2, 2)
    a.operate("+=", R2, family.transport)
    a.label(f"{name} payload")
    a.store(DW, R10, PAYLOAD, R2)
    for number in range(PREMATCHES_MAX):
        at, following = VALUE.size + number * PREMATCH.size, f"{name} prematch {number + 1}"
        a.load(W, R1, R9, 8)
        a.jump("<=", R1, number, otherwise)
        a.load(W, R2, R9, at)
        a.load(DW, R1, R10, PAYLOAD)
        a.operate("+=", R2, R1)
        a.load(W, R4, R9, at + 4)
        a.jump("==", R4, 0, otherwise)
        a.jump(">", R4, 16, otherwise)
        clear(a, BUFFER, 16)
        a.move(R1, R6)
        address(a, R3, BUFFER)
        a.call(LOAD_BYTES)
        a.jump("!=", R0, 0, following)
        for half in (0, 8):
            a.load(DW, R1, R10, BUFFER + half)
            a.load(DW, R2, R9, at + 8 + half)
            a.jump("!=", R1, R2, following)
        a.go(matched)
        a.label(following)
    a.go(otherwise)


def _find_flow(a: Assembler, maps: Maps, otherwise: str) -> None:
    """Whether a module has accepted this flow for good."""
    a.store(DW, R10, FLOW_FOUND, 0)
    a.load(W, R1, R9, 4)
    a.operate("&=", R1, SINGLE)
    a.jump("==", R1, 0, otherwise)
    look_up(a, maps.flows, FLOW)
    a.jump("==", R0, 0, otherwise)
    a.load(DW, R1, R0, 0)
    a.load(W, R2, R9, 0)
    a.jump("!=", R1, R2, otherwise)
    a.load(W, R1, R0, 8)
    a.operate("+=", R1, 1)
    a.store(DW, R10, FLOW_FOUND, R1)


def _to_broker(a: Assembler, maps: Maps, name: str, first_socket: int) -> None:
    """Redirect to the socket of this queue; R0: what the routing table said."""
    a.jump("==", R0, FOUND, f"{name} known")
    a.store(W, R10, OUT, 0)  # the broker lets the kernel find the neighbour
    a.jump("==", R0, NO_NEIGHBOUR, f"{name} known")
    a.jump("!=", R0, TUNNELLED, "pass")
    a.label(f"{name} known")
    a.move(R1, R6)
    a.move(R2, -META_BYTES)
    a.call(ADJUST_META)
    a.jump("!=", R0, 0, "pass")
    a.load(W, R1, R6, 8)
    a.load(W, R2, R6, 0)
    a.move(R3, R1)
    a.operate("+=", R3, META_BYTES)
    a.jump(">", R3, R2, "pass")
    a.load(W, R2, R9, 0)
    a.store(W, R1, 0, R2)
    a.load(W, R2, R10, OUT)
    a.store(W, R1, 4, R2)
    write_macs(a, R1, 8)
    a.load(W, R2, R6, 16)
    a.operate("+=", R2, first_socket)
    a.load_map(R1, maps.sockets)
    a.move(R3, PASS)
    a.call(REDIRECT_MAP)
    a.exit()


def _count(a: Assembler, family: Family, maps: Maps) -> None:
    """Count a packet of a flow that was accepted for good; R0: what the routing table said.

    What is the kernel's to forward counts as well: the same as would go to the module.
    """
    name = f"ip{family.version}"
    a.store(DW, R10, PAYLOAD, R0)
    a.jump("==", R0, FOUND, f"{name} count")
    a.jump("==", R0, NO_NEIGHBOUR, f"{name} count")
    a.jump("!=", R0, TUNNELLED, "pass")
    a.label(f"{name} count")
    a.load(W, R1, R9, 12)
    _count_at(a, family, maps.counters)
    a.load(DW, R1, R10, FLOW_FOUND)
    a.operate("-=", R1, 1)
    a.jump("==", R1, 0, f"{name} counted")
    _count_at(a, family, maps.counted)
    a.label(f"{name} counted")


def _forward(a: Assembler, family: Family, maps: Maps) -> None:
    """Forward it; what cannot leave here is the kernel's."""
    a.load(DW, R1, R10, PAYLOAD)
    a.jump("!=", R1, FOUND, "pass")
    a.load(W, R1, R10, OUT)
    a.jump(">=", R1, OUT_MAX, "pass")
    a.load_map_value(R2, maps.settings, OUT_AT)
    a.operate("+=", R2, R1)
    a.load(B, R2, R2, 0)
    a.jump("==", R2, 0, "pass")
    _refuse_unfinished(a, family)
    a.load(B, R1, R7, family.hops)
    a.operate("-=", R1, 1)
    a.store(B, R7, family.hops, R1)
    if family.version == 4:  # RFC 1624; one less in the first byte is one less in a little-endian word
        a.load(H, R1, R7, IP + 10)
        a.operate("+=", R1, 1)
        a.move(R2, R1)
        a.operate(">>=", R2, 16)
        a.operate("+=", R1, R2)
        a.store(H, R7, IP + 10, R1)
    write_macs(a, R7, 0)
    a.load_map(R1, maps.devices)
    a.load(W, R2, R10, OUT)
    a.move(R3, 0)
    a.call(REDIRECT_MAP)
    a.exit()


def _refuse_unfinished(a: Assembler, family: Family) -> None:
    """Leave to the kernel what a sender on this machine has left the checksum of to hardware that is not there.

    Its checksum is then that of the pseudo header, not complemented. R5: the checksum.
    """
    name = f"ip{family.version}"
    a.load(H, R5, R7, family.transport + 6)
    a.load(B, R2, R10, FLOW + 1)
    a.jump("==", R2, UDP, f"{name} checksum")
    a.move(R1, R7)
    a.operate("+=", R1, family.transport + 18)
    a.jump(">", R1, R8, "pass")
    a.load(H, R5, R7, family.transport + 16)
    a.label(f"{name} checksum")
    a.operate("<<=", R2, 8)
    a.move(R3, R2)
    for at in (FLOW + 8, FLOW + 24):
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


def _count_at(a: Assembler, family: Family, table: int) -> None:
    """One packet more, and its bytes, at place R1 of a table; bytes first, so that no packet is told without them."""
    a.store(W, R10, KEY, R1)
    look_up(a, table, KEY)
    a.jump("==", R0, 0, "pass")
    length(a, family, R1)
    a.add_atomically(R0, 8, R1)
    a.move(R1, 1)
    a.add_atomically(R0, 0, R1)
