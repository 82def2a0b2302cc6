"""Delivery rate, convergence time, hops (thesis section 2.3), and who is responsible, seen from above."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Final

from dhtboot.sim.config import ProtocolName, Scenario
from dhtboot.sim.result import Interval


class Census:
    """Identifiers of the nodes that are alive and have joined, in order.

    Args:
        protocol: says who is responsible for a key: in Chord the next identifier clockwise, in Kademlia the one of the
            smallest XOR.
    """

    def __init__(self, protocol: ProtocolName) -> None:
        self.identifiers: list[int] = []
        self._owner: Callable[[int], int] = self._successor if protocol == "chord" else self._closest

    def add(self, identifier: int) -> None:
        """A node has joined."""
        insort(self.identifiers, identifier)

    def remove(self, identifier: int) -> None:
        """A node is gone; one that had not joined is no news."""
        at = bisect_left(self.identifiers, identifier)
        if at < len(self.identifiers) and self.identifiers[at] == identifier:
            del self.identifiers[at]

    def owner(self, key: int) -> int | None:
        """The identifier responsible for a key, None when nobody has joined."""
        return self._owner(key) if self.identifiers else None

    def _successor(self, key: int) -> int:
        at = bisect_left(self.identifiers, key)
        return self.identifiers[at if at < len(self.identifiers) else 0]

    def _closest(self, key: int) -> int:
        """Nobody has more upper bits in common with the key than one of its neighbours in the list."""
        identifiers = self.identifiers
        at = bisect_left(identifiers, key)
        neighbours = [identifiers[at - 1], identifiers[at if at < len(identifiers) else 0]]
        shift = min([(identifier ^ key).bit_length() for identifier in neighbours])
        upper = key >> shift
        low = high = at  # the others with as many bits in common stand beside it, and are few
        while low and identifiers[low - 1] >> shift == upper:
            low -= 1
        while high < len(identifiers) and identifiers[high] >> shift == upper:
            high += 1
        return min([identifier ^ key for identifier in identifiers[low:high]]) ^ key


class Metrics:
    """Counts test queries by interval.

    Args:
        census: says who is rightly responsible.
        interval_s: length of an interval.
    """

    def __init__(self, census: Census, interval_s: float) -> None:
        self.intervals: list[Interval] = []
        self._census = census
        self._interval_s = interval_s
        self._start_s = 0.0
        self._clear()

    def _clear(self) -> None:
        self._sent = self._delivered = self._right = self._hops = 0

    def on_sent(self) -> None:
        """A test query begins."""
        self._sent += 1

    def on_arrived(self, key: int, receiver: int, hops: int, *, believes: bool) -> None:
        """A test message has arrived at `receiver`, which believes itself responsible or not."""
        if believes:
            self._delivered += 1
            self._hops += hops
        self._right += self._census.owner(key) == receiver

    def close(self, end_s: float, alive: int) -> Interval:
        """End the interval that is under way."""
        interval = Interval(
            start_s=self._start_s,
            sent=self._sent,
            delivered=self._delivered,
            right=self._right,
            hops=self._hops,
            alive=alive,
            joined=len(self._census.identifiers),
        )
        self.intervals.append(interval)
        self._start_s = end_s
        self._clear()
        return interval


SENT_MIN: Final = 20
"Queries that an interval must have before its rate says anything; half of what is expected in a small overlay."


def has_converged(interval: Interval, scenario: Scenario, *, right: bool) -> bool:
    """Whether the delivery rate of an interval reaches the scenario's share [thesis 2.3]."""
    expected = scenario.nodes * scenario.interval_s / scenario.query_interval_s
    rate = interval.right_rate if right else interval.delivery_rate
    return interval.sent >= min(SENT_MIN, expected / 2.0) and rate >= scenario.converged_share


def convergence_s(intervals: Iterable[Interval], scenario: Scenario, *, right: bool) -> float | None:
    """End of the first interval whose rate reaches the share, None when none does."""
    for interval in intervals:
        if has_converged(interval, scenario, right=right):
            return interval.start_s + scenario.interval_s
    return None
