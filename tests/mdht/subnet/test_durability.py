import math
from random import Random

import pytest

from mdht.subnet.durability import loss_rate_per_s, loss_share

MINUTE_S = 60.0


@pytest.mark.parametrize(
    ("median_min", "share"), [(60.0, 7.7e-6), (10.0, 0.0017), (5.0, 0.013), (1.4, 0.45)]
)  # design, section 16: experiment 7 says 0, 0.2 %, 1-2 % and 40 %
def test_the_shares_lost_of_three_copies_in_four_hours_are_those_of_the_design(median_min: float, share: float) -> None:
    assert loss_share(3, 5.0, median_min * MINUTE_S, 4 * 3600.0) == pytest.approx(share, rel=0.05)


def test_a_single_copy_is_lost_when_its_host_crashes() -> None:
    assert loss_rate_per_s(1, 5.0, 600.0) == pytest.approx(math.log(2.0) / 600.0)
    assert loss_share(1, 5.0, 600.0, 600.0) == pytest.approx(0.5)


def test_each_copy_more_loses_less_by_the_share_of_a_life_that_a_repair_takes() -> None:
    mean_s = 600.0 / math.log(2.0)
    assert loss_rate_per_s(4, 5.0, 600.0) / loss_rate_per_s(3, 5.0, 600.0) == pytest.approx(4 / 3 * 5.0 / mean_s)


@pytest.mark.parametrize(("n", "detection_s", "median_s"), [(0, 5.0, 60.0), (3, 0.0, 60.0), (3, 5.0, -1.0)])
def test_numbers_that_mean_nothing_are_refused(n: int, detection_s: float, median_s: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        loss_rate_per_s(n, detection_s, median_s)


def simulated_rate_per_s(n: int, detection_s: float, median_lifetime_s: float, losses: int, rng: Random) -> float:
    """Losses a second of records whose copies live on hosts that crash, and are made anew on others if one is left."""
    mean_s = median_lifetime_s / math.log(2.0)
    now = 0.0
    for _ in range(losses):
        crashes = [now + rng.expovariate(1.0 / mean_s) for _ in range(n)]
        while True:
            at = min(range(n), key=crashes.__getitem__)
            now = crashes[at]
            repaired_at = now + detection_s
            # A copy that is being made is ready earlier, and its crash stands for the one after that.
            if not any(crash >= repaired_at for other, crash in enumerate(crashes) if other != at):
                break
            crashes[at] = repaired_at + rng.expovariate(1.0 / mean_s)
    return losses / now


@pytest.mark.parametrize(("n", "detection_s"), [(1, 5.0), (2, 5.0), (2, 20.0), (3, 20.0), (3, 40.0), (4, 60.0)])
def test_the_model_agrees_with_simulated_crashes_within_a_factor_of_two(n: int, detection_s: float) -> None:
    model = loss_rate_per_s(n, detection_s, 300.0)
    simulated = simulated_rate_per_s(n, detection_s, 300.0, 200, Random(f"{n} copies, {detection_s} s"))
    assert model / 2.0 < simulated < model * 2.0
