from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.fingers import FingerTable
from dhtboot.chord.ring import CIRCLE, clockwise
from dhtboot.ids import ID_BITS, NodeRef

IDS = st.integers(0, CIRCLE - 1)


def ref(identifier: int) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", 1))


@given(IDS, st.dictionaries(st.integers(0, ID_BITS - 1), IDS, max_size=12), st.sets(IDS, max_size=8), IDS)
def test_the_next_hop_is_the_known_node_closest_before_the_target(
    me: int, fingers: dict[int, int], successors: set[int], target: int
) -> None:
    table = FingerTable(me)
    for index, identifier in fingers.items():
        if identifier != me:
            assert table.set(index, ref(identifier))
    known = {i for i in (*fingers.values(), *successors) if i != me}
    list_ = [ref(i) for i in successors if i != me]
    table.changed()
    before = sorted((i for i in known if i != target), key=lambda i: clockwise(i, target))
    before = [i for i in before if clockwise(i, target) < (clockwise(me, target) or CIRCLE)]
    found = table.preceding(target, list_)
    assert (found and found.id) == (before[0] if before else None)
    assert [node.id for node in table.all_preceding(target, list_, 3)] == before[:3]


def test_wanted_fingers_begin_beyond_the_successor() -> None:
    table = FingerTable(1000)
    wanted = table.wanted(ref(1016))
    assert list(wanted)[:1] == [5]
    assert all(table.start(index) > 1016 for index in wanted if index < 100)
    assert wanted.stop == ID_BITS
    assert table.start(ID_BITS - 1) == (1000 + CIRCLE // 2) % CIRCLE


def test_trivial_and_dead_fingers_go() -> None:
    table = FingerTable(0)
    for index, identifier in ((3, 9), (5, 40), (6, 90), (7, 90)):
        table.set(index, ref(identifier))
    table.trim(ref(16))
    assert [node.id for node in table.nodes] == [40, 90]
    assert table.remove(90)
    assert not table.remove(90)
    assert [node.id for node in table.nodes] == [40]
    assert not table.set(5, ref(40)), "no news"
    assert table.set(5, None)
    assert table.preceding(50, []) is None


def first_from(start: int, identifiers: set[int]) -> int:
    return min(identifiers, key=lambda identifier: clockwise(start, identifier))


@given(IDS, st.sets(IDS, min_size=1, max_size=30), st.sets(IDS, max_size=5))
def test_who_knows_all_fingers_of_a_sibling_fills_in_the_same(me: int, ring: set[int], besides: set[int]) -> None:
    ring = ring - {me} or {(me + 1) % CIRCLE}
    successor = ref(first_from((me + 1) % CIRCLE, ring))
    theirs, mine = FingerTable(me), FingerTable(me)
    for index in theirs.wanted(successor):
        first = first_from(theirs.start(index), ring | {me})
        theirs.set(index, None if first == me else ref(first))
    mine.fill(successor, [successor, *theirs.nodes, *[ref(identifier) for identifier in besides & ring]])
    assert [mine.get(index) for index in range(ID_BITS)] == [theirs.get(index) for index in range(ID_BITS)]


@given(IDS, st.sets(IDS, min_size=1, max_size=8))
def test_of_few_known_nodes_each_start_gets_the_first_that_follows_it(me: int, known: set[int]) -> None:
    known = known - {me} or {(me + 1) % CIRCLE}
    successor = ref(first_from((me + 1) % CIRCLE, known))
    table = FingerTable(me)
    table.fill(successor, [ref(identifier) for identifier in known])
    for index in range(ID_BITS):
        first = first_from(table.start(index), known | {me})
        wanted = index in table.wanted(successor) and first != me
        assert table.get(index) == (ref(first) if wanted else None)


def test_filling_in_nothing_changes_nothing() -> None:
    table = FingerTable(0)
    table.set(9, ref(600))
    table.fill(ref(3), [])
    assert table.nodes == [ref(600)]
    assert table.revision == 1


def test_each_change_of_a_finger_is_a_revision_and_nothing_else_is() -> None:
    table = FingerTable(0)
    revisions = [table.revision]

    def note() -> bool:
        revisions.append(table.revision)
        return revisions[-1] > revisions[-2]

    table.set(5, ref(40))
    assert note()
    table.set(5, ref(40))
    assert not note()
    table.set(5, ref(41))
    assert note()
    table.set(7, ref(41))
    assert note()
    table.trim(ref(16))
    assert not note(), "none was trivial"
    table.changed()
    table.preceding(50, [ref(16)])
    assert not note(), "successors are no fingers"
    table.trim(ref(64))
    assert note()
    table.remove(40)
    assert not note()
    table.remove(41)
    assert note()
    table.set(6, None)
    assert not note()
