"""Which addresses may leave a link, and which may enter one.

`ipaddress.is_global` is not the question here: it calls the documentation ranges private, which people use in labs as
stand-ins for public addresses (RFC 5737, RFC 3849), so the ranges are listed.
"""

from collections.abc import Iterable
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface


class Scope(Enum):
    """How far an address reaches; the value completes "a ... address" on the terminal."""

    PUBLIC = "public"
    PRIVATE = "private"
    "Reachable inside one site only: exported on demand."
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    UNUSABLE = "reserved or multicast"
    "Names no single host anywhere."


_RANGES: Final = tuple(
    (ip_network(text), scope)
    for scope, texts in (
        (Scope.LOOPBACK, ("127.0.0.0/8", "::1/128")),
        (Scope.LINK_LOCAL, ("169.254.0.0/16", "fe80::/10")),
        # RFC 1918; RFC 6598 (carrier NAT); RFC 2544 (benchmarks); RFC 4193 (ULA); RFC 3879 (site-local, deprecated);
        # RFC 8215 (local-use translation).
        (
            Scope.PRIVATE,
            (
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "100.64.0.0/10",
                "198.18.0.0/15",
                "fc00::/7",
                "fec0::/10",
                "64:ff9b:1::/48",
            ),
        ),
        # RFC 1122 "this network"; RFC 6890 protocol assignments; RFC 5771 multicast; RFC 1112 class E and broadcast;
        # unspecified and the deprecated IPv4-compatible block; RFC 6666 discard; RFC 4291 multicast.
        (
            Scope.UNUSABLE,
            ("0.0.0.0/8", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/96", "100::/64", "ff00::/8"),
        ),
    )
    for text in texts
)
_TRANSLATED: Final = ip_network("64:ff9b::/96")
"RFC 6052: the last 32 bits are an IPv4 address, which decides."


def classify(address: Address) -> Scope:
    """Return how far an address reaches; an IPv6 address that wraps an IPv4 one reaches as far as that one."""
    inner = _wrapped(address)
    if inner is not None:
        return classify(inner)
    for network, scope in _RANGES:
        if address.version == network.version and address in network:
            return scope
    return Scope.PUBLIC


def _wrapped(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:  # RFC 3056: reaches its site through that IPv4 address
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _TRANSLATED else None


def never_travels(network: IPv4Network | IPv6Network) -> tuple[IPv4Network | IPv6Network, Scope] | None:
    """Return the first range in a network, or around it, whose addresses are of no use beyond a link, if any."""
    for known, scope in _RANGES:
        if scope is not Scope.PRIVATE and known.version == network.version and known.overlaps(network):
            return known, scope
    return None


def exportable(addresses: Iterable[Address], *, allow_private: bool) -> tuple[Address, ...]:
    """Return those addresses that a service may be exported with (thesis 4.3.2.1)."""
    wanted = {Scope.PUBLIC, Scope.PRIVATE} if allow_private else {Scope.PUBLIC}
    return tuple(address for address in addresses if classify(address) in wanted)


def own_prefix(address: Address, own: Iterable[Interface]) -> IPv4Network | IPv6Network | None:
    """Return the prefix of this host that an address lies in, if any: there it would name a local stranger."""
    for interface in own:
        if interface.version == address.version and address in interface.network:
            return interface.network
    return None


def endpoint(address: Address, port: int) -> str:
    """Return `198.51.100.7:3689` or `[2001:db8::7]:3689`."""
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"
