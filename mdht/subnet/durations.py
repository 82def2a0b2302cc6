"""How long things took, as Prometheus wants to know it: counted by upper bounds."""

import math
from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf)
"From a round trip on a wire to the longest that a lookup may take, which is `ResolveConfig.bulk_s`."


class Durations:
    """A histogram.

    Attributes:
        total_s: all of them together.
    """

    __slots__ = ("_counts", "total_s")

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS_S)
        self.total_s = 0.0

    def add(self, duration_s: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self.total_s += duration_s

    def within(self) -> dict[float, int]:
        """How many took at most so many seconds, by bound; the last one is of all."""
        found, so_far = {}, 0
        for bound, count in zip(BOUNDS_S, self._counts, strict=True):
            so_far += count
            found[bound] = so_far
        return found
