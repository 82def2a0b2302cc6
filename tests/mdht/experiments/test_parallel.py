from random import Random

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.parallel import (
    COLD,
    DEAD,
    KNOWN,
    PARALLEL,
    WARM,
    WAYS,
    Outcome,
    Settings,
    dead_count,
    entry,
    estimator,
    expected_miss,
    run_hop,
)

NAMES = [host.hid for host in entry().hosts]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in PARALLEL.settings(True, {}) for row in PARALLEL.run(each, 1)]


def hop(way: str, dead: list[bytes], known: str = COLD, seed: int = 1) -> Outcome:
    rng = Random(seed)
    return run_hop(entry(), WAYS[way], estimator(known, rng), dead, rng)


def test_the_first_round_misses_as_often_as_a_hypergeometric_draw(rows: list[Row]) -> None:
    for way in WAYS:
        for dead in DEAD:
            of = chosen(rows, way=way, dead=dead)
            missed = sum(row["missed"] for row in of) / len(of)
            assert missed == pytest.approx(of[0]["expected"], abs=0.06), (way, dead)


@pytest.mark.parametrize(
    ("share", "first", "wanted"),
    [(0.0, 1, 0.0), (0.25, 1, 1 / 4), (0.25, 2, 1 / 28), (0.5, 3, 4 / 56), (0.3, 2, 0.6 / 28 + 0.4 * 3 / 28)],
)
def test_expectation_is_that_of_drawing_without_putting_back(share: float, first: int, wanted: float) -> None:
    assert expected_miss(share, first) == pytest.approx(wanted)


def test_dead_hosts_are_the_share_on_average() -> None:
    rng = Random(1)
    counts = [dead_count(0.3, rng) for _ in range(4000)]
    assert set(counts) == {2, 3}
    assert sum(counts) / 4000 == pytest.approx(2.4, abs=0.03)


@pytest.mark.parametrize("known", KNOWN)
def test_hedging_costs_little_where_nobody_is_dead(rows: list[Row], known: str) -> None:
    (row,) = chosen(rows, way="hedged", dead=0.0, round_trips=known)
    assert 1.0 <= row["requests"] <= 1.2


@pytest.mark.parametrize(("known", "least", "most"), [(WARM, 0.6, 0.75), (COLD, 0.5, 0.6)])
def test_two_at_once_do_not_halve_the_95th_percentile_at_30_percent_as_claimed(
    rows: list[Row], known: str, least: float, most: float
) -> None:
    one, two = (chosen(rows, way=way, dead=0.3, round_trips=known)[0]["p95_ms"] for way in ("m = 1", "m = 2"))
    assert least < two / one < most


def test_two_at_once_halve_it_at_20_percent(rows: list[Row]) -> None:
    for known in KNOWN:
        one, two = (chosen(rows, way=way, dead=0.2, round_trips=known)[0]["p95_ms"] for way in ("m = 1", "m = 2"))
        assert two / one <= 0.5


def test_who_asks_one_host_tries_three_one_after_the_other() -> None:
    assert hop("m = 1", NAMES) == Outcome(took_s=1.5, requests=3, missed=True, answered=False)
    assert hop("m = 3", NAMES) == Outcome(took_s=0.5, requests=3, missed=True, answered=False)


def test_an_answer_takes_a_round_trip() -> None:
    for way in WAYS:
        outcome = hop(way, [])
        assert outcome.answered
        assert not outcome.missed
        assert 0.09 <= outcome.took_s <= 0.11


def test_a_hedge_comes_before_the_timeout_only_where_round_trips_are_known() -> None:
    # The host asked first is the only one that is dead.
    for known, least, most in ((WARM, 0.19, 0.23), (COLD, 0.59, 0.61)):
        found = [hop("hedged", [name], known) for name in NAMES]
        (missed,) = [outcome for outcome in found if outcome.missed]
        assert missed.requests == 2
        assert least < missed.took_s < most


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == PARALLEL.columns for row in rows)
    found = {each.what: each.holds for each in PARALLEL.findings(rows)}
    for known in KNOWN:
        assert found[f"round trips {known}: p95 latency of m = 2 by that of m = 1 at 30 % dead"] is False
        assert found[f"round trips {known}: requests in a hedged hop where nobody is dead"] is True


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(known=WARM, way="hedged", dead=0.3, hops=50)
    assert PARALLEL.run(settings, 5) == PARALLEL.run(settings, 5)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 7, 25, len(rows)):
        assert PARALLEL.findings(rows[:upto])
        PARALLEL.figure(rows[:upto])
