"""Rate limits: token buckets, one per source, in a bounded table."""

from collections import OrderedDict
from collections.abc import Hashable


class SourceLimiter:
    """Token buckets for many sources.

    Args:
        rate: tokens a second that every source earns.
        burst: tokens that a silent source has saved up.
        sources_max: sources remembered; beyond it the one silent for longest is forgotten (it then has a full bucket
            again, which is what its silence would have earned it anyway).
    """

    __slots__ = ("_buckets", "_burst", "_rate", "_sources_max")

    def __init__(self, *, rate: float, burst: float, sources_max: int = 4096) -> None:
        self._rate = rate
        self._burst = burst
        self._sources_max = sources_max
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, source: Hashable, now: float) -> bool:
        """Spend one token of `source`; False when it has none left."""
        tokens, at = self._buckets.get(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if allowed else tokens, now)
        self._buckets.move_to_end(source)
        if len(self._buckets) > self._sources_max:
            self._buckets.popitem(last=False)
        return allowed

    def wait_s(self, source: Hashable, now: float) -> float:
        """Seconds until `source` has a token again."""
        tokens, at = self._buckets.get(source, (self._burst, now))
        return max(0.0, (1.0 - tokens - (now - at) * self._rate) / self._rate)
