from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtboot.ids import PREFIX_SHIFT, NodeRef, random_id
from dhtboot.lookup import CANDIDATES_MIN, REQUESTS_MAX, Lookup, State
from tests.dhtboot.strategies import ids

ME = 0


def contact(identifier: int) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", identifier % 65_535 + 1))


def lookup_of(known: list[int], *, alpha: int = 3, width: int = 4, target: int = 0) -> Lookup:
    lookup = Lookup(target, me=ME, alpha=alpha, width=width)
    lookup.add([contact(i) for i in known])
    return lookup


def asked(lookup: Lookup) -> list[int]:
    return [node.id for node in lookup.next_to_ask()]


def test_without_contacts_it_is_over_at_once() -> None:
    lookup = lookup_of([])
    assert asked(lookup) == []
    assert lookup.over
    result = lookup.result()
    assert (result.answered, result.closest, result.hops, result.requests) == ((), (), 0, 0)


def test_the_closest_are_asked_alpha_at_once() -> None:
    lookup = lookup_of([9, 3, 7, 5, 1], alpha=2)
    assert asked(lookup) == [1, 3]
    assert asked(lookup) == []
    lookup.answered(contact(1), [])
    assert asked(lookup) == [5]


def test_it_is_over_when_the_closest_have_answered() -> None:
    lookup = lookup_of([1, 2, 3], width=2)
    assert asked(lookup) == [1, 2]
    lookup.answered(contact(2), [])
    assert asked(lookup) == []
    assert not lookup.over
    lookup.answered(contact(1), [])
    assert asked(lookup) == []
    assert lookup.over
    result = lookup.result()
    assert [node.id for node in result.answered] == [1, 2]
    assert [node.id for node in result.closest] == [1, 2, 3]


def test_a_closer_contact_in_a_reply_is_asked_before_the_end() -> None:
    lookup = lookup_of([8, 9], width=2)
    asked(lookup)
    lookup.answered(contact(8), [contact(1), contact(ME)])
    assert asked(lookup) == [1]
    lookup.answered(contact(9), [])
    lookup.answered(contact(1), [])
    asked(lookup)
    assert lookup.over
    assert lookup.result().hops == 2


def test_hops_count_the_longest_chain_of_replies() -> None:
    lookup = lookup_of([64], alpha=1, width=1)
    for step, identifier in enumerate([64, 32, 16, 8], start=1):
        assert asked(lookup) == [identifier]
        lookup.answered(contact(identifier), [contact(identifier // 2)] if identifier > 8 else [])
        steps = {s.node.id: s.hops for s in lookup.result().steps}
        assert steps[identifier] == step
    asked(lookup)
    assert lookup.over
    assert lookup.result().hops == 4


def test_a_dead_contact_is_replaced_by_the_next() -> None:
    lookup = lookup_of([1, 2, 3, 4], alpha=2, width=2)
    assert asked(lookup) == [1, 2]
    lookup.failed(contact(1))
    assert asked(lookup) == [3]
    lookup.answered(contact(2), [contact(1)])
    lookup.answered(contact(3), [])
    asked(lookup)
    assert lookup.over
    assert [node.id for node in lookup.result().closest] == [2, 3, 4]


def test_a_late_contact_does_not_hold_up_the_others() -> None:
    lookup = lookup_of([1, 2, 3], alpha=2, width=2)
    assert asked(lookup) == [1, 2]
    lookup.late(contact(1))
    assert asked(lookup) == [3]
    lookup.answered(contact(2), [])
    lookup.answered(contact(3), [])
    asked(lookup)
    assert lookup.over, "two others have answered"
    assert [node.id for node in lookup.result().closest] == [1, 2, 3], "late is not dead"


def test_a_patient_lookup_waits_for_a_late_contact() -> None:
    lookup = lookup_of([1, 2, 3], alpha=2, width=2)
    lookup.patient = True
    asked(lookup)
    lookup.late(contact(1))
    asked(lookup)
    lookup.answered(contact(2), [])
    lookup.answered(contact(3), [])
    asked(lookup)
    assert not lookup.over
    lookup.answered(contact(1), [])
    asked(lookup)
    assert lookup.over
    assert [node.id for node in lookup.result().answered] == [1, 2, 3]


def test_with_too_few_answers_a_late_contact_is_waited_for() -> None:
    lookup = lookup_of([1], width=2)
    asked(lookup)
    lookup.late(contact(1))
    assert asked(lookup) == []
    assert not lookup.over
    lookup.failed(contact(1))
    asked(lookup)
    assert lookup.over


def test_a_contact_answers_fails_or_is_late_only_once() -> None:
    lookup = lookup_of([1, 2], alpha=1, width=2)
    asked(lookup)
    lookup.answered(contact(1), [])
    lookup.failed(contact(1))
    lookup.late(contact(1))
    lookup.late(contact(2))  # not asked yet
    lookup.failed(contact(99))  # never heard of
    assert [(s.node.id, s.state) for s in lookup.result().steps] == [(1, State.ANSWERED)]
    assert asked(lookup) == [2]


def test_candidates_are_bounded_and_the_farthest_is_forgotten() -> None:
    lookup = lookup_of(list(range(1, CANDIDATES_MIN + 100)), width=1)
    closest = lookup.result().closest
    assert [node.id for node in closest] == list(range(1, CANDIDATES_MIN + 1))
    lookup.add([contact(CANDIDATES_MIN + 5)])
    assert len(lookup.result().closest) == CANDIDATES_MIN, "what was forgotten does not come back"


def test_forgetting_a_contact_under_way_does_not_stall_the_lookup() -> None:
    lookup = lookup_of([1 << 20], alpha=1, width=2)
    assert asked(lookup) == [1 << 20]
    lookup.add([contact(i) for i in range(1, CANDIDATES_MIN + 1)])
    assert asked(lookup) == [1]


def test_liars_cannot_keep_a_lookup_going_for_ever() -> None:
    lookup = lookup_of([1 << 159], alpha=3, width=4, target=0)
    requests = 0
    while not lookup.over:
        for node in lookup.next_to_ask():
            requests += 1
            assert requests <= REQUESTS_MAX
            lookup.answered(node, [contact(node.id - nearer) for nearer in range(1, 9)])
    assert requests == REQUESTS_MAX


@given(st.sets(ids.filter(bool), min_size=1, max_size=80), ids, st.integers(1, 4), st.integers(1, 20), st.integers())
def test_it_finds_the_closest_of_whatever_is_reachable_and_alive(
    everybody: set[int], target: int, alpha: int, width: int, seed: int
) -> None:
    rng = Random(seed)
    dead = {i for i in everybody if rng.random() < 0.3}
    by_distance = sorted(everybody, key=lambda i: i ^ target)
    lookup = Lookup(target, me=random_id(rng), alpha=alpha, width=width)
    lookup.add([contact(i) for i in rng.sample(by_distance, min(3, len(by_distance)))])
    under_way: list[NodeRef] = []
    told: set[int] = set()
    while not lookup.over:
        under_way += lookup.next_to_ask()
        assert len(under_way) <= alpha
        if not under_way:
            assert lookup.over
            break
        node = under_way.pop(rng.randrange(len(under_way)))
        if node.id in dead:
            lookup.failed(node)
        else:
            reply = rng.sample(by_distance, min(5, len(by_distance)))
            told |= {node.id, *reply}
            lookup.answered(node, [contact(i) for i in reply])
    result = lookup.result()
    heard = [i for i in by_distance if i in told and i not in dead]
    answered = [node.id for node in result.answered]
    assert answered[:width] == heard[:width]
    assert result.requests <= len(everybody)


near_each_other = st.builds(lambda high, low: high << PREFIX_SHIFT | low, st.integers(0, 2), st.integers(0, 20))


@given(st.lists(st.lists(ids | near_each_other, max_size=20), max_size=8), ids | near_each_other)
def test_the_candidates_are_the_closest_of_all_heard_of_each_once_in_order(heard: list[list[int]], target: int) -> None:
    lookup = Lookup(target, me=ME, alpha=1, width=1)
    for identifiers in heard:
        former = lookup.result()
        shown = former.closest
        lookup.add([contact(identifier) for identifier in identifiers])
        assert former.closest == shown, "a result stays as it is"
    everybody = {identifier for identifiers in heard for identifier in identifiers} - {ME}
    expected = sorted(everybody, key=lambda i: i ^ target)[:CANDIDATES_MIN]
    assert [node.id for node in lookup.result().closest] == expected


@given(st.sets(ids | near_each_other, min_size=1, max_size=20), ids | near_each_other, st.data())
def test_a_contact_is_found_among_others_that_are_alike(known: set[int], target: int, data: st.DataObject) -> None:
    lookup = lookup_of(sorted(known), target=target, alpha=100, width=100)
    one = data.draw(st.sampled_from(sorted(known)))
    lookup.answered(contact(one), [])
    assert [node.id for node in lookup.result().answered] == [one] * (one != ME)
