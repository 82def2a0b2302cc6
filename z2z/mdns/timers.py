"""Deadlines of a core: one per key, in a heap, so that thousands of records cost nothing while they wait."""

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Timers(Generic[Key]):
    """At most one deadline for each key; setting one again replaces it."""

    def __init__(self) -> None:
        self._when: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0  # breaks ties, so that keys need no order

    def set(self, key: Key, when: float) -> None:
        """Let `key` fall due at `when` (seconds), whatever was set for it before."""
        if self._when.get(key) == when:
            return
        self._when[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._when):  # replaced deadlines stay in the heap until they surface
            self._heap = [(due, index, item) for index, (item, due) in enumerate(self._when.items())]
            heapq.heapify(self._heap)
            self._count = len(self._heap)

    def get(self, key: Key) -> float:
        """Return when `key` falls due, `math.inf` for never."""
        return self._when.get(key, math.inf)

    def cancel(self, key: Key) -> None:
        """Forget the deadline of `key`, if it has one."""
        self._when.pop(key, None)

    def pop_due(self, now: float) -> list[Key]:
        """Remove and return the keys that are due, earliest first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                due.append(key)
        return due

    def next_deadline(self) -> float:
        """Return when the next key falls due, `math.inf` for never."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._when.get(key) == when:
                return when
            heapq.heappop(self._heap)
        return math.inf
