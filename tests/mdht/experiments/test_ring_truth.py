from random import Random

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.node import ChordNode
from dhtboot.ids import NodeRef
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import make_node
from mdht.experiments.ring_truth import following, wrong_tables

LIVE = [10, 20, 1 << 159]


def ref(identifier: int) -> NodeRef:
    return NodeRef(identifier, (f"::{identifier % 1000}", 0))


def chord() -> ChordNode:
    core = make_node(10, ChordConfig(), Random(1), 0.0, None)
    assert isinstance(core, ChordNode)
    return core


def test_the_node_that_follows_a_key_may_be_behind_the_end_of_the_circle() -> None:
    assert [following(LIVE, key) for key in (9, 10, 11, (1 << 159) + 1)] == [10, 10, 20, 10]
    assert following([], 9) is None


def test_a_node_that_is_alone_has_empty_tables() -> None:
    assert wrong_tables(chord(), [10], ChordConfig()) == []
    assert wrong_tables(chord(), LIVE, ChordConfig()) == ["predecessor", "successors", "fingers"]


def test_right_tables_are_those_of_the_nodes_that_live() -> None:
    core = chord()
    core.neighbours.follow(ref(1 << 159), [ref(20), ref(1 << 159)], 0.0)
    assert wrong_tables(core, LIVE, ChordConfig()) == ["fingers"]
    core.fingers.fill(ref(20), [ref(20), ref(1 << 159)])
    assert wrong_tables(core, LIVE, ChordConfig()) == []
    assert wrong_tables(core, [10, 20], ChordConfig()) == ["predecessor", "successors", "fingers"]


def test_what_the_tables_of_kademlia_should_be_is_not_known() -> None:
    core = make_node(10, KademliaConfig(), Random(1), 0.0, None)
    assert wrong_tables(core, LIVE, KademliaConfig()) == ["overlay"]
