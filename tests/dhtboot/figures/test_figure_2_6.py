from hypothesis import given
from hypothesis import strategies as st

from dhtboot.figures.figure_2_6 import depths
from dhtboot.sim.result import Snapshot
from dhtboot.sim.topology import largest_ring


def shape(successors: list[int]) -> Snapshot:
    numbers = tuple(range(len(successors)))
    ring = largest_ring(dict(enumerate(successors)))
    return Snapshot(at_s=1.0, numbers=numbers, successors=tuple(successors), ring=ring)


def test_a_tree_hangs_from_its_ring_by_steps() -> None:
    #        0 -> 1 -> 2 -> 0 is the ring; 3 and 4 point at it, 5 at 4
    assert depths(shape([1, 2, 0, 0, 1, 4])) == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 2}


def test_of_two_rings_the_one_counts_that_most_lead_to() -> None:
    found = depths(shape([1, 0, 3, 2, 2, 2]))
    assert (found[2], found[3]) == (0, 0)
    assert (found[4], found[5]) == (1, 1)


@given(st.lists(st.integers(0, 19), min_size=1, max_size=20))
def test_every_node_is_one_step_farther_out_than_its_successor(pointers: list[int]) -> None:
    successors = [pointer % len(pointers) for pointer in pointers]
    found = depths(shape(successors))
    assert set(found) == set(range(len(successors)))
    for number, following in enumerate(successors):
        assert found[number] == 0 or found[number] >= found[following]
    assert largest_ring(dict(enumerate(successors))) >= 1
