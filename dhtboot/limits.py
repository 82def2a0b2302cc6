"""Rate limits: token buckets, one per member (a source, a writer), in a bounded table."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final


class TokenBuckets:
    """One token bucket per member.

    Args:
        rate_per_s: tokens a second that every member earns; 0 for no limit.
        burst: tokens that a silent member has saved up.
        members_max: members remembered; beyond it the one silent for longest is forgotten (it then has a full bucket
            again, which is what its silence would have earned it anyway).
    """

    __slots__ = ("_burst", "_levels", "_members_max", "_rate_per_s")

    def __init__(self, *, rate_per_s: float, burst: float, members_max: int = 4096) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._members_max = members_max
        # Member: tokens and when they were counted, in order of last use. None is made for each of a million nodes that
        # set no limit; a plain dict is slow at its front after many removals.
        self._levels: OrderedDict[Hashable, tuple[float, float]] | None = OrderedDict() if rate_per_s else None

    def __len__(self) -> int:
        return len(self._levels or ())

    def take(self, member: Hashable, now: float, wanted: float = 1.0) -> float:
        """Spend tokens of `member`, one by default; never more than the burst are to be had.

        Returns:
            0.0 when it had them, else the seconds until it will have.
        """
        levels = self._levels
        if levels is None:
            return 0.0
        tokens, at = levels.get(member, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_per_s)
        wait_s = 0.0 if tokens >= wanted else (wanted - tokens) / self._rate_per_s
        levels[member] = (tokens if wait_s else tokens - wanted, now)
        levels.move_to_end(member)
        if len(levels) > self._members_max:
            levels.popitem(last=False)
        return wait_s


_UNLIMITED: Final = TokenBuckets(rate_per_s=0.0, burst=0.0)


def token_buckets(*, rate_per_s: float, burst: float) -> TokenBuckets:
    """Token buckets of one node; without a limit the same ones for all nodes, since they remember nothing."""
    return TokenBuckets(rate_per_s=rate_per_s, burst=burst) if rate_per_s else _UNLIMITED
