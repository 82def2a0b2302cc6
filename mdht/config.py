"""Settings of a running host."""

from pathlib import Path
from typing import Literal

import msgspec

from dhtboot.ids import Address
from mdht.errors import LocalProtocolError
from mdht.keeping.config import KeepingConfig
from mdht.subnet.peers import PEERS_MAX

Merge = Literal["auto", "never"]
Overlay = Literal["kademlia", "chord"]


class MdhtConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a running host."""

    network: str = "z2z"
    "Overlays of different names do not see each other."
    host: str = ""
    "Numeric address to bind; empty for all."
    port: int = 27183
    """UDP port; another one is taken when it is in use, unless `port_required`. On further links it is 27186 and the
    following ones, or any."""
    port_required: bool = False
    bootstrap: tuple[str, ...] = ()
    "Entry points, hosts of the overlay: `HOST:PORT`, `[v6]:PORT`, or a domain with SRV records `_mdht._udp`."
    peers: tuple[Address, ...] = ()
    "Hosts of the link, where multicast may not find them; at most `mdht.subnet.peers.PEERS_MAX`."
    server: str | None = None
    "A bootstrap server, `HOST:PORT`."
    interfaces: tuple[str, ...] = ()
    """Of the link whose subnet to be in; that of the default route if none is named. The host is in the subnet of each
    link that they are of; those that have a network in common are of one link."""
    presence: bool = True
    "Be a member of the link's subnet, and announce that by DNS-SD; else the host is a subnet of its own."
    subnet: str | None = None
    """Name by which the link's subnet is known, if this host founds it; else its global IPv4 prefix is what it is known
    by, or its global or local IPv6 prefix, or a random number where there are private IPv4 addresses only."""
    merge: Merge = "auto"
    "What becomes of two subnets that meet late on one link: the smaller one gives way to the other, or they stay two."
    allow_private: bool = False
    "Tell other subnets private addresses even where they are reached by public ones."
    public: Address | None = None
    """Where hosts of other subnets reach this host, on the first of its links, if that is no address of its own; it has
    that verified by them."""
    map_port: bool = False
    """Ask the router of each link to forward the host's port to it, by PCP, NAT-PMP or UPnP, and use that as `public`;
    it is given back at the end."""
    keys: tuple[bytes, ...] = ()
    "Shared by all hosts of the overlay, the present one first; see `mdht.link_keys`."
    host_keys: bool = False
    """Sign heartbeats, goodbyes and accusations with a key of the host's own, and believe only signed ones; the same
    for all hosts of a link."""
    state_dir: Path | None = None
    """Where name, subnet, contacts and records survive a restart, those of further links in directories within it; None
    keeps nothing."""
    overlay: Overlay = "kademlia"
    "Protocol between subnets."
    keeping: KeepingConfig = KeepingConfig()

    def __post_init__(self) -> None:
        if len(self.peers) > PEERS_MAX:
            raise LocalProtocolError(f"{len(self.peers)} peers, at most {PEERS_MAX} can be named; one is enough")
        if self.peers and not self.presence:
            raise LocalProtocolError("peers are hosts of the link, and without presence this host is on none")
        if self.map_port and self.public is not None:
            raise LocalProtocolError("a port is asked for (--map-port) or named (--public), not both")
