import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.durability import DURABILITY, Settings, model_share


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in DURABILITY.settings(True, {}) for row in DURABILITY.run(each, 1)]


def test_all_graceful_loses_nothing_under_every_policy(rows: list[Row]) -> None:
    graceful = chosen(rows, crash_share=0.0)
    assert {row["policy"] for row in graceful} == {"fixed:1", "fixed:2", "fixed:3", "fixed:4", "fixed:5", "full"}
    assert sum(row["lost"] for row in graceful) == 0


def test_three_copies_lose_nothing_at_an_hour_and_are_not_enough_at_84_seconds(rows: list[Row]) -> None:
    three = chosen(rows, policy="fixed:3", crash_share=1.0)
    assert [row["lost"] for row in chosen(three, median_min=60.0)] == [0]
    assert [row["lost"] > 0 for row in chosen(three, median_min=1.4)] == [True]


def test_a_single_copy_goes_with_its_host_and_full_replication_stays(rows: list[Row]) -> None:
    assert all(row["lost_share"] > 0.6 for row in chosen(rows, policy="fixed:1", crash_share=1.0))
    assert sum(row["lost"] for row in chosen(rows, policy="full")) == 0


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == DURABILITY.columns for row in rows)
    found = DURABILITY.findings(rows)
    assert [each.holds for each in found[:5]] == [True, False, True, True, True]
    assert found[1].measured == "at 10, 60 min, not at 1.4 min"
    assert found[0].measured == "0 of 168 lost"


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(policy="fixed:3", crash_share=1.0, median_min=1.4, records=3)
    assert DURABILITY.run(settings, 5) == DURABILITY.run(settings, 5)


def test_half_the_crashes_of_three_copies_lose_an_eighth() -> None:
    all_crash, half = (
        Settings(policy="fixed:3", crash_share=share, median_min=10.0, records=1) for share in (1.0, 0.5)
    )
    assert model_share(all_crash) == pytest.approx(0.0017, rel=0.05)  # design, section 16
    assert model_share(half) == pytest.approx(model_share(all_crash) / 8, rel=0.01)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 4, 8):
        assert DURABILITY.findings(rows[:upto])
        DURABILITY.figure(rows[:upto])
