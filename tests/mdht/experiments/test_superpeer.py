import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.superpeer import CONTRAST, DETECTION_S, MDHT, SUPERPEER, Contrast, Settings


def small(kind: str) -> Settings:
    return Settings(kind=kind, subnets=6, size=3, deaths=1, lookups=300)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for kind in (SUPERPEER, MDHT) for row in CONTRAST.run(small(kind), 1)]


def test_a_superpeers_death_is_a_leave_a_join_and_an_outage(rows: list[Row]) -> None:
    (row,) = chosen(rows, kind=SUPERPEER)
    assert (row["leaves"], row["joins"]) == (1.0, 1.0)
    assert row["changes"] > 0
    assert DETECTION_S <= row["away_s"] < DETECTION_S + 2.0
    assert row["first_s"] > row["usual_s"], "whoever looks for its keys waits for the dead host first"


def test_a_hosts_death_is_none_of_that_where_all_hosts_are_one_node(rows: list[Row]) -> None:
    (row,) = chosen(rows, kind=MDHT)
    assert (row["leaves"], row["joins"], row["changes"]) == (0.0, 0.0, 0.0)
    assert row["away_s"] == row["failed"] == 0.0


def test_hosts_of_one_node_share_the_requests(rows: list[Row]) -> None:
    assert chosen(rows, kind=SUPERPEER)[0]["busiest"] == 1.0
    assert 1 / 3 < chosen(rows, kind=MDHT)[0]["busiest"] < 0.5


def test_keys_of_a_node_are_those_after_the_node_before_it() -> None:
    contrast = Contrast(small(SUPERPEER), 1)
    contrast.settle()
    net = contrast.net
    for node_id in net.live:
        before, count = contrast._arc(node_id)
        assert net.responsible((before + 1) % (1 << 160)) == node_id
        assert net.responsible(before) == before
        assert (before + count) % (1 << 160) == node_id


def test_rows_have_the_columns_and_the_table_says_what_holds(rows: list[Row]) -> None:
    assert all(tuple(row) == CONTRAST.columns for row in rows)
    found = CONTRAST.findings(rows)
    assert [bool(each.wanted) for each in found] == [True, False, True, False, True, True, True, True, True, True]
    assert all(each.holds for each in found if "joins" in each.what or "without" in each.what)
    assert all(each.holds is None for each in found if not each.wanted)


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(kind=SUPERPEER, subnets=4, deaths=1, lookups=10)
    assert CONTRAST.run(settings, 5) == CONTRAST.run(settings, 5)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, len(rows)):
        assert CONTRAST.findings(rows[:upto])
        CONTRAST.figure(rows[:upto])
