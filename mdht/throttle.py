"""Who put what, how fast: sources grouped by network, and token buckets per source and per writer."""

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


class TokenBuckets:
    """One token bucket per member; the least recently used members are forgotten, which only refills them."""

    def __init__(self, *, rate_per_s: float, burst: int, members_max: int) -> None:
        self._rate_per_s, self._burst, self._members_max = rate_per_s, burst, members_max
        self._levels: dict[bytes | str, tuple[float, float]] = {}
        "Member: tokens and when they were counted; in order of last use."

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, member: bytes | str, now: float) -> float:
        """Take one token.

        Returns:
            0.0 when there was one, else the seconds until there will be.
        """
        level = self._levels.pop(member, None)
        if level is None:
            tokens: float = self._burst
            if len(self._levels) >= self._members_max:
                del self._levels[next(iter(self._levels))]
        else:
            tokens = min(self._burst, level[0] + (now - level[1]) * self._rate_per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s
        self._levels[member] = (tokens if wait_s else tokens - 1, now)
        return wait_s
