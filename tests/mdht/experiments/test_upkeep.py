import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.upkeep import BOTH, NEITHER, PULL, PUSH, UPKEEP, Run, Settings


def small(mode: str, median_min: float = 1.4) -> Settings:
    return Settings(mode=mode, median_min=median_min, subnets=5, size=3, warm_up_s=20.0, counted_s=90.0)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for mode in (NEITHER, PUSH, PULL, BOTH) for row in UPKEEP.run(small(mode), 1)]


def test_pushes_reach_the_neighbours_in_time(rows: list[Row]) -> None:
    for mode in (PUSH, BOTH):
        row = chosen(rows, mode=mode)[0]
        assert row["pushes"] > 20
        assert 1.0 < row["push_p50_s"] <= row["push_p95_s"]
        assert row["push_p50_s"] < 2.0


def test_without_pushes_there_are_none_and_more_dead_hosts_are_held(rows: list[Row]) -> None:
    for mode in (NEITHER, PULL):
        row = chosen(rows, mode=mode)[0]
        assert (row["pushes_per_min"], row["missing"]) == (0.0, row["pushes"])
        assert row["push_p95_s"] is None
        assert row["dead_share"] > chosen(rows, mode=BOTH)[0]["dead_share"]


def test_pulls_help_where_nothing_is_pushed(rows: list[Row]) -> None:
    assert chosen(rows, mode=PULL)[0]["dead_share"] < chosen(rows, mode=NEITHER)[0]["dead_share"]


def test_of_five_nodes_each_pushes_to_all_others(rows: list[Row]) -> None:
    assert all(row["told_share"] == 1.0 and row["dead_of_others"] is None for row in rows)


def test_whoever_is_gone_counts_as_dead_at_once_and_as_held_until_it_is_known() -> None:
    run = Run(small(BOTH, 60.0), 1)
    run.warm_up()
    assert run.held().told_dead == 0
    victim = next(host for host in run.net.hosts.values() if host.ready)
    run.net.crash(victim)
    assert run.held().told_dead > 0
    run.net.run(7.0)
    assert run.held().told_dead == 0


def test_rows_have_the_columns_and_the_table_says_what_is_claimed(rows: list[Row]) -> None:
    assert all(tuple(row) == UPKEEP.columns for row in rows)
    assert all(each.holds is None for each in UPKEEP.findings(rows) if not each.wanted)
    claimed = UPKEEP.findings([row | {"median_min": 10.0} for row in chosen(rows, mode=BOTH)])
    assert [bool(each.wanted) for each in claimed] == [True] * 3


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(mode=BOTH, median_min=1.4, subnets=3, size=2, warm_up_s=5.0, counted_s=30.0)
    assert UPKEEP.run(settings, 5) == UPKEEP.run(settings, 5)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 2, len(rows)):
        assert UPKEEP.findings(rows[:upto])
        UPKEEP.figure(rows[:upto])


def test_all_of_it_has_both_at_each_median() -> None:
    assert [each.median_min for each in UPKEEP.settings(False, {}) if each.mode == BOTH] == [1.4, 10.0, 60.0]
    assert [each.mode for each in UPKEEP.settings(True, {})] == [NEITHER, PUSH, PULL, BOTH]
