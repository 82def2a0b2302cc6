import itertools
import math

import pytest

from dhtboot.chord.config import ChordConfig, JoinMode
from dhtboot.chord.join import FAR_HOPS, HELD_MAX, TRANSITIONS, JoinAction, JoinInput, Phase
from dhtboot.chord.messages import JoinReply, JoinRequest, Leaving, NewSuccessorHint, Packet, Stabilize
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Effect, Joined, JoinFailed, Send
from dhtboot.ids import Address, NodeRef, id_bytes
from tests.dhtboot.chord.ring_network import Ring, address_of
from tests.dhtboot.memory_network import Network

A, B = NodeRef(100, ("10.0.0.1", 1)), NodeRef(200, ("10.0.0.2", 1))


def new_node(identifier: int = 500, config: ChordConfig | None = None) -> ChordNode:
    return ChordNode(identifier, config or ChordConfig(), Network(1).rng("join"), 0.0)


def messages(effects: list[Effect], kind: type) -> list[tuple[Address, object]]:
    return [(e.to, e.packet.message) for e in effects if isinstance(e, Send) and type(e.packet.message) is kind]


def ring_of_two(config: ChordConfig | None = None) -> ChordNode:
    """Node 500 with predecessor 100 and successor 200."""
    node = new_node(config=config)
    node.join([], 0.0)
    node.neighbours.enter(B, (A,), A, 0.0)
    node.tick(0.0)
    return node


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, JoinInput)))
def test_every_pair_does_what_the_table_says_and_an_unlisted_one_nothing(phase: Phase, event: JoinInput) -> None:
    node = new_node()
    node.joining._contacts = (A,)
    node.joining.phase = phase
    node.neighbours.successors.add(B)
    node.joining._on_input(event, 1.0)
    effects = node.collect()
    after, action = TRANSITIONS.get((phase, event), (phase, JoinAction.NONE))
    assert node.joining.phase is after
    assert bool(messages(effects, JoinRequest)) == (action is JoinAction.SEND_JOIN)
    assert any(isinstance(effect, Joined) for effect in effects) == (action is JoinAction.REPORT)
    assert bool(messages(effects, Leaving)) == (action is JoinAction.SAY_GOODBYE)


def test_every_phase_can_be_reached_and_every_input_matters() -> None:
    assert {after for after, _action in TRANSITIONS.values()} == set(Phase) - {Phase.NEW}
    assert {event for _phase, event in TRANSITIONS} == set(JoinInput)
    assert {action for _after, action in TRANSITIONS.values()} | {JoinAction.NONE} == set(JoinAction)


def test_a_node_alone_lets_the_first_in_and_is_its_predecessor_too() -> None:
    node = new_node()
    assert node.join([], 0.0) == [Joined(0)]
    effects = node.receive(Packet(id_bytes(A.id), 7, JoinRequest(None, 0)), A.address, 1.0)
    assert messages(effects, JoinReply) == [(A.address, JoinReply(None, True, ()))]
    assert node.neighbours.predecessor == A
    assert node.neighbours.successors.nodes == (A,)


def test_the_joiner_takes_the_place_before_whoever_answers() -> None:
    node = new_node()
    (request,) = node.join([A], 0.0)
    assert isinstance(request, Send)
    reply = Packet(id_bytes(B.id), request.packet.request_id, JoinReply(A, False, (A,)))
    effects = node.receive(reply, B.address, 0.3)
    assert Joined(2) in effects
    assert node.neighbours.predecessor == A
    assert node.neighbours.successors.nodes == (A, B), "500 -> (around) -> 100 -> 200"
    assert node.next_deadline() <= 0.3
    assert messages(node.tick(0.3), Stabilize)


def test_an_answer_nobody_waits_for_is_ignored() -> None:
    node = new_node()
    node.join([A], 0.0)
    assert not node.receive(Packet(id_bytes(B.id), 12345, JoinReply(A, False, ())), B.address, 0.3)
    assert node.joining.phase is Phase.JOINING
    assert node.counters["unexpected_responses"] == 1


@pytest.mark.parametrize(("join", "hinted"), [("aggressive", True), ("standard", False)])
def test_only_the_aggressive_join_changes_predecessors_at_once(join: JoinMode, hinted: bool) -> None:
    node = ring_of_two(ChordConfig(join=join))
    joiner = NodeRef(300, ("10.0.0.3", 1))
    effects = node.receive(Packet(id_bytes(300), 7, JoinRequest(None, 0)), joiner.address, 1.0)
    assert messages(effects, JoinReply) == [(joiner.address, JoinReply(A, False, (A, B)))]
    assert messages(effects, NewSuccessorHint) == ([(A.address, NewSuccessorHint(joiner))] if hinted else [])
    assert node.neighbours.predecessor == (joiner if hinted else A)


def test_a_joiner_whose_answer_was_lost_gets_another_but_no_second_hint() -> None:
    node = ring_of_two()
    address = ("10.0.0.3", 1)
    first = node.receive(Packet(id_bytes(300), 7, JoinRequest(None, 0)), address, 1.0)
    effects = node.receive(Packet(id_bytes(300), 8, JoinRequest(None, 0)), address, 6.0)
    assert messages(effects, JoinReply) == messages(first, JoinReply)
    assert messages(effects, JoinReply)[0][1].predecessor is not None
    assert not messages(effects, NewSuccessorHint)


def test_a_node_without_a_predecessor_lets_in_whom_others_pass_to_it() -> None:
    node, joiner = ring_of_two(), NodeRef(50, ("10.0.0.3", 1))
    node.neighbours.predecessor = None
    effects = node.receive(Packet(id_bytes(A.id), 7, JoinRequest(joiner, 1)), A.address, 1.0)
    assert [to for to, _ in messages(effects, JoinReply)] == [joiner.address]


def test_a_joiner_that_gets_joins_passed_asks_who_passes_them() -> None:
    node, passer = new_node(), NodeRef(900, ("10.0.0.9", 1))
    node.join([A], 0.0)
    joiner = NodeRef(50, ("10.0.0.3", 1))
    effects = node.receive(Packet(id_bytes(passer.id), 7, JoinRequest(joiner, 2)), passer.address, 1.0)
    assert [to for to, _ in messages(effects, JoinRequest)] == [passer.address]
    # Whoever else takes it for a part of the ring makes it ask that one again, not its contact.
    effects = node.receive(Packet(id_bytes(300), 8, Stabilize()), ("10.0.0.3", 1), 2.0)
    assert [to for to, _ in messages(effects, JoinRequest)] == [passer.address]


def test_an_answer_to_a_join_by_a_former_contact_is_as_good_as_one_to_the_last() -> None:
    node = new_node()
    (first,) = [effect.packet for effect in node.join([A], 0.0) if isinstance(effect, Send)]
    node.join([B], 5.0)
    node.receive(Packet(id_bytes(A.id), first.request_id, JoinReply(B, False, (B,))), A.address, 5.1)
    assert node.joined


def test_a_join_that_came_too_far_is_passed_back_to_the_predecessor() -> None:
    node = ring_of_two()
    joiner = NodeRef(50, ("10.0.0.3", 1))
    effects = node.receive(Packet(id_bytes(A.id), 7, JoinRequest(joiner, 1)), A.address, 1.0)
    assert messages(effects, JoinRequest) == [(A.address, JoinRequest(joiner, 2))]
    effects = node.receive(Packet(id_bytes(A.id), 7, JoinRequest(joiner, 64)), A.address, 1.0)
    assert not effects, "but not for ever"


@pytest.mark.parametrize(
    ("hops", "config", "to"),
    [
        (FAR_HOPS - 1, ChordConfig(), 490),
        (FAR_HOPS, ChordConfig(), 320),
        (FAR_HOPS, ChordConfig.thesis(), 490),
    ],
)
def test_a_join_that_came_much_too_far_goes_back_as_far_as_is_known(hops: int, config: ChordConfig, to: int) -> None:
    node = new_node(config=config)
    node.join([], 0.0)
    known = {identifier: NodeRef(identifier, ("10.0.1.1", identifier)) for identifier in (490, 400, 320, 300, 290)}
    # The joiner itself is known here, as one that is in is where it asks again: it is not asked for itself.
    node.neighbours.enter(known[290], (known[300], known[400]), known[490], 0.0)
    node.fingers.set(159, known[320])
    effects = node.receive(Packet(id_bytes(B.id), 7, JoinRequest(known[300], hops)), B.address, 1.0)
    assert messages(effects, JoinRequest) == [(known[to].address, JoinRequest(known[300], hops + 1))]


@pytest.mark.parametrize("phase", [Phase.NEW, Phase.LEFT])
def test_a_node_that_is_not_part_of_the_ring_lets_nobody_in(phase: Phase) -> None:
    node = new_node()
    node.joining.phase = phase
    assert not node.receive(Packet(id_bytes(300), 7, JoinRequest(None, 0)), ("10.0.0.3", 1), 0.1)
    assert node.counters["joins_dropped"] == 1


def joining_node(config: ChordConfig | None = None) -> tuple[ChordNode, Packet[JoinReply]]:
    """Node 500, and the answer to its JOIN: it comes between 100 and 200, going around."""
    node = new_node(config=config)
    (request,) = node.join([A], 0.0)
    assert isinstance(request, Send)
    return node, Packet(id_bytes(B.id), request.packet.request_id, JoinReply(A, False, (A,)))


def passed(joiner: NodeRef, hops: int = 2) -> Packet[JoinRequest]:
    return Packet(id_bytes(B.id), joiner.id, JoinRequest(joiner, hops))


INSIDE, FARTHER = NodeRef(300, ("10.0.0.3", 1)), NodeRef(50, ("10.0.0.4", 1))
"Joiners for whose places node 500 is responsible, and is not."


def test_a_join_passed_to_who_has_not_heard_yet_that_it_is_in_waits_until_it_has() -> None:
    node, reply = joining_node()
    for joiner in (INSIDE, FARTHER):
        assert not messages(node.receive(passed(joiner), B.address, 0.1), JoinReply)
    effects = node.receive(reply, B.address, 0.2)
    assert [to for to, _ in messages(effects, JoinReply)] == [INSIDE.address]
    assert node.neighbours.predecessor == INSIDE
    # Whom it is not responsible for it passes on, as one that is in does.
    assert messages(effects, JoinRequest) == [(INSIDE.address, JoinRequest(FARTHER, 3))]
    assert (node.counters["joins_held"], node.counters["joins_dropped"]) == (2, 0)


def test_a_join_also_waits_for_what_another_host_of_the_node_tells() -> None:
    node, _reply = joining_node()
    node.receive(passed(INSIDE), B.address, 0.1)
    node.neighbours.follow(A, (B,), 0.2)
    node.joining.follow(0.2)
    assert [to for to, _ in messages(node.collect(), JoinReply)] == [INSIDE.address]


def test_a_join_that_comes_twice_waits_once_and_one_that_its_joiner_has_sent_again_no_longer() -> None:
    node, reply = joining_node()
    node.receive(passed(INSIDE), B.address, 0.1)
    node.receive(passed(INSIDE, 3), B.address, 0.2)
    node.receive(passed(FARTHER), B.address, 1.0)
    effects = node.receive(reply, B.address, 5.5)
    assert not messages(effects, JoinReply)
    assert len(messages(effects, JoinRequest)) == 1


def test_no_more_joins_wait_than_can_be_kept() -> None:
    node, reply = joining_node()
    for number in range(HELD_MAX + 3):
        node.receive(passed(NodeRef(300 + number, ("10.0.0.3", number))), B.address, 0.1)
    assert node.counters["joins_dropped"] == 3
    assert len(messages(node.receive(reply, B.address, 0.2), JoinReply)) == HELD_MAX


def test_in_the_experiments_of_the_thesis_no_join_waits() -> None:
    node, reply = joining_node(ChordConfig.thesis())
    node.receive(passed(INSIDE), B.address, 0.1)
    assert not messages(node.receive(reply, B.address, 0.2), JoinReply)
    assert node.counters["joins_dropped"] == 1


def test_a_joiner_that_is_asked_as_if_it_had_joined_repeats_its_join_at_once() -> None:
    node = new_node()
    (first,) = node.join([A], 0.0)
    again = messages(node.receive(Packet(id_bytes(300), 7, Stabilize()), ("10.0.0.3", 1), 1.0), JoinRequest)
    assert again == [(A.address, JoinRequest(None, 0))]
    assert not messages(node.receive(Packet(id_bytes(300), 8, Stabilize()), ("10.0.0.3", 1), 1.2), JoinRequest)
    assert isinstance(first, Send)
    reply = Packet(id_bytes(B.id), first.packet.request_id, JoinReply(A, False, (A,)))
    assert Joined(2) in node.receive(reply, B.address, 1.3), "the answer to the first is as good"


def test_failed_joins_are_retried_and_then_another_contact_is_asked_for() -> None:
    node = new_node()
    sent = [*messages(node.join([A, B], 0.0), JoinRequest)]
    failed_at = []
    for second in range(1, 31):
        effects = node.tick(float(second)) if node.next_deadline() <= second else []
        sent += messages(effects, JoinRequest)
        failed_at += [second for effect in effects if isinstance(effect, JoinFailed)]
    assert [to for to, _ in sent] == [A.address, A.address, B.address, B.address, A.address, A.address, B.address]
    assert failed_at == [10, 20, 30]


def test_the_joiner_is_let_in_although_its_contact_has_died_when_it_knows_another() -> None:
    ring = Ring(1).grow(5)
    ring.add(5, entry=77)
    ring.network.run(6.0)
    node = ring.nodes[address_of(5)]
    ring.network.perform(address_of(5), node.join([NodeRef(0, address_of(3))], ring.network.now))
    ring.network.run(20.0)
    assert ring.closed()


@pytest.mark.parametrize("phase", Phase)
def test_who_is_told_that_another_host_is_in_is_in_without_a_word(phase: Phase) -> None:
    node = new_node()
    if phase is Phase.JOINING:
        assert node.join([A], 0.0)
    elif phase is not Phase.NEW:
        node.join([], 0.0)
    if phase is Phase.LEFT:
        node.leave()
    assert node.joining.phase is phase
    node.neighbours.follow(A, (B,), 1.0)
    node.joining.follow(1.0)
    assert node.collect() == []
    assert node.joined == (phase is not Phase.LEFT), "who has said goodbye stays away"
    assert node.joining.due_at == math.inf, "no join is repeated"


def test_who_is_told_neither_stabilises_nor_fixes_fingers_at_once_but_in_its_time() -> None:
    node = new_node()
    node.neighbours.follow(A, (B,), 1.0)
    node.joining.follow(1.0)
    node.set_timers()
    assert node.next_deadline() == pytest.approx(6.0), "a period of STABILIZE, after which it is on its own"
    (round_,) = messages(node.tick(6.0), Stabilize)
    assert round_[0] == B.address
