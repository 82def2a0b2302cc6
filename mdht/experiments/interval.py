"""A mean and how sure it is, from one number per seed."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

T_95: Final = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom."
T_95_BEYOND: Final = 1.96


class Estimate(msgspec.Struct, frozen=True):
    """A mean over seeds."""

    mean: float
    half: float | None
    "Half the width of its 95 % interval; None for a single seed, which tells nothing of the spread."
    seeds: int

    def text(self, show: Callable[[float], str]) -> str:
        """For a table; where all seeds agree as far as is shown, without an interval."""
        if self.half is None or show(self.half) == show(0.0):
            return show(self.mean)
        return f"{show(self.mean)} ± {show(self.half)}"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, with its interval by Student's t."""
    mean = statistics.fmean(values)
    free = len(values) - 1
    if free == 0:
        return Estimate(mean, None, 1)
    quantile = T_95[free - 1] if free <= len(T_95) else T_95_BEYOND
    return Estimate(mean, quantile * statistics.stdev(values) / math.sqrt(len(values)), len(values))


def percent(share: float) -> str:
    """A share with two significant digits, none below a millionth."""
    if share < 1e-6:
        return "0 %"
    return f"{100.0 * share:.1f} %" if share >= 0.1 else f"{100.0 * share:.2g} %"


def plain(value: float) -> str:
    """A number with two decimals."""
    return f"{value:.2f}"
