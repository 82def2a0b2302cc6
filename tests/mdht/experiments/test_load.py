from random import Random

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.load import (
    CONSTANT,
    GEOMETRIC,
    LOAD,
    SINGLE,
    ZIPF,
    drawn_sizes,
    loads,
    measured_sizes,
    positions,
    spread,
)

ADDRESSES = tuple(range(0x0A000000, 0x0A000000 + 300)) + tuple(0x20000000 + (each << 12) for each in range(200))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in LOAD.settings(True, {"office": ADDRESSES}) for row in LOAD.run(each, 1)]


def variation(rows: list[Row], sizes: str, choices: int, *, weighted: bool = False) -> float:
    (row,) = chosen(rows, sizes=sizes, choices=choices, weighted=weighted)
    return float(row["variation"])


def test_two_choices_give_what_the_design_says(rows: list[Row]) -> None:
    assert variation(rows, SINGLE, 2) == pytest.approx(0.54, abs=0.1)
    assert variation(rows, CONSTANT, 2) == pytest.approx(0.49, abs=0.1)
    assert variation(rows, GEOMETRIC, 2) == pytest.approx(0.71, abs=0.2)
    assert variation(rows, ZIPF, 2) == pytest.approx(1.83, abs=0.5)


def test_choices_alone_fail_on_heavy_tails_and_weighted_positions_do_not(rows: list[Row]) -> None:
    assert variation(rows, ZIPF, 4) > 1.0
    assert variation(rows, ZIPF, 2, weighted=True) == pytest.approx(0.13, abs=0.1)
    assert variation(rows, GEOMETRIC, 2, weighted=True) == pytest.approx(0.17, abs=0.1)
    found = {each.what: each.holds for each in LOAD.findings(rows)}
    assert found["Zipf 1.8, d = 2: no worse than one host per node"] is False
    assert found["Zipf 1.8, weighted, d = 2: no worse than one host per node"] is True


def test_each_choice_more_evens_the_load(rows: list[Row]) -> None:
    for law in (SINGLE, CONSTANT, GEOMETRIC, ZIPF):
        assert variation(rows, law, 1) > variation(rows, law, 2) > variation(rows, law, 4)


def test_sizes_of_a_list_are_those_of_its_subnets(rows: list[Row]) -> None:
    assert measured_sizes(ADDRESSES, 24)[:3] == (256, 44, 1)
    (row,) = chosen(rows, sizes="office /20", choices=1, weighted=False)
    assert (row["hosts"], row["nodes"], row["largest"]) == (500, 201, 300)


def test_rows_have_the_columns_and_are_the_same_for_a_seed(rows: list[Row]) -> None:
    assert all(tuple(row) == LOAD.columns for row in rows)
    settings = LOAD.settings(True, {})[5]
    assert LOAD.run(settings, 7) == LOAD.run(settings, 7)


@pytest.mark.parametrize("law", [SINGLE, CONSTANT, GEOMETRIC, ZIPF])
def test_drawn_sizes_add_up(law: str) -> None:
    sizes = drawn_sizes(law, 1_001, Random(1))
    assert sum(sizes) == 1_001
    assert min(sizes) >= 1


def test_positions_are_the_power_of_two_below_the_size() -> None:
    assert [positions(size, True) for size in (1, 2, 3, 4, 7, 8, 1000)] == [1, 2, 2, 4, 4, 8, 512]
    assert positions(1000, False) == 1


def test_records_are_all_somewhere_and_equal_loads_do_not_vary() -> None:
    counts = loads([3, 1, 2], 600, 2, weighted=True, rng=Random(1))
    assert sum(counts) == 600
    assert spread([3, 1, 2], [300, 100, 200]) == (0.0, 1.0)
    assert spread([1, 1], [2, 0]) == (1.0, 2.0)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 4, len(rows)):
        assert LOAD.findings(rows[:upto])
        LOAD.figure(rows[:upto])
