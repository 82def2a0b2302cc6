"""Which address stands for which: what a router translates, as the administrator says it (`--map`, `--map-import`).

On export a mapping says at which address and port a service of this link is reached from elsewhere; on import, at
which one a service of another site is reached from here. Each is applied once.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import combinations
from typing import Final, TypeAlias

import msgspec

from z2z.addresses import Address, Scope, classify, endpoint, never_travels
from z2z.errors import LocalProtocolError
from z2z.service_item import ServiceItem

Network: TypeAlias = IPv4Network | IPv6Network

MAPPINGS_MAX: Final = 256
"Mappings of one program: each address is compared with each, and a router with more of them has whole networks."
_FORMS: Final = "ADDRESS=ADDRESS, ADDRESS:PORT=ADDRESS:PORT or NETWORK=NETWORK, as in 192.168.1.5=203.0.113.7"
_SIDE: Final = re.compile(
    r"\[(?P<bracketed>[0-9A-Fa-f:.]+)\](?::(?P<bracketed_port>[0-9]{1,5}))?"
    r"|(?P<dotted>[0-9.]+):(?P<dotted_port>[0-9]{1,5})"
    r"|(?P<bare>[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?)"
)


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants `inside` is to go to `outside`; both are single addresses, or networks of the same size."""

    inside: Network
    outside: Network
    inside_port: int = 0
    "Only a service at this port; 0 for all ports, which stay as they are."
    outside_port: int = 0

    def __str__(self) -> str:
        sides = ((self.inside, self.inside_port), (self.outside, self.outside_port))
        return "=".join(_shown(network, port) for network, port in sides)

    def overlaps(self, other: "Mapping") -> bool:
        """Whether both say something about one place inside."""
        return _overlap((self.inside, self.inside_port), (other.inside, other.inside_port))

    def meets(self, other: "Mapping") -> bool:
        """Whether both lead to one place outside."""
        return _overlap((self.outside, self.outside_port), (other.outside, other.outside_port))

    def translate(self, address: Address, port: int) -> tuple[Address, int] | None:
        """Return where a service is to be looked for, or None if this mapping says nothing about it."""
        if address.version != self.inside.version or address not in self.inside:
            return None
        if self.inside_port not in {0, port}:
            return None
        host = int(address) - int(self.inside.network_address)
        return self.outside.network_address + host, self.outside_port or port


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it is seen from the other side of the router."""

    item: ServiceItem
    mapped: frozenset[Address] = frozenset()
    "Addresses of the item that the administrator vouches for."
    lost: tuple[str, ...] = ()
    "Addresses that it lost, with the reason."


class AddressMap(msgspec.Struct, frozen=True):
    """All mappings of one direction.

    Raises:
        LocalProtocolError: two of them contradict each other, or there are too many.
    """

    mappings: tuple[Mapping, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mappings) > MAPPINGS_MAX:
            raise LocalProtocolError(f"{len(self.mappings)} mappings; at most {MAPPINGS_MAX}: map networks")
        for one, other in combinations(self.mappings, 2):
            _check_pair(one, other)

    def apply(self, item: ServiceItem) -> Translated:
        """Return an item with the addresses and the port that it has on the other side.

        All addresses of an item have one port (RFC 2782). If a mapping changes it, the first address that is mapped
        decides, and addresses at other ports are lost.
        """
        found = [self._translate(address, item.port) for address in item.addresses]
        hits = [hit for hit in found if hit is not None]
        if not hits:
            return Translated(item=item)
        port = hits[0][1]
        kept: dict[Address, None] = {}
        lost = []
        for address, hit in zip(item.addresses, found, strict=True):
            there, its_port = hit or (address, item.port)
            if its_port == port:
                kept[there] = None
            else:
                lost.append(f"{endpoint(there, its_port)} has another port than {endpoint(*hits[0])}")
        # IPv4 first, each family sorted, as everywhere.
        addresses = tuple(sorted(kept, key=lambda each: (each.version, int(each))))
        return Translated(
            item=msgspec.structs.replace(item, addresses=addresses, port=port),
            mapped=frozenset(there for there, its_port in hits if its_port == port),
            lost=tuple(lost),
        )

    def _translate(self, address: Address, port: int) -> tuple[Address, int] | None:
        for mapping in self.mappings:
            if (hit := mapping.translate(address, port)) is not None:
                return hit
        return None


NO_MAP: Final = AddressMap()


def parse_mapping(text: str) -> Mapping:
    """Return the mapping that a user has typed.

    Raises:
        LocalProtocolError: it is none, or can never be right; the text says what would be.
    """
    left, equals, right = text.partition("=")
    if not equals:
        raise LocalProtocolError(f"{text!r} is no mapping: {_FORMS}")
    (inside, inside_port), (outside, outside_port) = _side(left.strip()), _side(right.strip())
    if inside.version != outside.version:
        raise LocalProtocolError(f"{text}: one side is IPv4, the other IPv6; map each family for itself")
    if inside.prefixlen != outside.prefixlen:
        raise LocalProtocolError(f"{text}: the sides differ in size; an address goes with an address, /24 with /24")
    if bool(inside_port) != bool(outside_port):
        raise LocalProtocolError(f"{text}: a port on both sides, or on neither")
    if (inside, inside_port) == (outside, outside_port):
        raise LocalProtocolError(f"{text} changes nothing; the right side is what others reach")
    return Mapping(inside=inside, outside=outside, inside_port=inside_port, outside_port=outside_port)


def address_map(mappings: Iterable[Mapping]) -> AddressMap:
    """Return the map that these make; one said twice counts once.

    Raises:
        LocalProtocolError: two of them contradict each other, or there are too many.
    """
    return AddressMap(tuple(dict.fromkeys(mappings)))


def _side(text: str) -> tuple[Network, int]:
    match = _SIDE.fullmatch(text)
    if match is None:
        raise LocalProtocolError(f"{text!r} is no side of a mapping: {_FORMS}; IPv6 with a port as [2001:db8::5]:80")
    parts = match.groupdict()
    bare = parts["bracketed"] or parts["dotted"] or parts["bare"] or ""
    port_text = parts["bracketed_port"] or parts["dotted_port"]
    try:
        network = ip_network(bare)
    except ValueError:
        raise LocalProtocolError(_why_no_network(bare)) from None
    if port_text and not 1 <= int(port_text) <= 65_535:
        raise LocalProtocolError(f"{text}: port {port_text} is not within 1..65535")
    scope = classify(network.network_address)
    if scope not in {Scope.PUBLIC, Scope.PRIVATE}:
        raise LocalProtocolError(f"{text} is {scope.value}: no router translates that")
    if (never := never_travels(network)) is not None:
        raise LocalProtocolError(f"{text} has {never[0]} in it, which is {never[1].value}: no router translates that")
    return network, int(port_text or 0)


def _why_no_network(text: str) -> str:
    try:
        larger = ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is no IPv4 or IPv6 address or network: {_FORMS}"
    alone = ip_address(text.partition("/")[0])
    return f"{text} is an address within a network; the network is {larger}, the address alone {alone}"


def _shown(network: Network, port: int) -> str:
    if network.num_addresses > 1:
        return str(network)
    return endpoint(network.network_address, port) if port else str(network.network_address)


def _overlap(one: tuple[Network, int], other: tuple[Network, int]) -> bool:
    """Whether two places, each a network and a port or 0 for all ports, have something in common."""
    (first, first_port), (second, second_port) = one, other
    ports = first_port == second_port or not first_port or not second_port
    return ports and first.version == second.version and first.overlaps(second)


def _check_pair(one: Mapping, other: Mapping) -> None:
    if one.overlaps(other):
        raise LocalProtocolError(f"{one} and {other} both say where {_shown(other.inside, other.inside_port)} is")
    if one.meets(other):
        raise LocalProtocolError(
            f"{one} and {other} lead to one address, which only one of them can get; name ports, "
            "as in 192.168.1.5:80=203.0.113.7:8080"
        )
    for first, second in ((one, other), (other, one)):
        if _overlap((first.outside, first.outside_port), (second.inside, second.inside_port)):
            raise LocalProtocolError(
                f"{first} leads to where {second} leads away from: a mapping is applied once, so name the end"
            )
