"""Times at which something is due, one for each key."""

import heapq
import itertools
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64
"Moved and dropped ones that may lie in the heap, beside as many as there are valid ones."


class Deadlines(Generic[K]):
    """A heap with a table beside it: what was moved or dropped is left in the heap until its turn comes."""

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int, K]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at: float) -> None:
        """Have it due then, and not when it was before."""
        entry = self._at[key] = (at, next(self._order), key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = list(self._at.values())
            heapq.heapify(self._heap)

    def drop(self, key: K) -> None:
        """Have it due no more."""
        self._at.pop(key, None)

    def due(self, now: float) -> list[K]:
        """What is due, in order of time; it is due only once."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            key = entry[2]
            if self._at.get(key) is entry:
                del self._at[key]
                found.append(key)
        return found

    def next(self) -> float:
        """When the first is due; `math.inf` for never."""
        while self._heap:
            entry = self._heap[0]
            if self._at.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(self._heap)
        return math.inf
