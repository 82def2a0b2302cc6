"""Figures 2.7 and 2.8 of the thesis, step by step."""

import pytest

from dhtboot.sim.lockstep import CHAIN, HUB, NODES, steps

RING = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5, 5: 0}
HUB_STEPS = [
    {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0},
    {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0},  # 0 settles on 5, and takes the first notifier for its successor
    {0: 1, 1: 5, 2: 5, 3: 5, 4: 5, 5: 0},  # 1 to 4 move to 5, which settles on 4
    {0: 1, 1: 4, 2: 4, 3: 4, 4: 5, 5: 0},  # 1 to 3 move to 4, which settles on 3
    {0: 1, 1: 3, 2: 3, 3: 4, 4: 5, 5: 0},
    RING,
]
CHAIN_STEPS = [
    {0: 0, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4},
    {0: 1, 1: 0, 2: 0, 3: 1, 4: 2, 5: 3},
    {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1},
    {0: 1, 1: 2, 2: 0, 3: 0, 4: 0, 5: 0},
    {0: 1, 1: 2, 2: 5, 3: 5, 4: 5, 5: 0},
    {0: 1, 1: 2, 2: 4, 3: 4, 4: 5, 5: 0},
    RING,
]


@pytest.mark.parametrize(
    ("shape", "expected"), [(HUB, HUB_STEPS), (CHAIN, CHAIN_STEPS)], ids=["hub of figure 2.7", "chain of figure 2.8"]
)
def test_every_cycle_is_as_in_the_figure(shape: dict[int, int], expected: list[dict[int, int]]) -> None:
    assert [cycle.successors for cycle in steps(shape, len(expected) - 1)] == expected


def test_the_hub_settles_on_one_predecessor_a_cycle() -> None:
    settled = [cycle.predecessors for cycle in steps(HUB, 5)]
    assert [settled[1][0], settled[2][5], settled[3][4], settled[4][3], settled[5][2]] == [5, 4, 3, 2, 1]
    for number, cycle in enumerate(settled[1:5]):
        assert cycle[5 - number] is None, "not before its turn"


def test_the_ring_grows_by_one_node_a_cycle() -> None:
    assert [cycle.ring for cycle in steps(HUB, 5)] == [1, 2, 3, 4, 5, 6]
    assert [cycle.ring for cycle in steps(CHAIN, 6)][2:] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("shape", [HUB, CHAIN])
def test_a_ring_that_is_whole_stays_as_it_is(shape: dict[int, int]) -> None:
    *_, before, after = steps(shape, 12)
    assert before.successors == after.successors == RING
    assert after.predecessors == {(number + 1) % NODES: number for number in range(NODES)}
