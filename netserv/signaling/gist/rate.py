"""Rate limits: of all messages together, and of those to one address (RFC 5971 sections 5.3.3 and 8.4)."""

from collections.abc import Hashable
from typing import Final

SOURCES_MAX: Final = 4_096
"Addresses that `SourceLimits` remembers; about 0.5 MB. The first goes for a new one; the total limits the rest."
TOTAL_SHARE: Final = 200.0
"All addresses together have so many times what one has."


class TokenBucket:
    """Lets through a mean rate, and bursts of what it would let through in a quarter of a second.

    Args:
        rate: a second.
        now: the time, s.
        burst: tokens; None: a quarter of a second's, 16 at least.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, now: float, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = max(16.0, rate / 4.0) if burst is None else burst
        self._tokens = self.burst
        self._at = now

    def take(self, now: float, keep: float = 0.0) -> bool:
        """Take a token, unless that would leave less than `keep` of the burst (0 to 1) for others."""
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if self._tokens < 1.0 + keep * self.burst:
            return False
        self._tokens -= 1.0
        return True


class SourceLimits:
    """A rate for each address, and one for all of them, since addresses cost an attacker nothing."""

    __slots__ = ("_buckets", "_rate", "_total")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._total = TokenBucket(rate * TOTAL_SHARE, now)
        self._buckets: dict[Hashable, TokenBucket] = {}

    def take(self, source: Hashable, now: float) -> bool:
        """Whether one more may go to that address."""
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= SOURCES_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[source] = TokenBucket(self._rate, now, burst=2.0 * self._rate + 1.0)
        return bucket.take(now) and self._total.take(now)
