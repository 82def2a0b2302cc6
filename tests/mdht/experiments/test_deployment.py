import math
from random import Random

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.deployment import DEPLOYMENT, changes_others, changes_random, changes_simulated

ADDRESSES = tuple(range(0x0A000000, 0x0A000000 + 200)) + tuple(0x20000000 + (each << 16) for each in range(100))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in DEPLOYMENT.settings(True, {"office": ADDRESSES}) for row in DEPLOYMENT.run(each, 1)]


def isolated(rows: list[Row], hosts: str, prefix: int, sample: int) -> float:
    (row,) = chosen(rows, hosts=hosts, prefix=prefix, sample=sample)
    return float(row["isolated"])


@pytest.mark.parametrize(
    ("hosts", "prefix", "share"), [("edu", 24, 0.5), ("edu", 21, 0.25), ("hosts", 21, 0.5), ("hosts", 19, 0.25)]
)
def test_the_curves_go_through_the_points_of_the_thesis(rows: list[Row], hosts: str, prefix: int, share: float) -> None:
    assert isolated(rows, f"synthetic {hosts}", prefix, 10_000) == pytest.approx(share, abs=0.02)


def test_a_small_sample_makes_hosts_look_alone(rows: list[Row]) -> None:
    assert isolated(rows, "synthetic edu", 24, 100) > 0.9
    assert (
        isolated(rows, "synthetic edu", 24, 300)
        > isolated(rows, "synthetic edu", 24, 1_000)
        > isolated(rows, "synthetic edu", 24, 10_000)
    )


def test_a_list_is_looked_at_as_it_is(rows: list[Row]) -> None:
    assert isolated(rows, "office", 24, 300) == pytest.approx(1 / 3)
    (row,) = chosen(rows, hosts="office", prefix=24, sample=300)
    assert row["changes_same"] == row["isolated"]
    assert row["changes_others"] == pytest.approx(1 / 3)  # who is alone stays alone, whoever has 199 others never is
    assert row["changes_random"] == pytest.approx(1 / 3 / math.e)


def test_every_claim_and_every_count_holds(rows: list[Row]) -> None:
    found = [each for each in DEPLOYMENT.findings(rows) if "synthetic" in each.what or "random" in each.what]
    assert sum(each.holds is True for each in found) > 10
    assert all(each.holds is not False for each in found)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_equal_subnets_absorb_what_experiment_1_says(size: int) -> None:
    sizes = [size] * (4_000 // size)
    assert changes_random(sizes) == pytest.approx(math.exp(-size))  # 36.8, 13.5 and 0.67 %
    assert changes_simulated(sizes, Random(1)) == pytest.approx(math.exp(-size), rel=0.1)


def test_unequal_subnets_absorb_the_mean_over_their_hosts() -> None:
    sizes = [1] * 600 + [3] * 200 + [40] * 10
    wanted = (600 * math.exp(-1) + 600 * math.exp(-3) + 400 * math.exp(-40)) / 1_600
    assert changes_random(sizes) == pytest.approx(wanted)
    assert changes_others(sizes) == pytest.approx(wanted * math.e)
    assert changes_simulated(sizes, Random(2)) == pytest.approx(wanted, rel=0.1)


def test_rows_have_the_columns_and_are_the_same_for_a_seed(rows: list[Row]) -> None:
    assert all(tuple(row) == DEPLOYMENT.columns for row in rows)
    settings = DEPLOYMENT.settings(True, {"office": ADDRESSES})[-1]
    assert DEPLOYMENT.run(settings, 7) == DEPLOYMENT.run(settings, 7)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    whole = chosen(rows, hosts="synthetic edu")
    assert DEPLOYMENT.findings(whole)
    DEPLOYMENT.figure(whole)
