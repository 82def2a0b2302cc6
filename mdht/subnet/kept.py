"""What a host remembers of the subnets that it was in, by link, for when it comes back and finds nobody there."""

from collections.abc import Iterable
from typing import Final

import msgspec

from dhtboot.ids import Address
from mdht.subnet.identity import Subnet

KEPT_S: Final = 7 * 86_400.0
HOSTS_MAX: Final = 16
"Addresses remembered of one subnet."
LINKS_MAX: Final = 16
"Links remembered by one host; of more, those left longest ago are forgotten."


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One subnet on one link. Ages are counted by whoever has a clock that runs on while the host is off."""

    subnet: Subnet
    fingerprint: bytes
    "Of the link: `mdht.host_tasks.link_fingerprint`."
    founded_s: float
    "Seconds since its founding."
    left_s: float
    "Seconds since this host was in it."
    hosts: tuple[Address, ...] = ()
    "Where other hosts of it were last, for when multicast does not reach them."


def recalled(kept: Iterable[Kept], fingerprint: bytes) -> Kept | None:
    """The subnet that was on a link last, unless that is too long ago."""
    found = [one for one in kept if one.fingerprint == fingerprint and 0 <= one.left_s <= KEPT_S]
    return min(found, key=lambda one: one.left_s, default=None)


def remembered(kept: Iterable[Kept], now: Kept) -> tuple[Kept, ...]:
    """What to keep of a host that is in a subnet: that one in place of what was on its link, and what else is young."""
    others = [one for one in kept if one.fingerprint != now.fingerprint and 0 <= one.left_s <= KEPT_S]
    return (now, *sorted(others, key=lambda one: one.left_s)[: LINKS_MAX - 1])
