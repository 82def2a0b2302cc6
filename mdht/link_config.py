"""Settings of a link's sockets, and where the hosts of an overlay meet there (mDHT design, section 2)."""

import functools
import hashlib
import ipaddress
from typing import Final, TypeAlias

import msgspec

from mdht.subnet.identity import Interface, overlay_bytes

GROUP_PORT: Final = 27_184
GROUP6: Final = "ff12::6d44:4854"
"Transient, link-local, one for all overlays: their datagrams are told apart by a tag."
HOSTS_REMEMBERED_MAX: Final = 4096
"Addresses whose parsed form is remembered, 200 bytes each: those of all hosts that are talked to in a while."
_TOP_BIT: Final = 0x8000

HostAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@functools.lru_cache(maxsize=HOSTS_REMEMBERED_MAX)
def parsed(text: str) -> HostAddress:
    """A numeric address."""
    return ipaddress.ip_address(text)


def group4(overlay: str) -> str:
    """The IPv4 group of an overlay, one of 239.255.128.0/17.

    Raises:
        LocalProtocolError: the name is empty or too long.
    """
    digest = hashlib.sha1(overlay_bytes(overlay), usedforsecurity=False).digest()
    number = int.from_bytes(digest[:2]) | _TOP_BIT
    return f"239.255.{number >> 8}.{number & 255}"


class LinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a link's sockets."""

    overlay: str
    "Its name; the IPv4 group follows from it."
    interfaces: tuple[str, ...] = ()
    """Where to join: several of one link (`mdht.links.by_link`), or else one membership would mix several. None named
    means that of the default route, whichever it is at the time."""
    alone: bool = False
    "Join nowhere: the host is a subnet of its own, whoever else is on its links."
    host: str = ""
    "Numeric address to bind for unicast; empty for all."
    port: int = 0
    "For unicast; 0 for any."
    fall_back: bool = False
    "Take another port when that one is in use."
    group_port: int = GROUP_PORT
    look_s: float = 1.0
    "Between two looks at the interfaces: a return is noticed well before a crash would be."
    rejoin_s: float = 60.0
    "The group is left and joined so often: switches that snoop forget who is silent, where no router asks (section 2)."

    def __post_init__(self) -> None:
        overlay_bytes(self.overlay)
        if self.look_s <= 0 or self.rejoin_s <= 0:
            raise ValueError("look_s and rejoin_s must be above 0")


class InterfaceState(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of an interface that can be used."""

    index: int
    addresses: tuple[Interface, ...]

    @property
    def ipv4(self) -> ipaddress.IPv4Address | None:
        """Its first IPv4 address."""
        return next((each.ip for each in self.addresses if isinstance(each, ipaddress.IPv4Interface)), None)

    @property
    def speaks_ipv6(self) -> bool:
        """Whether it has a link-local address; loopback has none, and no route for IPv6 groups."""
        return any(isinstance(each, ipaddress.IPv6Interface) and each.is_link_local for each in self.addresses)

    def on_link(self, host: HostAddress) -> bool:
        """Whether an address is one of this link."""
        return (host.version == 6 and host.is_link_local) or any(host in each.network for each in self.addresses)
