from hypothesis import given
from hypothesis import strategies as st

from dhtboot.ids import NodeRef
from dhtboot.kademlia.siblings import SiblingList
from tests.dhtboot.strategies import ids


def contact(identifier: int, port: int = 1) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", port))


@given(ids, st.lists(ids, max_size=60), st.integers(1, 20))
def test_the_siblings_are_the_closest_of_all_seen(me: int, seen: list[int], size: int) -> None:
    siblings = SiblingList(me, size)
    for identifier in seen:
        siblings.add(contact(identifier))
    expected = sorted(set(seen) - {me}, key=lambda i: i ^ me)[:size]
    assert [node.id for node in siblings.nodes] == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_adding_and_removing_say_what_changed(steps: list[tuple[bool, int]]) -> None:
    siblings = SiblingList(5, 4)
    for adding, identifier in steps:
        before = [node.id for node in siblings.nodes]
        changed = siblings.add(contact(identifier)) if adding else siblings.remove(identifier)
        after = [node.id for node in siblings.nodes]
        assert changed == (before != after)
        assert after == sorted(set(after), key=lambda i: i ^ 5)
        assert len(after) <= 4


def test_a_second_address_waits_until_the_known_one_fails() -> None:
    siblings = SiblingList(0, 4)
    assert siblings.add(contact(1, 1))
    assert not siblings.add(contact(1, 2))
    assert siblings.nodes == [contact(1, 1)]
    assert siblings.remove(1)
    assert siblings.add(contact(1, 2))


@given(ids, st.sets(ids, max_size=12), st.sets(ids, max_size=12), st.integers(1, 20))
def test_who_follows_has_none_between_those_it_was_told_and_keeps_those_beyond(
    me: int, known: set[int], told: set[int], size: int
) -> None:
    siblings = SiblingList(me, size)
    for identifier in known:
        siblings.add(contact(identifier))
    had = {node.id for node in siblings.nodes}
    siblings.follow([contact(identifier) for identifier in told])
    farthest = max([me ^ identifier for identifier in told], default=-1)
    wanted = told | {identifier for identifier in had if me ^ identifier > farthest}
    assert [node.id for node in siblings.nodes] == sorted(wanted - {me}, key=lambda i: i ^ me)[:size]


@given(st.sets(st.integers(0, 30), max_size=8), st.sets(st.integers(0, 30), max_size=8))
def test_following_twice_is_following_once(known: set[int], told: set[int]) -> None:
    siblings = SiblingList(31, 6)
    for identifier in known:
        siblings.add(contact(identifier))
    siblings.follow([contact(identifier) for identifier in told])
    once = list(siblings.nodes)
    siblings.follow([contact(identifier) for identifier in sorted(told, reverse=True)])
    assert siblings.nodes == once
