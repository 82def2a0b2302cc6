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
