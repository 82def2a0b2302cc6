import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.bootstrap import BOOTSTRAP, OVERLAYS, Settings, Start, converged_s

SMALL = [Settings(overlay=overlay, hosts=20, size=size) for overlay in OVERLAYS for size in (1, 5)]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in SMALL for row in BOOTSTRAP.run(each, 1)]


def test_one_host_of_each_subnet_founds_it(rows: list[Row]) -> None:
    assert [row["founders"] for row in rows] == [1.0] * 4


def test_all_hosts_come_into_one_ring(rows: list[Row]) -> None:
    assert [(row["not_ready"], row["rings"]) for row in rows] == [(0, 1)] * 4
    assert all(row["delivered"] >= 0.95 for row in rows)


def test_later_hosts_ask_nobody_outside(rows: list[Row]) -> None:
    later = [row for row in rows if row["later"]]
    assert [row["size"] for row in later] == [5, 5]
    assert all(row["early"] == 0 for row in later)
    assert all(0.0 < row["later_p95_s"] <= row["later_max_s"] < row["cold_max_s"] for row in later)


def test_the_server_is_asked_by_subnets_not_by_hosts(rows: list[Row]) -> None:
    for overlay in OVERLAYS:
        alone, shared = (chosen(rows, overlay=overlay, size=size)[0]["to_server"] / size for size in (1, 5))
        assert shared < 0.5 * alone


def test_hosts_are_spread_evenly_over_the_subnets() -> None:
    start = Start(Settings(overlay="chord", hosts=20, size=5), 1)
    start.net.run(12.0)
    assert sorted(len(hosts) for hosts in start.net.links.values()) == [5] * 4
    assert len(start.later) + len(start.cold) == 20


def test_convergence_is_the_end_of_the_first_interval_with_enough_delivered() -> None:
    assert converged_s([0, 100, 100], [0, 94, 95]) == 15.0
    assert converged_s([20, 100], [19, 0]) == 5.0
    assert converged_s([0, 100], [0, 94]) is None


def test_rows_have_the_columns_and_the_table_says_what_holds(rows: list[Row]) -> None:
    assert all(tuple(row) == BOOTSTRAP.columns for row in rows)
    found = BOOTSTRAP.findings(rows)
    assert {each.holds for each in found if "founders" in each.what} == {True}
    assert all(each.holds is None for each in found if not each.wanted)


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(overlay="chord", hosts=6, size=3)
    assert BOOTSTRAP.run(settings, 5) == BOOTSTRAP.run(settings, 5)
    assert BOOTSTRAP.run(settings, 5) != BOOTSTRAP.run(settings, 6)


def test_sizes_divide_the_hosts() -> None:
    for short in (False, True):
        assert all(each.hosts % each.size == 0 for each in BOOTSTRAP.settings(short, {}))


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 2, 3, len(rows)):
        assert BOOTSTRAP.findings(rows[:upto])
        BOOTSTRAP.figure(rows[:upto])
