"""Two rings become one, whatever has parted them."""

import math
from typing import Any

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import FindSuccessor, JoinRequest, Notify, Packet, Refused, Step, Successors
from dhtboot.chord.node import ChordNode
from dhtboot.chord.reunion import ENTRIES_MAX, LOST_CHECK_S, LOST_MAX
from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef, id_bytes
from tests.dhtboot.chord.ring_network import Ring, address_of
from tests.dhtboot.memory_network import Network

LIVE = ChordConfig()
NEVER = ChordConfig(contact_check_s=0.0)
ME = 500
ENTRY = NodeRef(0, ("10.0.0.9", 9))


# ---- whole rings -----------------------------------------------------------------------------------------------------


def two_rings(seed: int, config: ChordConfig, asking: int, **network: Any) -> Ring:
    """Six nodes each, between each other on the circle; so many of the second ring were told of node 0 once."""
    ring = Ring(seed, config, codec=None, **network)
    for number in range(12):
        ring.add(number, entry=0 if number < 6 else 6)
        ring.network.run(1.0)
    ring.network.run(30.0)
    for number in range(6, 6 + asking):
        ring.nodes[address_of(number)].neighbours.reunion.remember_entries([NodeRef(0, address_of(0))], 0.0)
    return ring


def test_nobody_who_asks_inside_its_ring_only_ever_hears_of_the_other() -> None:
    ring = two_rings(1, NEVER, 6)
    first = {address_of(number) for number in range(6)}
    ring.network.run(3600.0)
    assert ring.closed(first)
    assert ring.closed(set(ring.nodes) - first)


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("asking", [1, 6])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_two_rings_become_one_when_nodes_of_one_were_told_of_the_other(
    seed: int, adaptive: bool, asking: int, loss: float
) -> None:
    ring = two_rings(seed, ChordConfig(adaptive=adaptive), asking)
    ring.network.loss = loss
    ring.network.run(300.0)
    ring.check_invariants()
    ring.network.loss = 0.0  # a live neighbour that loses three packets in a row is struck off for a while
    ring.network.run_until(ring.closed, limit_s=1500.0)
    assert ring.wrong(20) == 0, seed


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_halves_that_were_cut_off_until_each_took_the_other_for_dead_become_one_ring(
    seed: int, contiguous: bool
) -> None:
    ring = Ring(seed, LIVE, codec=None).grow(24, settle_s=60.0)
    ordered = sorted(ring.nodes, key=lambda address: ring.nodes[address].id)
    half = set(ordered[:12] if contiguous else ring.choose(12))
    others = set(ring.nodes) - half
    ring.network.cut(half, others)
    ring.network.loss = 0.1
    ring.network.run(3600.0)
    ring.check_invariants()
    ring.network.loss = 0.0
    ring.network.run_until(lambda: ring.closed(half) and ring.closed(others), limit_s=300.0)
    for address, node in ring.nodes.items():
        side = half if address in half else others
        known = (*node.neighbours.successors.nodes, *node.fingers.nodes)
        assert {each.address for each in known} <= side, "all others count as dead"
    ring.network.heal()
    ring.network.run_until(ring.closed, limit_s=600.0)
    ring.check_invariants()
    assert ring.wrong(20) == 0, seed


def test_more_deaths_than_are_remembered_do_not_drive_out_the_entry_points() -> None:
    ring = Ring(5, LIVE, codec=None).grow(24, settle_s=60.0)
    half = set(ring.choose(12, but=address_of(0)))
    others = set(ring.nodes) - half
    ring.network.cut(half, others)
    ring.network.run(600.0)
    for node in ring.nodes.values():
        for number in range(LOST_MAX):
            node.neighbours.reunion.remember_lost(NodeRef(number, (f"10.9.0.{number}", 1)), ring.network.now)
    ring.network.heal()
    ring.network.run_until(ring.closed, limit_s=2400.0)
    assert ring.wrong(20) == 0


def test_one_that_has_lost_all_and_its_entry_point_joins_through_a_lost_neighbour() -> None:
    ring = Ring(6, LIVE, codec=None).grow(6, settle_s=60.0)
    (alone,) = ring.choose(1, but=address_of(0))
    ring.network.cut([alone], [address for address in ring.nodes if address != alone])
    ring.network.run(300.0)
    assert not ring.nodes[alone].joined
    ring.kill([address_of(0)])
    ring.network.heal()
    ring.network.run_until(ring.closed, limit_s=300.0)


def test_questions_become_rare_where_all_agree() -> None:
    ring = Ring(7, LIVE, codec=None).grow(10, settle_s=0.0)
    began: list[float] = []

    def watch(_source: Address, to: Address, packet: Any, _size: int) -> None:
        own = type(packet.message) is FindSuccessor and packet.message.target == packet.sender
        if own and to == address_of(0):
            began.append(ring.network.now)

    ring.network.observers.append(watch)
    ring.network.run(7200.0)
    assert ring.closed()
    late = [at for at in began if at > 3600.0]
    assert len(late) <= 9 * 3600.0 / LIVE.contact_quiet_s + 9, "nine nodes were told of node 0"
    assert late, "but they never end"


# ---- one node --------------------------------------------------------------------------------------------------------


def ref(identifier: int) -> NodeRef:
    return NodeRef(identifier, ("10.0.0.1", identifier))


def asking_node(config: ChordConfig = LIVE) -> tuple[ChordNode, Send]:
    """Node 500 between 100 and 900, and its question to the entry point."""
    node = ChordNode(ME, config, Network(1).rng("reunion"), 0.0)
    node.join([ENTRY], 0.0)
    node.neighbours.enter(ref(900), (ref(950),), ref(100), 0.0)
    node.joining.follow(0.0)
    node.neighbours.due_at = math.inf
    node.collect()
    node.neighbours.reunion.tick(100.0)
    return node, only(node.collect(), FindSuccessor)


def sends(effects: list[Effect], kind: type) -> list[Send]:
    return [e for e in effects if isinstance(e, Send) and type(e.packet.message) is kind]


def only(effects: list[Effect], kind: type) -> Send:
    (found,) = sends(effects, kind)
    return found


def answer(node: ChordNode, sent: Send, sender: int, message: object) -> list[Effect]:
    packet = Packet(id_bytes(sender), sent.packet.request_id, message)  # type: ignore[arg-type]
    return node.receive(packet, sent.to, 100.1)


def test_the_entry_point_is_asked_for_our_own_identifier() -> None:
    _node, asked = asking_node()
    assert asked.to == ENTRY.address
    assert asked.packet.message == FindSuccessor(id_bytes(ME))


def test_the_experiments_of_the_thesis_ask_nobody() -> None:
    node = ChordNode(ME, ChordConfig.thesis("standard"), Network(1).rng("reunion"), 0.0)
    node.join([ENTRY], 0.0)
    node.collect()
    node.neighbours.reunion.tick(1e6)
    assert node.collect() == []


def test_a_question_goes_on_to_nearer_nodes_and_never_back() -> None:
    node, asked = asking_node()
    closer = only(answer(node, asked, 200, Successors((ref(300),), Step.HOPS)), FindSuccessor)
    assert closer.to == ref(300).address
    assert answer(node, closer, 300, Successors((ref(250),), Step.HOPS)) == []


def test_a_nearer_successor_is_taken_only_when_it_has_answered_itself() -> None:
    node, asked = asking_node()
    confirm = only(answer(node, asked, 200, Successors((ref(700), ref(900)), Step.SUCCESSORS)), FindSuccessor)
    assert confirm.to == ref(700).address
    assert node.neighbours.successors.first == ref(900)
    answer(node, confirm, 700, Successors((ref(900),), Step.MINE))
    assert node.neighbours.successors.first == ref(700)
    assert node.neighbours.due_at <= 100.1, "STABILIZE at once"


def test_a_ring_whose_nearest_node_is_farther_than_our_successor_is_told_of_us() -> None:
    node, asked = asking_node()
    confirm = only(answer(node, asked, 200, Successors((ref(920),), Step.SUCCESSORS)), FindSuccessor)
    told = only(answer(node, confirm, 920, Successors((), Step.MINE)), Notify)
    assert told.to == ref(920).address
    assert node.neighbours.successors.first == ref(900)


@pytest.mark.parametrize(
    "message",
    [
        Successors((ref(ME), ref(900)), Step.SUCCESSORS),
        Successors((ref(900),), Step.SUCCESSORS),
        Successors((), Step.HOPS),
        Refused(),
    ],
)
def test_who_agrees_or_knows_nothing_ends_the_question(message: object) -> None:
    node, asked = asking_node()
    assert answer(node, asked, 200, message) == []
    assert node.neighbours.successors.first == ref(900)


@pytest.mark.parametrize("identifier", [700, 920])
def test_an_answer_that_comes_after_the_goodbye_brings_nobody_back(identifier: int) -> None:
    node, asked = asking_node()
    node.leave()
    node.collect()
    assert answer(node, asked, identifier, Successors((ref(930),), Step.MINE)) == []
    assert node.neighbours.alone
    assert node.neighbours.due_at == math.inf


def test_a_lost_neighbour_stays_lost_until_its_ring_is_ours() -> None:
    node, _asked = asking_node()
    reunion = node.neighbours.reunion
    reunion.remember_lost(ref(920), 100.0)
    reunion.tick(100.0 + LOST_CHECK_S)
    (asked,) = [sent for sent in sends(node.collect(), FindSuccessor) if sent.to == ref(920).address]
    assert only(answer(node, asked, 920, Successors((), Step.MINE)), Notify).to == ref(920).address
    assert reunion.lost == (ref(920),)
    reunion.tick(100.0 + 2 * LOST_CHECK_S)
    (asked,) = [sent for sent in sends(node.collect(), FindSuccessor) if sent.to == ref(920).address]
    answer(node, asked, 920, Successors((ref(ME),), Step.SUCCESSORS))
    assert reunion.lost == ()


def test_what_is_remembered_is_bounded() -> None:
    node, _asked = asking_node()
    reunion = node.neighbours.reunion
    for number in range(100):
        reunion.remember_lost(ref(1000 + number), 0.0)
        reunion.remember_entries([NodeRef(0, (f"10.1.0.{number}", 1)), ENTRY], 0.0)
    assert [lost.id for lost in reunion.lost] == list(range(1100 - LOST_MAX, 1100))
    assert len(reunion.former) == LOST_MAX + ENTRIES_MAX
    assert ENTRY in reunion.former, "the newest"


def test_an_isolated_node_tries_entry_points_first_and_then_whom_it_has_lost() -> None:
    node = ChordNode(ME, LIVE, Network(1).rng("reunion"), 0.0)
    node.join([ENTRY], 0.0)
    node.neighbours.enter(ref(900), (), None, 0.0)
    node.joining.follow(0.0)
    node.collect()
    node.neighbours.on_dead(ref(900), 1.0)
    to = [sent.to for sent in sends(node.collect(), JoinRequest)]
    for second in range(2, 17):
        to += [sent.to for sent in sends(node.tick(float(second)), JoinRequest)]
    assert to == [ENTRY.address, ENTRY.address, ref(900).address, ref(900).address]
