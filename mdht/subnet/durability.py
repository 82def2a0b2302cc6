"""How often a record is lost although it has copies (mDHT design, section 10).

The reasoning is that for mirrored disks (Patterson, Gibson and Katz, "A case for redundant arrays of inexpensive
disks", 1988): a loss is a first failure, at the rate of all copies together, after which every other copy fails before
the first one is replaced.
"""

import math


def loss_rate_per_s(n: int, detection_s: float, median_lifetime_s: float) -> float:
    """Losses a second of one record, `n D^(n-1) / tau^n`; for crashes only, and more hosts than copies.

    Args:
        n: copies.
        detection_s: D, from a crash until the copy that replaces the lost one is made: detection and transfer. It must
            be short against the lifetimes.
        median_lifetime_s: of hosts, whose lifetimes are exponential with a mean of tau = median / ln 2.

    Raises:
        ValueError: there are no copies, or a time is not positive.
    """
    if n < 1 or detection_s <= 0.0 or median_lifetime_s <= 0.0:
        raise ValueError(f"{n} copies, {detection_s} s and {median_lifetime_s} s: all must be above 0")
    mean_s = median_lifetime_s / math.log(2.0)
    return n / mean_s * (detection_s / mean_s) ** (n - 1)


def loss_share(n: int, detection_s: float, median_lifetime_s: float, duration_s: float) -> float:
    """The share of the records that are lost within a time; the arguments are those of `loss_rate_per_s`."""
    return -math.expm1(-loss_rate_per_s(n, detection_s, median_lifetime_s) * duration_s)
