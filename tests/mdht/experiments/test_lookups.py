from random import Random

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.churn_run import config
from mdht.experiments.internet import Internet
from mdht.experiments.lookups import ASKERS, LOOKUPS, PLAIN, SIZE, WITHIN_S, Settings, Tally


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in LOOKUPS.settings(True, {}) for row in LOOKUPS.run(each, 1)]


def net_of(links: int, size: int = 1) -> Internet:
    net = Internet(1, config(), strict=False)
    for _ in range(size):
        for link in range(links):
            net.add(link)
            net.run(0.2)
    net.run(80.0)
    return net


def test_lookups_among_nodes_of_five_hosts_fail_no_more_than_plain_ones(rows: list[Row]) -> None:
    (mine,), (other,) = chosen(rows, size=SIZE), chosen(rows, size=PLAIN)
    assert mine["deaths"] == other["deaths"] > 5
    assert mine["failed"] <= other["failed"] < 0.2
    assert mine["lookups"] > 250


def test_a_host_of_a_node_of_five_sends_less_to_other_subnets_than_a_plain_one(rows: list[Row]) -> None:
    (mine,), (other,) = chosen(rows, size=SIZE), chosen(rows, size=PLAIN)
    assert mine["away_bytes_s"] < 0.7 * other["away_bytes_s"]
    assert mine["here_bytes_s"] > 100


def test_all_lookups_are_right_where_nobody_dies() -> None:
    net = net_of(8, 2)
    tally = Tally(net, Random(1))
    tally.test()
    net.run(WITHIN_S + 1.0)
    assert (tally.tests, tally.agreed, tally.asked) == (1, 1, ASKERS)
    assert (tally.wrong, tally.silent) == (0, 0)


def test_a_lookup_that_comes_to_another_node_is_wrong_and_one_without_an_answer_silent() -> None:
    net = net_of(2)
    tally = Tally(net, Random(1))
    asked = list(net.hosts.values())
    tally._judge(asked, {asked[0].number: False})
    assert (tally.asked, tally.wrong, tally.silent, tally.agreed) == (2, 1, 1, 0)


def test_a_lookup_of_a_host_that_has_died_meanwhile_does_not_count() -> None:
    net = net_of(2)
    tally = Tally(net, Random(1))
    asked = list(net.hosts.values())
    net.crash(asked[1])
    tally._judge(asked, {asked[0].number: True})
    assert (tally.asked, tally.wrong, tally.silent, tally.agreed) == (1, 0, 0, 1)


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(sorted(row)) == tuple(sorted(LOOKUPS.columns)) for row in rows)
    claimed = [each for each in LOOKUPS.findings(rows) if each.wanted]
    assert [each.what for each in claimed] == [
        "median 1.4 min: failures, k = 5 by plain",
        "median 1.4 min, k = 5: bytes per host and second",
    ]
    calm = [row | {"median_min": 10.0} for row in rows]
    assert [each.wanted for each in LOOKUPS.findings(calm) if "failed" in each.what] == ["at most 0.1 %", ""]


def test_a_ratio_to_no_failures_at_all_is_none(rows: list[Row]) -> None:
    none = [row | {"wrong": 0, "silent": 0, "failed": 0.0} for row in rows]
    (found,) = [each for each in LOOKUPS.findings(none) if "by plain" in each.what]
    assert (found.measured, found.holds) == ("none of plain", None)


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(size=2, median_min=1.4, hosts=10, warm_s=1.0, measured_s=10.0)
    assert LOOKUPS.run(settings, 5) == LOOKUPS.run(settings, 5)
    assert LOOKUPS.run(settings, 5) != LOOKUPS.run(settings, 6)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 2):
        assert LOOKUPS.findings(rows[:upto])
        LOOKUPS.figure(rows[:upto])
