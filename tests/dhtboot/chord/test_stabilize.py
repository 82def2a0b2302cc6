import math

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import (
    NewSuccessorHint,
    Notified,
    Notify,
    Packet,
    Ping,
    Pong,
    Predecessor,
    Refused,
    Stabilize,
)
from dhtboot.chord.node import ChordNode
from dhtboot.chord.stabilize import STEPS_MAX
from dhtboot.effects import Effect, Send
from dhtboot.ids import NodeRef, id_bytes
from tests.dhtboot.memory_network import Network

ME = 500


def ref(identifier: int) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", identifier))


def node_between(before: int | None, after: int, config: ChordConfig | None = None) -> ChordNode:
    node = ChordNode(ME, config or ChordConfig.thesis(), Network(1).rng("stabilize"), 0.0)
    node.join([], 0.0)
    node.neighbours.enter(ref(after), (), None if before is None else ref(before), 0.0)
    node._fix_at = math.inf  # fingers are another test's business
    node.set_timers()
    node.collect()
    return node


def only(effects: list[Effect], kind: type) -> Send:
    (found,) = [e for e in effects if isinstance(e, Send) and type(e.packet.message) is kind]
    return found


def answer(node: ChordNode, sent: Send, sender: int, message: object, now: float) -> list[Effect]:
    return node.receive(Packet(id_bytes(sender), sent.packet.request_id, message), ref(sender).address, now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "notifier", "failed", "after"),
    [
        (None, 100, None, 100),
        (100, 300, None, 300),
        (300, 100, None, 300),
        (300, 100, 300, 100),
        (300, 100, 299, 300),
        (300, ME, None, 300),
        (300, 300, None, 300),
    ],
)
def test_a_notifier_is_taken_when_nothing_known_stands_between(
    before: int | None, notifier: int, failed: int | None, after: int
) -> None:
    node = node_between(before, 900)
    notify = Packet(id_bytes(notifier), 7, Notify(None if failed is None else ref(failed)))
    (reply,) = node.receive(notify, ref(notifier).address, 1.0)
    assert isinstance(reply, Send)
    assert reply.packet.message == Notified((ref(900),))
    assert node.neighbours.predecessor == ref(after)


@pytest.mark.parametrize(("hinted", "first"), [(700, 700), (950, 900), (ME, 900), (100, 900)])
def test_a_hint_counts_only_before_the_successor(hinted: int, first: int) -> None:
    node = node_between(100, 900)
    node.receive(Packet(id_bytes(900), 0, NewSuccessorHint(ref(hinted))), ref(900).address, 1.0)
    assert node.neighbours.successors.first == ref(first)


def test_a_hint_that_overtakes_the_join_reply_is_not_lost() -> None:
    node = ChordNode(ME, ChordConfig.thesis(), Network(1).rng("stabilize"), 0.0)
    node.join([ref(1)], 0.0)
    node.receive(Packet(id_bytes(900), 0, NewSuccessorHint(ref(700))), ref(900).address, 0.1)
    node.neighbours.enter(ref(900), (ref(950),), ref(100), 0.2)
    assert [n.id for n in node.neighbours.successors.nodes] == [700, 900, 950]


def test_one_round_asks_the_successor_and_notifies_the_better_one() -> None:
    node = node_between(100, 900)
    round_ = node.tick(0.0)
    asked = only(round_, Stabilize)
    assert asked.to == ref(900).address
    notify = only(answer(node, asked, 900, Predecessor(ref(700)), 0.1), Notify)
    assert notify.to == ref(700).address
    answer(node, notify, 700, Notified((ref(800), ref(900))), 0.2)
    assert [n.id for n in node.neighbours.successors.nodes] == [700, 800, 900]


def test_a_live_node_whose_successor_is_too_far_finds_the_right_one_in_one_round() -> None:
    node = node_between(100, 900, ChordConfig())
    effects = node.tick(0.0)
    for asked, nearer in ((900, 800), (800, 700), (700, 600)):
        request = only(effects, Stabilize)
        assert request.to == ref(asked).address
        effects = answer(node, request, asked, Predecessor(ref(nearer)), 0.1)
        assert not [e for e in effects if isinstance(e, Send) and isinstance(e.packet.message, Notify)]
    notify = only(answer(node, only(effects, Stabilize), 600, Predecessor(ref(100)), 0.2), Notify)
    assert notify.to == ref(600).address, "the nearest is told, nobody else"
    assert node.neighbours.successors.nodes[0] == ref(600)


def test_whoever_names_ever_nearer_successors_has_to_wait_for_the_next_round() -> None:
    node = node_between(100, 900, ChordConfig())
    effects = node.tick(0.0)
    for step in range(STEPS_MAX):
        effects = answer(node, only(effects, Stabilize), 900 - step, Predecessor(ref(899 - step)), 0.1)
    last = answer(node, only(effects, Stabilize), 900 - STEPS_MAX, Predecessor(ref(899 - STEPS_MAX)), 0.1)
    assert only(last, Notify).to == ref(899 - STEPS_MAX).address
    assert not [e for e in last if isinstance(e, Send) and isinstance(e.packet.message, Stabilize)]


def test_a_dead_successor_is_replaced_by_the_next_and_that_one_is_told() -> None:
    node = node_between(100, 900)
    node.neighbours.successors.add(ref(950))
    node.tick(0.0)
    effects = node.tick(1.5)  # the timeout of the thesis
    asked = only(effects, Stabilize)
    assert asked.to == ref(950).address
    notify = only(answer(node, asked, 950, Predecessor(ref(900)), 1.6), Notify)
    assert notify.to == ref(900).address, "it says that the dead one lives, so that is tried again"
    effects = node.tick(3.2)
    asked = only(effects, Stabilize)
    notify = only(answer(node, asked, 950, Predecessor(None), 3.3), Notify)
    assert notify.packet.message == Notify(ref(900))


def test_a_silent_predecessor_is_asked_before_it_counts_as_dead() -> None:
    node = node_between(100, 900)

    def round_at(now: float) -> list[Effect]:
        """One round whose successor answers."""
        effects = node.tick(now)
        notify = only(answer(node, only(effects, Stabilize), 900, Predecessor(ref(ME)), now), Notify)
        answer(node, notify, 900, Notified(()), now)
        return [e for e in effects if isinstance(e, Send) and isinstance(e.packet.message, Ping)]

    assert not round_at(0.0)
    node.receive(Packet(id_bytes(100), 7, Stabilize()), ref(100).address, 1.0)
    assert not round_at(5.0), "it has spoken"
    (ping,) = round_at(10.0)
    assert isinstance(ping, Send)
    assert ping.to == ref(100).address
    answer(node, ping, 100, Pong(), 10.1)
    assert not round_at(15.0), "it has answered"
    (ping,) = round_at(20.0)
    assert node.neighbours.predecessor == ref(100)
    node.tick(21.5)  # the timeout of the thesis
    assert node.neighbours.predecessor is None


def test_what_another_host_of_the_node_has_found_replaces_what_was_known() -> None:
    node = node_between(100, 900)
    node.neighbours.follow(ref(200), (ref(700), ref(800)), 1.0)
    assert node.neighbours.predecessor == ref(200)
    assert node.neighbours.successors.nodes == (ref(700), ref(800))
    assert node.next_step(750).nodes == (ref(700),), "and so the way is another one at once"
    node.neighbours.follow(None, (), 2.0)
    assert node.neighbours.alone
    assert node.collect() == [], "nobody is asked about it"


def test_a_predecessor_that_was_told_is_not_taken_for_silent_in_the_next_round() -> None:
    node = node_between(100, 900)
    node.neighbours.tick(0.0)
    node.neighbours.follow(ref(200), (ref(900),), 1.0)
    node.collect()
    node.neighbours.tick(5.0)
    assert not [e for e in node.collect() if isinstance(e, Send) and isinstance(e.packet.message, Ping)]
    node.neighbours.tick(10.0)
    assert only(node.collect(), Ping).to == ref(200).address


def test_the_same_neighbours_once_more_are_no_change() -> None:
    node = ChordNode(ME, ChordConfig(), Network(1).rng("stabilize"), 0.0)
    node.join([], 0.0)
    node.neighbours.enter(ref(900), (), ref(100), 0.0)
    node.neighbours.due_at = 50.0  # in a quiet ring
    node.neighbours.follow(ref(100), (ref(900),), 1.0)
    assert node.neighbours.due_at == 50.0
    node.neighbours.follow(ref(100), (ref(900), ref(950)), 1.0)
    assert node.neighbours.due_at == 6.0


def test_a_successor_that_is_not_part_of_the_ring_is_left_the_second_time_in_a_row() -> None:
    node = node_between(100, 900)
    node.neighbours.successors.add(ref(950))

    def round_at(now: float, response: object) -> None:
        answer(node, only(node.tick(now), Stabilize), 900, response, now + 0.1)

    round_at(0.0, Refused())
    assert node.neighbours.successors.first == ref(900), "it may be about to join"
    round_at(5.0, Refused())
    assert node.neighbours.successors.nodes == (ref(950),)
    assert only(node.tick(5.2), Stabilize).to == ref(950).address


def test_the_only_successor_is_left_for_a_finger_when_it_is_not_part_of_the_ring() -> None:
    # Met with lossy joins: the JOIN of one that had lost all others was led to itself, since nobody else was known to
    # follow there, for ever.
    node = node_between(None, 900)
    for now in (0.0, 5.0, 10.0):
        answer(node, only(node.tick(now), Stabilize), 900, Refused(), now + 0.1)
        assert node.neighbours.successors.nodes == (ref(900),), "better than none"
    node.fingers.set(159, ref(900))
    node.fingers.set(158, ref(950))
    answer(node, only(node.tick(15.0), Stabilize), 900, Refused(), 15.1)
    assert node.neighbours.successors.nodes == (ref(950),)
