"""Addresses as GIST has them: 4 or 16 bytes in network order, which cost nothing to compare, hash and send."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

GIST_PORT: Final = 270
"UDP port of Queries and of the messages from querying to responding node (RFC 5971 section 9)."

PackedAddress: TypeAlias = bytes
"An IPv4 address as 4 bytes, an IPv6 address as 16."
Endpoint: TypeAlias = tuple[PackedAddress, int]
"Address and port."


def packed(address: str | IPv4Address | IPv6Address) -> PackedAddress:
    """The bytes of an address.

    Raises:
        ValueError: the text is no address.
    """
    return ip_address(address).packed


def address_text(address: PackedAddress) -> str:
    """The usual text of an address."""
    return str(ip_address(address))


def endpoint_text(endpoint: Endpoint) -> str:
    """`address:port`, with brackets around IPv6."""
    address, port = endpoint
    return f"[{address_text(address)}]:{port}" if len(address) == 16 else f"{address_text(address)}:{port}"
