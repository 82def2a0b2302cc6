import msgspec
import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.ids import NodeRef
from tests.dhtboot.chord.ring_network import Ring, address_of

CONFIG = ChordConfig(adaptive=False)


def fingers_are_right(ring: Ring) -> bool:
    """Whether every finger of every node is the node responsible for its start, as seen from above."""
    for node in ring.nodes.values():
        successor = node.neighbours.successors.first
        assert successor is not None
        for index in node.fingers.wanted(successor):
            owner = ring.owner(node.fingers.start(index))
            finger = node.fingers.get(index)
            if owner != (node.id if finger is None else finger.id):
                return False
    return True


@pytest.mark.parametrize("check", [True, False])
def test_fingers_follow_newcomers_and_losses_whether_or_not_they_are_asked_first(check: bool) -> None:
    ring = Ring(11, msgspec.structs.replace(CONFIG, check_fingers=check)).grow(20, settle_s=40.0)
    assert fingers_are_right(ring)
    for number in range(20, 30):
        ring.add(number)
    ring.network.run(60.0)
    assert fingers_are_right(ring)
    ring.kill(ring.choose(6))
    ring.network.run(90.0)
    assert fingers_are_right(ring)


def test_a_wrong_finger_is_looked_up_anew() -> None:
    ring = Ring(12, CONFIG).grow(20, settle_s=40.0)
    node = ring.nodes[address_of(3)]
    successor = node.neighbours.successors.first
    assert successor is not None
    index = node.fingers.wanted(successor)[-1]
    right = node.fingers.get(index)
    wrong = next(each for each in ring.nodes if ring.nodes[each].id not in (node.id, right and right.id))
    node.fingers.set(index, NodeRef(ring.nodes[wrong].id, wrong))
    assert not fingers_are_right(ring)
    ring.network.run(12.0)
    assert node.fingers.get(index) == right


def packets_of_a_quiet_minute(config: ChordConfig) -> int:
    ring = Ring(13, config, codec=None).grow(40, settle_s=60.0)
    before = ring.network.counters["sent"]
    ring.network.run(60.0)
    assert fingers_are_right(ring)
    return ring.network.counters["sent"] - before


def test_asking_fingers_saves_most_of_the_packets_of_a_quiet_ring() -> None:
    asking = packets_of_a_quiet_minute(CONFIG)
    looking_up = packets_of_a_quiet_minute(msgspec.structs.replace(CONFIG, check_fingers=False))
    assert asking < 0.6 * looking_up
