"""Which packets go to a module."""

from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

import msgspec

from netserv.modules.manifest import Prematch

Prefix: TypeAlias = IPv4Network | IPv6Network

PROTOCOLS: Final = {"tcp": 6, "udp": 17}


class PacketFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that pass this node towards a destination."""

    proto: str
    "`udp` or `tcp`."
    ports: tuple[int, ...]
    "Destination ports; a packet has one of them."
    destination: Prefix
    source: Prefix | None = None
    "None: from anywhere."
    reverse: bool = False
    "Also packets of the same flows in the other direction: source and destination swapped."
    prematch: tuple[Prematch, ...] = ()
    "One of them is enough; none: all packets."
