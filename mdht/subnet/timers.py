"""Calls that are due at a time."""

import heapq
import itertools
import math
from collections.abc import Callable


class Timers:
    """Makes calls when their time has come, in that order. None is taken back: what it is about may be over by then."""

    __slots__ = ("_due", "_order")

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[[float], None]) -> None:
        """Call `call(now)` at a time."""
        heapq.heappush(self._due, (when, next(self._order), call))

    def tick(self, now: float) -> None:
        """Make the calls that are due."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2](now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._due[0][0] if self._due else math.inf
