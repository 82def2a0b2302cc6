import itertools
import math

import pytest

from dhtboot.effects import Effect, Joined, JoinFailed, Send
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import TRANSITIONS, JoinAction, JoinInput, Phase
from dhtboot.kademlia.messages import FindNode, Nodes, Packet, Ping, Pong
from dhtboot.kademlia.node import KademliaNode
from dhtboot.rtt import TimeoutConfig
from tests.dhtboot.memory_network import Network

ENTRY = NodeRef(0, ("10.0.0.9", 1))
OTHER = NodeRef(99, ("10.0.0.8", 1))


def new_node(phase: Phase) -> KademliaNode:
    node = KademliaNode(5, KademliaConfig(), Network(1).rng("join"), 0.0)
    node.joining.entries = (ENTRY,)
    node.joining.phase = phase
    return node


def action_of(effects: list[Effect]) -> JoinAction:
    """Which action the effects of one step show."""
    match effects:
        case [Send(packet=Packet(message=Ping()))]:
            return JoinAction.CONTACT
        case [Joined()]:
            return JoinAction.REPORT
        case [JoinFailed(retry_in_s=5.0)]:
            return JoinAction.RETRY_LATER
        case [Send(packet=Packet(message=FindNode()))]:
            return JoinAction.LOOK_UP
        case []:
            return JoinAction.NONE
    raise AssertionError(effects)


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, JoinInput)))
def test_every_pair_does_what_the_table_says_and_an_unlisted_one_nothing(phase: Phase, event: JoinInput) -> None:
    node = new_node(phase)
    node.table.add(OTHER, 0.0)  # for the lookup to have somebody to ask
    node.joining.on_input(event, 0.0)
    after, action = TRANSITIONS.get((phase, event), (phase, JoinAction.NONE))
    assert node.phase is after
    assert action_of(node.collect()) is action


def test_every_phase_can_be_reached_and_left() -> None:
    assert {phase for phase, _event in TRANSITIONS} == set(Phase)
    assert {after for after, _action in TRANSITIONS.values()} == set(Phase) - {Phase.NEW}
    assert {event for _phase, event in TRANSITIONS} == set(JoinInput)
    assert {action for _after, action in TRANSITIONS.values()} | {JoinAction.NONE} == set(JoinAction)


def test_a_lone_node_is_joined_at_once() -> None:
    node = new_node(Phase.NEW)
    assert node.join([], 0.0) == [Joined(0)]


def test_a_node_that_has_joined_is_woken_in_time_to_look_itself_up_again() -> None:
    patient = TimeoutConfig(initial_s=9.0, min_s=9.0, max_s=9.0)  # no request is due before
    node = KademliaNode(5, KademliaConfig(timeouts=patient), Network(1).rng("join"), 0.0)
    (find,) = node.join([NodeRef(7, ENTRY.address)], 0.0)
    assert isinstance(find, Send)
    node.receive(Packet(id_bytes(7), find.packet.request_id, Nodes(())), ENTRY.address, 0.1)
    assert node.phase is Phase.JOINED
    assert 4.6 <= node.upkeep.due_at <= 5.6
    assert node.next_deadline() == node.upkeep.due_at


def test_a_joiner_contacts_looks_up_and_reports() -> None:
    node = new_node(Phase.NEW)
    (ping,) = node.join([ENTRY], 0.0)
    assert isinstance(ping, Send)
    assert ping.to == ENTRY.address
    assert node.phase is Phase.CONTACTING
    pong = Packet(id_bytes(7), ping.packet.request_id, Pong())
    (find,) = node.receive(pong, ENTRY.address, 0.1)
    assert isinstance(find, Send)
    assert find.packet.message == FindNode(id_bytes(5))
    assert node.phase is Phase.LOOKING_UP
    effects = node.receive(Packet(id_bytes(7), find.packet.request_id, Nodes(())), ENTRY.address, 0.2)
    assert Joined(1) in effects
    assert node.phase is Phase.JOINED


def test_a_joiner_nobody_answers_tries_again_for_ever() -> None:
    network = Network(1)
    node = KademliaNode(5, KademliaConfig(), network.rng("join"), 0.0)
    events: list[Effect] = []
    network.add(node, ("10.0.0.1", 1), on_event=events.append)
    network.perform(("10.0.0.1", 1), node.join([ENTRY], 0.0))
    network.run(60.0)
    assert set(events) == {JoinFailed(5.0)}
    assert 5 <= len(events) <= 12
    assert network.counters["sent"] <= 3 * len(events) + 6


def test_a_node_that_lost_everybody_seeks_its_entry_points_again() -> None:
    node = new_node(Phase.JOINED)
    node.table.add(OTHER, 0.0)
    node.on_dead(OTHER, 1.0)
    assert node.collect() == [JoinFailed(5.0)]
    assert node.phase is Phase.WAITING
    assert node.next_deadline() <= 6.0
    assert action_of([e for e in node.tick(6.0) if isinstance(e, Send) and e.to == ENTRY.address]) is JoinAction.CONTACT


@pytest.mark.parametrize("phase", Phase)
def test_who_is_told_that_another_host_is_in_is_in_without_a_word(phase: Phase) -> None:
    node = new_node(phase)
    node.joining.retry_at = 5.0
    node.joining.follow(1.0)
    assert node.collect() == []
    assert node.phase is Phase.JOINED
    assert node.joining.retry_at == math.inf
    node.joining.tick(5.0)
    assert node.collect() == [], "no entry point is sought any more"
