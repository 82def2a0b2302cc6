"""Whom a limit counts: sources grouped by network."""

import functools
import ipaddress
from typing import Final

SOURCES_REMEMBERED_MAX: Final = 4_096
"Parsed source addresses kept, about 200 bytes each; a node hears its few hundred neighbours most of the time."
V4_GROUP_BITS: Final = 24
V6_GROUP_BITS: Final = 48
"One site's usual allocation: taking more addresses within it is free, so it counts as one source."


@functools.lru_cache(maxsize=SOURCES_REMEMBERED_MAX)
def source_group(source: str) -> str:
    """Return the network that a source address counts under; text that is no address stands for itself.

    Args:
        source: an IP address without port, or a local name; the empty text is this process itself.
    """
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address) >> 80 << 80, V6_GROUP_BITS)))
        address = address.ipv4_mapped
    return str(ipaddress.IPv4Network((int(address) >> 8 << 8, V4_GROUP_BITS)))


@functools.lru_cache(maxsize=SOURCES_REMEMBERED_MAX)
def is_own_machine(source: str) -> bool:
    """Say whether only programs of this machine can use this source: they are not rate-limited."""
    try:
        return not source or ipaddress.ip_address(source).is_loopback
    except ValueError:
        return False
