"""The cache of a querier: records with their remaining lifetimes (RFC 6762 sections 5.2 and 10)."""

import math
from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias

from z2z.mdns.messages import Identity, Name, Record, identity
from z2z.mdns.timers import Timers

GOODBYE_S: Final = 1.0
"What says goodbye or is flushed lives on for a second, in case another host still has it (sections 10.1, 10.2)."
REFRESH_AT: Final = (0.80, 0.85, 0.90, 0.95)
"Parts of a lifetime at which a record that is still wanted is asked for again (section 5.2)."
REFRESH_JITTER: Final = 0.02
REFRESH_SLOTS_PER_S: Final = 4
"Refreshes fall on multiples of 250 ms, so that many records share a packet."
TTL_MAX_S: Final = 86_400
"A longer lifetime is cut to a day: nothing on a link is worth keeping unasked for longer."

SetKey: TypeAlias = tuple[Name, int]
"Folded name and type: one record set."


class Cached:
    """One record of the cache."""

    __slots__ = ("expires_at", "key", "received_at", "record", "refreshes", "ttl_s")

    def __init__(self, record: Record, key: Identity) -> None:
        self.record = record
        self.key = key
        self.received_at = self.expires_at = -math.inf
        self.ttl_s = 0.0
        self.refreshes = 0
        "How many of `REFRESH_AT` have been used."

    def remaining_s(self, now: float) -> float:
        """Return the seconds that are left of its lifetime."""
        return self.expires_at - now


class Cache:
    """Record sets, bounded in their sum.

    Args:
        records_max: records held at most; further ones are refused and counted.
        rng: spreads the refreshes of many hosts.
    """

    def __init__(self, records_max: int, rng: Random) -> None:
        self._records_max = records_max
        self._rng = rng
        self._sets: dict[SetKey, dict[Identity, Cached]] = {}
        self._timers = Timers[Identity]()
        self.count = 0
        self.refused = 0

    def put(self, record: Record, now: float) -> bool:
        """Take a record from an answer; returns whether it is held (a goodbye for an unknown one is not)."""
        key = identity(record)
        records = self._sets.setdefault(key[:2], {})
        cached = records.get(key)
        if record.ttl_s == 0:
            if cached is not None:
                self._expire_soon(cached, now)
            return self._tidy(key[:2]) and cached is not None
        if record.unique:
            for other in records.values():
                if other is not cached and other.received_at < now - GOODBYE_S:
                    self._expire_soon(other, now)
        if cached is None:
            if self.count >= self._records_max:
                self.refused += 1
                self._tidy(key[:2])
                return False
            cached = records[key] = Cached(record, key)
            self.count += 1
        cached.record, cached.received_at, cached.refreshes = record, now, 0
        cached.ttl_s = float(min(record.ttl_s, TTL_MAX_S))
        cached.expires_at = now + cached.ttl_s
        self._set_timer(cached)
        return True

    def get(self, name: Name, rrtype: int) -> list[Cached]:
        """Return a record set, the newest record first.

        Args:
            name: folded.
            rrtype: its type.
        """
        records = self._sets.get((name, rrtype))
        return sorted(records.values(), key=lambda cached: -cached.received_at) if records else []

    def drop(self, name: Name, rrtype: int) -> None:
        """Forget a record set."""
        for key in self._sets.pop((name, rrtype), {}):
            self._timers.cancel(key)
            self.count -= 1

    def discard(self, cached: Cached) -> None:
        """Forget one record."""
        records = self._sets.get(cached.key[:2], {})
        if records.pop(cached.key, None) is not None:
            self._timers.cancel(cached.key)
            self.count -= 1
            self._tidy(cached.key[:2])

    def tick(self, now: float, refresh: Callable[[Cached], None]) -> list[Cached]:
        """Remove and return the records whose lifetime has ended; call `refresh` for those to be asked for again."""
        expired = []
        for key in self._timers.pop_due(now):
            cached = self._sets[key[:2]][key]
            if cached.expires_at <= now:
                self.discard(cached)
                expired.append(cached)
                continue
            cached.refreshes += 1
            refresh(cached)
            self._set_timer(cached)
        return expired

    def next_deadline(self) -> float:
        """Return when `tick` should be called next."""
        return self._timers.next_deadline()

    def _set_timer(self, cached: Cached) -> None:
        when = cached.expires_at
        if cached.refreshes < len(REFRESH_AT):
            part = REFRESH_AT[cached.refreshes] + self._rng.uniform(0, REFRESH_JITTER)
            refresh_at = cached.received_at + part * cached.ttl_s
            when = min(when, math.ceil(refresh_at * REFRESH_SLOTS_PER_S) / REFRESH_SLOTS_PER_S)
        self._timers.set(cached.key, when)

    def _expire_soon(self, cached: Cached, now: float) -> None:
        if cached.expires_at > now + GOODBYE_S:
            cached.expires_at = now + GOODBYE_S
            cached.refreshes = len(REFRESH_AT)  # nobody has to ask for what is on its way out
            self._timers.set(cached.key, cached.expires_at)

    def _tidy(self, key: SetKey) -> bool:
        if not self._sets.get(key, True):
            del self._sets[key]
        return True
