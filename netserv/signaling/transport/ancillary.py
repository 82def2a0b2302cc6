"""What the kernel says beside a datagram (ip(7), ipv6(7)), and how to ask for it and to say it when sending."""

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from netserv.signaling.gist.addresses import PackedAddress

# Numbers of linux/in.h and linux/in6.h that Python's `socket` does not name.
IP_TRANSPARENT: Final = 19
IPV6_TRANSPARENT: Final = 75
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
_IP: Final = 0
_IPV6: Final = 41
_IP_TOS: Final = 1
_IP_TTL: Final = 2
_IP_RECVOPTS: Final = 6
_IP_RETOPTS: Final = 7
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_RECVTTL: Final = 12
_IP_RECVTOS: Final = 13
_IP_ORIGDSTADDR: Final = 20
_IPV6_FLOWINFO: Final = 11
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_V6ONLY: Final = 26
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
_IPV6_RECVHOPLIMIT: Final = 51
_IPV6_HOPLIMIT: Final = 52
_IPV6_RECVHOPOPTS: Final = 53
_IPV6_HOPOPTS: Final = 54
_IPV6_RECVTCLASS: Final = 66
_IPV6_TCLASS: Final = 67
_IPV6_ORIGDSTADDR: Final = 74
_SO_RCVBUFFORCE: Final = 33
_SO_RXQ_OVFL: Final = 40
_PMTUDISC_DO: Final = 2
_INT: Final = struct.Struct("=i")
_PKTINFO4: Final = struct.Struct("=i4s4s")
_PKTINFO6: Final = struct.Struct("=16si")
RECEIVE_BUFFER_BYTES: Final = 1 << 20
"The kernel's default of 208 KiB loses bursts of a few hundred packets."
ANCILLARY_BYTES: Final = 1_024
"Room for all of it: below 300 bytes with the longest IPv4 options, and a hop-by-hop header of up to 500."
FAMILIES: Final = {4: socket.AF_INET, 16: socket.AF_INET6}
"By the bytes of an address. `socket.family` makes an enum of a number each time it is asked, which takes 0.5 us."

Ancillary = Sequence[tuple[int, int, bytes]]


class Beside(NamedTuple):
    """What came beside a datagram."""

    destination: PackedAddress
    "Empty where the kernel does not say."
    port: int
    "Original destination port; 0 where it was not asked for."
    interface: int
    ttl: int
    tos: int
    options: bytes
    "IPv4 options, or the hop-by-hop header."
    flow_label: int
    overrun: int
    "Datagrams that this socket has lost so far because it was full; 0 until the first."


def ask4(sock: socket.socket, *, original_port: bool) -> None:
    """Have an IPv4 socket tell TTL, TOS, options, interface and destination of each datagram."""
    wanted = [_IP_PKTINFO, _IP_RECVTTL, _IP_RECVTOS, _IP_RECVOPTS]
    for option in [*wanted, _IP_ORIGDSTADDR] if original_port else wanted:
        sock.setsockopt(_IP, option, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)


def ask6(sock: socket.socket, *, original_port: bool) -> None:
    """Have an IPv6 socket tell the same, and the flow label."""
    sock.setsockopt(_IPV6, _IPV6_V6ONLY, 1)
    wanted = [_IPV6_RECVPKTINFO, _IPV6_RECVHOPLIMIT, _IPV6_RECVTCLASS, _IPV6_RECVHOPOPTS, _IPV6_FLOWINFO]
    for option in [*wanted, _IPV6_ORIGDSTADDR] if original_port else wanted:
        sock.setsockopt(_IPV6, option, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)


def read(ancillary: Ancillary) -> Beside:  # noqa: PLR0912 - one branch per thing told; a table of functions costs more
    """Sort what came; unknown things are left out."""
    destination, options = b"", b""
    port = interface = ttl = tos = label = overrun = 0
    for level, kind, data in ancillary:
        if level == _IP:
            if kind == _IP_PKTINFO:
                interface, _, destination = _PKTINFO4.unpack(data)
            elif kind == _IP_TTL:
                (ttl,) = _INT.unpack(data)
            elif kind == _IP_TOS:
                tos = data[0]
            elif kind == _IP_ORIGDSTADDR:
                port = data[2] << 8 | data[3]
            elif kind == _IP_RECVOPTS:
                options = data
        elif level == _IPV6:
            if kind == _IPV6_PKTINFO:
                destination, interface = _PKTINFO6.unpack(data)
            elif kind == _IPV6_HOPLIMIT:
                (ttl,) = _INT.unpack(data)
            elif kind == _IPV6_TCLASS:
                (tos,) = _INT.unpack(data)
            elif kind == _IPV6_ORIGDSTADDR:
                port = data[2] << 8 | data[3]
            elif kind == _IPV6_HOPOPTS:
                options = data
            elif kind == _IPV6_FLOWINFO:
                label = int.from_bytes(data) & 0xFFFFF
        elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
            overrun = int.from_bytes(data, sys.byteorder)
    return Beside(destination, port, interface, ttl, tos, options, label, overrun)


def say4(*, ttl: int, tos: int = 0, options: bytes = b"") -> list[tuple[int, int, bytes]]:
    """What to hand over beside an IPv4 datagram so that it leaves with these."""
    said = [(_IP, _IP_TTL, _INT.pack(ttl))]
    if tos:
        said.append((_IP, _IP_TOS, _INT.pack(tos)))
    if options:
        said.append((_IP, _IP_RETOPTS, options))
    return said


def say6(*, ttl: int, tos: int = 0, options: bytes = b"") -> list[tuple[int, int, bytes]]:
    """The same for IPv6; the kernel fills in what follows the hop-by-hop header."""
    said = [(_IPV6, _IPV6_HOPLIMIT, _INT.pack(ttl))]
    if tos:
        said.append((_IPV6, _IPV6_TCLASS, _INT.pack(tos)))
    if options:
        said.append((_IPV6, _IPV6_HOPOPTS, options))
    return said


def say_source(source: PackedAddress) -> list[tuple[int, int, bytes]]:
    """Have the route of a packet that brings its own header chosen for this source, by rules that look at it."""
    if len(source) == 4:
        return [(_IP, _IP_PKTINFO, _PKTINFO4.pack(0, source, bytes(4)))]
    return [(_IPV6, _IPV6_PKTINFO, _PKTINFO6.pack(source, 0))]


def dont_fragment(sock: socket.socket) -> None:
    """Set DF on all that leaves; the kernel then refuses what is over the known path MTU."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
    else:
        sock.setsockopt(_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)


def make_transparent(sock: socket.socket) -> bool:
    """Let a socket stand for addresses that are not ours; False without CAP_NET_ADMIN."""
    level, option = (_IP, IP_TRANSPARENT) if sock.family == socket.AF_INET else (_IPV6, IPV6_TRANSPARENT)
    try:
        sock.setsockopt(level, option, 1)
    except PermissionError:
        return False
    return True


def hear_errors(sock: socket.socket) -> None:
    """Have ICMP errors about what this socket has sent put into its error queue."""
    level, option = (_IP, IP_RECVERR) if sock.family == socket.AF_INET else (_IPV6, IPV6_RECVERR)
    sock.setsockopt(level, option, 1)


def enlarge(sock: socket.socket) -> None:
    """Give a socket a large receive buffer; without CAP_NET_ADMIN as large as the administrator allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def family_of(source: Sequence[object]) -> socket.AddressFamily:
    """Of an address as `recvmsg` tells it: with port, and in IPv6 flow label and scope."""
    return socket.AF_INET if len(source) == 2 else socket.AF_INET6


def packed_source(family: int, text: str) -> PackedAddress:
    """The bytes of an address as `recvmsg` tells it."""
    return socket.inet_pton(family, text.partition("%")[0])
