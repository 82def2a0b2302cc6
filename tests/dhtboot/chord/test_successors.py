from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.ring import clockwise
from dhtboot.chord.successors import SuccessorList
from dhtboot.ids import NodeRef

ME = 100


def ref(identifier: int, port: int = 1) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", port))


def ids(successors: SuccessorList) -> list[int]:
    return [node.id for node in successors.nodes]


@given(st.lists(st.integers(90, 120), max_size=40), st.integers(1, 8))
def test_the_nearest_clockwise_are_kept_in_order(added: list[int], size: int) -> None:
    successors = SuccessorList(ME, size)
    for identifier in added:
        before = ids(successors)
        assert successors.add(ref(identifier)) == (ids(successors) != before)
    wanted = sorted(set(added) - {ME}, key=lambda identifier: clockwise(ME, identifier))
    assert ids(successors) == wanted[:size]
    assert successors.first == (ref(wanted[0]) if wanted else None)


@given(st.sets(st.integers(90, 120)), st.integers(90, 120))
def test_a_removed_node_is_gone_and_nothing_else(members: set[int], gone: int) -> None:
    successors = SuccessorList(ME, 50)
    for identifier in members:
        successors.add(ref(identifier))
    before = set(ids(successors))
    assert successors.remove(gone) == (gone in before)
    assert set(ids(successors)) == before - {gone}


def test_the_successor_says_what_comes_after_it() -> None:
    successors = SuccessorList(ME, 3)
    for identifier in (110, 111, 112):
        successors.add(ref(identifier))
    assert not successors.replace(ref(110), [ref(111), ref(112)])
    assert successors.replace(ref(110), [ref(115), ref(ME), ref(20)])
    assert ids(successors) == [110, 115, 20]


def test_what_we_heard_of_a_node_ourselves_counts_more_than_what_we_were_told() -> None:
    successors = SuccessorList(ME, 3)
    successors.replace(ref(110, 1), [ref(110, 2)])
    assert successors.nodes == (ref(110, 1),)
