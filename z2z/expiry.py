"""When an imported value counts as gone: its lease ended, it went stale, or the store no longer has it."""

import heapq
import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MISSES_MAX: Final = 2
"Answers in a row that lack a value before it counts as removed: one may have come from a node that just joined."


class Expiry(Generic[K]):
    """Deadlines of values that a store keeps for others; a heap with lazy deletion, so a refresh costs O(log n)."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._deadlines: dict[K, float] = {}
        self._misses: dict[K, int] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0  # ties in the heap must not compare keys

    def seen(self, key: K, remaining_s: float, now: float) -> None:
        """Note that the store showed a value with `remaining_s` seconds to live (`math.inf`: it never ages)."""
        deadline = math.inf if remaining_s == math.inf else now + max(0.0, min(remaining_s, self._stale_s))
        self._misses.pop(key, None)
        if self._deadlines.get(key) == deadline:
            return
        self._deadlines[key] = deadline
        if deadline < math.inf:
            self._order += 1
            heapq.heappush(self._heap, (deadline, self._order, key))
        if len(self._heap) > 2 * len(self._deadlines) + 64:  # refreshes leave one dead entry each
            self._compact()

    def missed(self, key: K) -> bool:
        """Note an answer of the store that lacked a value; return whether it now counts as removed."""
        if key not in self._deadlines:
            return False
        self._misses[key] = self._misses.get(key, 0) + 1
        return self._misses[key] >= MISSES_MAX

    def forget(self, key: K) -> None:
        """Stop watching a value."""
        self._deadlines.pop(key, None)
        self._misses.pop(key, None)

    def due(self, now: float) -> list[K]:
        """Return the values whose time is up, and forget them."""
        ended: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            deadline, _, key = heapq.heappop(self._heap)
            if self._deadlines.get(key) == deadline:
                self.forget(key)
                ended.append(key)
        return ended

    def next_deadline(self) -> float:
        """Return when `due` will have something, `math.inf` for never."""
        while self._heap and self._deadlines.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if self._deadlines.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)
