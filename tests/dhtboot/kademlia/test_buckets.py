import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dhtboot.ids import ID_BITS, NodeRef, random_id
from dhtboot.kademlia.buckets import RoutingTable
from tests.dhtboot.strategies import ids

ME = 0


def table_of(*, me: int = ME, k: int = 2, b: int = 1, replacements_max: int = 2) -> RoutingTable:
    return RoutingTable(me, k=k, b=b, replacements_max=replacements_max)


def contact(identifier: int, port: int | None = None) -> NodeRef:
    return NodeRef(identifier, (f"10.0.0.{identifier % 250}", port or identifier % 65_535 + 1))


@given(ids, st.sets(ids, max_size=60), ids, st.integers(1, 5), st.integers(1, 20), st.integers(1, 30))
def test_the_closest_are_those_of_a_full_search(
    me: int, others: set[int], target: int, b: int, k: int, count: int
) -> None:
    table = table_of(me=me, k=k, b=b)
    for identifier in others:
        table.add(NodeRef(identifier, ("10.0.0.1", len(table) + 1)), 0.0)
    held = [node.id for node in table]
    found = [node.id for node in table.closest(target, count)]
    assert found == sorted(held, key=lambda i: i ^ target)[:count]


@given(ids, st.integers(0, 1 << 32), st.integers(1, 5))
def test_the_closest_near_to_me_are_those_of_a_full_search(me: int, seed: int, b: int) -> None:
    # Identifiers that share long prefixes with ours fill many small buckets.
    rng = Random(seed)
    table = table_of(me=me, k=4, b=b)
    for port in range(1, 60):
        table.add(NodeRef(me ^ rng.getrandbits(rng.randint(1, 160)), ("10.0.0.1", port)), 0.0)
    for _ in range(5):
        target = me ^ rng.getrandbits(rng.randint(1, 160))
        expected = sorted((node.id for node in table), key=lambda i: i ^ target)
        assert [node.id for node in table.closest(target, 60)] == expected


steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "touch", "remove"]), st.integers(0, 15), st.integers(1, 6)),
    max_size=80,
)


@settings(max_examples=400)
@given(steps, st.integers(1, 5), st.integers(1, 3))
def test_one_contact_per_identifier_and_per_address_within_bounds(
    todo: list[tuple[str, int, int]], b: int, k: int
) -> None:
    table = table_of(me=3, k=k, b=b)
    for what, identifier, port in todo:
        node = NodeRef(identifier, ("10.0.0.1", port))
        before = {known.id: known for known in table}
        match what:
            case "add":
                new = table.add(node, 0.0)
                assert new == (table.holds(node) and before.get(identifier) != node)
                if identifier in before:
                    assert table.find(identifier) == before[identifier], "taken over by claim"
            case "touch":
                assert table.touch(node, 0.0) == (before.get(identifier) == node)
            case _:
                table.remove(identifier)
                assert table.find(identifier) is None
        held = list(table)
        assert len(table) == len(held) == len({n.id for n in held}) == len({n.address for n in held})
        assert all(n.id != 3 for n in held)
        assert all(table.holds(n) and table.find(n.id) == n and table.has_address(n.address) for n in held)
        for index in table.stale(math.inf):
            base, free = table.range_of(index)
            assert sum((n.id ^ base) >> free == 0 for n in held) <= k


def test_a_full_bucket_lets_newcomers_wait_and_names_the_newest_first() -> None:
    table = table_of(k=2, replacements_max=2)
    far = [1 << 159 | i for i in range(1, 7)]
    assert [table.add(contact(i), 0.0) for i in far] == [True, True, False, False, False, False]
    assert not table.has_room(contact(far[2]))
    assert table.remove(far[0]) == contact(far[5])
    assert table.has_room(contact(far[2]))
    assert table.remove(far[1]) == contact(far[4])
    assert table.remove(far[1]) is None


def test_a_known_identifier_at_another_address_waits_until_the_first_fails() -> None:
    table = table_of()
    table.add(contact(8, 1), 0.0)
    assert not table.add(contact(8, 2), 0.0)
    assert table.find(8) == contact(8, 1)
    assert not table.holds(contact(8, 2))
    assert not table.touch(contact(8, 2), 0.0)
    assert table.remove(8) == contact(8, 2)


def test_another_identifier_at_a_known_address_replaces_the_first() -> None:
    table = table_of()
    table.add(NodeRef(8, ("10.0.0.1", 1)), 0.0)
    assert table.add(NodeRef(9, ("10.0.0.1", 1)), 0.0)
    assert [node.id for node in table] == [9]


def test_another_identifier_at_a_known_address_never_overfills_a_bucket() -> None:
    table = table_of(k=1)
    table.add(NodeRef(8, ("10.0.0.1", 1)), 0.0)
    table.add(NodeRef(1 << 100, ("10.0.0.2", 1)), 0.0)
    assert not table.add(NodeRef(1 << 100 | 1, ("10.0.0.1", 1)), 0.0)
    assert [node.id for node in table] == [1 << 100], "the host that lost its state is gone, the newcomer waits"


def test_the_least_recently_seen_is_checked_for_a_newcomer_at_times() -> None:
    table = table_of(k=2)
    a, b, c = (contact(1 << 159 | i) for i in (1, 2, 3))
    table.add(a, 0.0)
    table.add(b, 0.0)
    assert table.to_check(a, 100.0, pause_s=10.0) is None, "nobody waits"
    table.add(c, 0.0)
    table.touch(a, 1.0)
    assert table.to_check(c, 5.0, pause_s=10.0) is None, "too soon"
    assert table.to_check(c, 10.0, pause_s=10.0) == b
    assert table.to_check(c, 19.0, pause_s=10.0) is None
    assert table.to_check(c, 20.0, pause_s=10.0) == b


def test_buckets_nobody_looks_into_become_stale() -> None:
    table = table_of()
    table.add(contact(1 << 159), 0.0)
    table.add(contact(1), 0.0)
    assert len(table.stale(1.0)) == 2
    table.looked(1 << 159 | 77, 5.0)
    (index,) = table.stale(1.0)
    base, free = table.range_of(index)
    assert (1 ^ base) >> free == 0


@given(ids, ids, st.integers(1, 5), st.integers())
def test_the_range_of_a_bucket_holds_its_contacts_and_no_others(me: int, other: int, b: int, seed: int) -> None:
    table = table_of(me=me, b=b)
    if not table.add(NodeRef(other, ("10.0.0.1", 1)), 0.0):
        return
    (index,) = table.stale(math.inf)
    base, free = table.range_of(index)
    assert (other ^ base) >> free == 0
    assert (me ^ base) >> free != 0
    inside = base ^ (Random(seed).getrandbits(free) if free else 0)
    table.looked(inside, 5.0)
    assert not table.stale(1.0)


def test_the_table_stays_small_among_very_many() -> None:
    rng = Random(1)
    table = table_of(me=random_id(rng), k=16, replacements_max=8)
    for i in range(5000):
        table.add(NodeRef(random_id(rng), (f"10.0.{i >> 8}.{i & 255}", 1)), 0.0)
    assert len(table) < 16 * 14


@given(ids, ids, st.integers(1, 5))
def test_every_bucket_beyond_an_identifier_is_named_once_whether_or_not_it_is_occupied(
    me: int, other: int, b: int
) -> None:
    table = table_of(me=me, b=b)
    indices = table.farther(other)
    assert indices == sorted(set(indices))
    ranges = [table.range_of(index) for index in indices]
    for base, free in ranges:
        assert (base ^ me) >> free, "its identifiers are not in our own range"
        assert (base ^ me) > other ^ me, "all farther than the one named"
    # Together with the nearer part they are all identifiers there are.
    nearer = 1 << min((free for _base, free in ranges), default=ID_BITS)
    assert nearer + sum(1 << free for _base, free in ranges if free < ID_BITS) >= 1 << ID_BITS
