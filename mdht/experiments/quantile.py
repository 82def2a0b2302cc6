"""A quantile of numbers, some of which may be missing because they were too large to be waited for."""

import math
from collections.abc import Sequence


def quantile(values: Sequence[float | None], share: float) -> float:
    """The smallest of at least one value that this share of them does not exceed (nearest rank).

    Args:
        values: None stands for one larger than all others.
        share: above 0, at most 1.
    """
    ordered = sorted(math.inf if value is None else value for value in values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
