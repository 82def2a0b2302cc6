"""Routes, addresses and links in the words of the kernel (rtnetlink(7)): requests built, answers read."""

import struct
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.transport.netlink import NetlinkError, attribute, attributes

GET_LINK: Final = 18
NEW_LINK: Final = 16
GET_ADDRESS: Final = 22
NEW_ADDRESS: Final = 20
GET_ROUTE: Final = 26
NEW_ROUTE: Final = 24
GROUPS: Final = (1, 5, 7, 9, 11, 8, 19)
"Links; IPv4 and IPv6 addresses; IPv4 and IPv6 routes; IPv4 and IPv6 routing rules (linux/rtnetlink.h)."
UNICAST: Final = 1
LOCAL: Final = 2
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_NEXT_HOP: Final = struct.Struct("=HBBi")
_NUMBER: Final = struct.Struct("=I")
_FIB_MATCH: Final = 0x2000
_INET: Final = 2
_INET6: Final = 10
NEXT_HOPS_MAX: Final = 256
"Ways of one route; the kernel allows some hundreds, and nobody has over 64."


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The way to an address."""

    kind: int
    "`UNICAST`, `LOCAL` or something that leads nowhere."
    interfaces: tuple[int, ...]
    "Several where the route has several ways."
    source: PackedAddress | None = None
    "Own address that the kernel prefers."
    gateway: PackedAddress | None = None
    mtu: int | None = None
    "Of the route, where it has one: set by hand or learnt from ICMP."


def family_of(address: PackedAddress) -> int:
    """AF_INET or AF_INET6."""
    return _INET if len(address) == 4 else _INET6


def route_request(destination: PackedAddress, *, whole_route: bool = False) -> bytes:
    """Ask for the way to an address.

    Args:
        destination: of 4 or 16 bytes.
        whole_route: want the route as it stands in the table, with all its ways, not the one chosen now. A kernel that
            does not know this returns the chosen one.
    """
    flags = _FIB_MATCH if whole_route else 0
    return _ROUTE.pack(family_of(destination), len(destination) * 8, 0, 0, 0, 0, 0, 0, flags) + attribute(
        1, destination
    )


def read_route(body: bytes) -> Route:
    """Read the answer to `route_request`.

    Raises:
        NetlinkError: it is no route.
    """
    if len(body) < _ROUTE.size:
        raise NetlinkError(f"a route of {len(body)} bytes")
    kind = _ROUTE.unpack_from(body)[7]
    found = attributes(body, _ROUTE.size)
    interfaces = [_number(found[4])] if 4 in found else []
    interfaces += _next_hops(found.get(9, b""))
    via = found.get(18, b"")  # a gateway of the other family: two bytes of family, then the address
    metrics = attributes(found.get(8, b""))
    return Route(
        kind=kind,
        interfaces=tuple(interfaces),
        source=found.get(7),
        gateway=found.get(5) or via[2:] or None,
        mtu=_number(metrics[2]) if 2 in metrics else None,
    )


def _next_hops(data: bytes) -> list[int]:
    found: list[int] = []
    at = 0
    while at < len(data) and len(found) < NEXT_HOPS_MAX:
        if len(data) - at < _NEXT_HOP.size:
            raise NetlinkError("a next hop is cut off")
        size, _, _, interface = _NEXT_HOP.unpack_from(data, at)
        if size < _NEXT_HOP.size:
            raise NetlinkError(f"a next hop of {size} bytes")
        found.append(interface)
        at += size + -size % 4
    return found


def addresses_request() -> bytes:
    """Ask for all addresses of this machine, by a dump."""
    return _ADDRESS.pack(0, 0, 0, 0, 0)


def read_address(body: bytes) -> tuple[PackedAddress, int]:
    """An own address and the index of its interface.

    Raises:
        NetlinkError: it is no address.
    """
    if len(body) < _ADDRESS.size:
        raise NetlinkError(f"an address of {len(body)} bytes")
    interface = _ADDRESS.unpack_from(body)[4]
    found = attributes(body, _ADDRESS.size)
    address = found.get(2) or found.get(1)  # IFA_LOCAL: on a point-to-point link IFA_ADDRESS is the other end's
    if address is None:
        raise NetlinkError("an address without its bytes")
    return address, interface


def link_request(interface: int) -> bytes:
    """Ask for one interface."""
    return _LINK.pack(0, 0, interface, 0, 0)


def read_mtu(body: bytes) -> int:
    """The MTU in an answer to `link_request`, in bytes.

    Raises:
        NetlinkError: it is no link with an MTU.
    """
    if len(body) < _LINK.size:
        raise NetlinkError(f"a link of {len(body)} bytes")
    found = attributes(body, _LINK.size)
    if 4 not in found:
        raise NetlinkError("a link without an MTU")
    return _number(found[4])


def _number(value: bytes) -> int:
    if len(value) < _NUMBER.size:
        raise NetlinkError(f"a number of {len(value)} bytes")
    return int(_NUMBER.unpack_from(value)[0])
