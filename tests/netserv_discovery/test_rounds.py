"""Which cells are asked, and which are left out."""

import math

import pytest

from netserv_discovery.keys import block_cell_key
from netserv_discovery.location import SIZES, Location, cell_of
from netserv_discovery.rounds import CROWD, Group, groups_of, may_have, narrowed
from netserv_discovery.versions import parse_need
from netserv_discovery.want import Wanted

HERE = Location(40.71, -74.01)
NEAR = Wanted(blocks=(parse_need("ffmpeg"),), near=HERE)


def key(size: int) -> bytes:
    return block_cell_key("ffmpeg", cell_of(HERE, size))


def group(size: int) -> Group:
    return next(each for round_ in groups_of(NEAR)[1:] for each in round_ if each.own == key(size))


def test_the_own_cells_are_tasted_then_each_size_follows_and_the_world() -> None:
    first, *others = groups_of(NEAR)
    assert [[each.key for each in group.questions] for group in first] == [[key(size)] for size in SIZES[:-1]]
    assert [len(group.questions) for (group,) in others] == [4, 4, 4, 1, 4, 1]
    covered = [group.covered_km for (group,) in others if len(group.questions) > 1]
    assert covered == sorted(covered)
    assert all(group.covered_km < covered[number] for number, group in enumerate(first))


@pytest.mark.parametrize(
    ("own", "larger", "asked"),
    [
        (0, 0, False),
        (4, CROWD, False),  # the larger ones have enough, and are not dear
        (4, CROWD + 1, True),
        (5, 5, True),
        (1_000, 1_000, True),
    ],
)
def test_cells_are_left_out_that_have_too_few_in_their_middle(own: int, larger: int, asked: bool) -> None:
    assert may_have(group(5), group(3), {key(5): own, key(3): larger}, 5) is asked


def test_cells_of_which_nothing_is_known_are_asked() -> None:
    *_, (largest,), (everywhere,) = groups_of(NEAR)
    assert may_have(largest, everywhere, {key(1): 0}, 5)
    assert may_have(group(5), group(3), {key(3): 0}, 5)  # its own cell has not answered


def test_of_the_cells_around_those_are_asked_that_reach_far_enough() -> None:
    cells = group(3)
    assert narrowed(NEAR, cells, 0.5).questions == cells.questions[:1]
    assert narrowed(NEAR, cells, cells.covered_km) == cells
    assert narrowed(NEAR, cells, math.inf) == cells
    for reach_km in (1.0, 20.0, 40.0, 60.0, 80.0):
        assert narrowed(NEAR, cells, reach_km).covered_km >= min(reach_km, cells.covered_km)
    everywhere = groups_of(NEAR)[-1][0]
    assert narrowed(NEAR, everywhere, 1.0) == everywhere
