import math

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.churn import CHURN, COUNTED, COUNTED_HOSTS, PLAIN, RANDOM, SAME, Settings, empty_share


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in CHURN.settings(True, {}) for row in CHURN.run(each, 1)]


def test_hosts_replaced_where_others_live_change_nothing(rows: list[Row]) -> None:
    (same,) = chosen(rows, part=SAME)
    assert same["deaths"] > 5
    assert (same["node_deaths"], same["changes"], same["unexplained"], same["apart"]) == (0, 0, 0, 0.0)


def test_every_death_of_a_plain_host_is_one_of_a_node_and_changes_tables(rows: list[Row]) -> None:
    (alone,) = chosen(rows, part=RANDOM, size=PLAIN)
    assert alone["node_deaths"] == alone["deaths"] > 5
    assert alone["changes"] > 10 * alone["deaths"]


def test_plain_hosts_and_those_in_subnets_die_at_the_same_times(rows: list[Row]) -> None:
    random = chosen(rows, part=RANDOM)
    assert len({row["deaths"] for row in random}) == 1
    fewer = [row["node_deaths"] for row in sorted(random, key=lambda row: row["size"])]
    assert fewer == sorted(fewer, reverse=True)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_one_subnet_in_so_many_is_emptied_by_a_death(rows: list[Row], size: int) -> None:
    (row,) = chosen(rows, part=COUNTED, size=size)
    assert row["node_deaths"] / row["deaths"] == pytest.approx(math.exp(-size), rel=0.2)


def test_of_few_hosts_fewer_subnets_are_empty_than_of_infinitely_many() -> None:
    many = Settings(part=COUNTED, size=5, hosts=COUNTED_HOSTS)
    few = Settings(part=RANDOM, size=5, hosts=40)
    assert empty_share(few) < empty_share(many) < math.exp(-5)
    assert empty_share(many) == pytest.approx(math.exp(-5), rel=0.01)


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == CHURN.columns for row in rows)
    found = {each.what: each for each in CHURN.findings(rows)}
    assert found["A, k = 5, median 1.4 min: structural changes while k >= 1"].holds
    assert found["B, counted, k = 2: dead nodes / dead hosts, 1,000 hosts"].holds
    assert found["B, k = 5: dead nodes / dead hosts, 40 hosts"].holds is None, "too few to tell"


def test_a_structural_change_in_model_a_is_told(rows: list[Row]) -> None:
    (same,) = chosen(rows, part=SAME)
    (found,) = CHURN.findings([same | {"changes": 2, "unexplained": 1}])
    assert found.holds is False
    assert found.measured.startswith("2 at 1 times, in ")


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(part=COUNTED, size=2, hosts=100, deaths=1000)
    assert CHURN.run(settings, 5) == CHURN.run(settings, 5)
    assert CHURN.run(settings, 5) != CHURN.run(settings, 6)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 2, 3, len(rows)):
        assert CHURN.findings(rows[:upto])
        CHURN.figure(rows[:upto])
