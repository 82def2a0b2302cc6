import math
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot import shared
from dhtboot.chord import messages as chord
from dhtboot.chord.config import ChordConfig
from dhtboot.chord.node import ChordNode
from dhtboot.chord.ring import clockwise
from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef
from dhtboot.kademlia import messages as kademlia
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import Phase
from dhtboot.kademlia.node import KademliaNode
from dhtboot.overlay import Located, OverlayConfig, locate, make_node
from tests.dhtboot.strategies import ids

ME = 1 << 159
MOST = 9
CHORD, KADEMLIA = ChordConfig(), KademliaConfig()
OVERLAYS = [pytest.param(CHORD, id="chord"), pytest.param(KADEMLIA, id="kademlia")]

others = st.sets(ids.filter(lambda identifier: identifier != ME), max_size=12)


def address_of(identifier: int) -> Address:
    return (f"10.0.{identifier % 250}.1", 1 + identifier % 65_535)


def ref(identifier: int) -> NodeRef:
    return NodeRef(identifier, address_of(identifier))


def chord_core() -> ChordNode:
    return ChordNode(ME, shared.without_rounds(CHORD), Random(1), 0.0)  # type: ignore[arg-type]


def kademlia_core(config: KademliaConfig = KADEMLIA) -> KademliaNode:
    return KademliaNode(ME, shared.without_rounds(config), Random(1), 0.0)  # type: ignore[arg-type]


def chord_with(known: set[int], predecessor: int | None) -> ChordNode:
    """A core of the ring that is between these already."""
    core = chord_core()
    core.join([], 0.0)
    for identifier in known:
        core.neighbours.successors.add(ref(identifier))
    core.neighbours.predecessor = None if predecessor is None else ref(predecessor)
    core.collect()
    return core


def kademlia_with(known: set[int]) -> KademliaNode:
    core = kademlia_core()
    for identifier in known:
        core.siblings.add(ref(identifier))
        core.table.add(ref(identifier), 0.0)
    return core


def sent(effects: list[Effect]) -> dict[type, list[Address]]:
    found: dict[type, list[Address]] = {}
    for effect in effects:
        assert isinstance(effect, Send)
        found.setdefault(type(effect.packet.message), []).append(effect.to)
    return found


# ---- follow ----------------------------------------------------------------------------------------------------------


@given(others, st.none() | ids.filter(lambda identifier: identifier != ME), others, st.booleans())
def test_a_core_of_chord_that_follows_has_the_neighbours_that_it_was_told(
    theirs: set[int], predecessor: int | None, mine: set[int], begins: bool
) -> None:
    told = shared.neighbours(chord_with(theirs, predecessor), MOST)
    core = chord_core() if begins else chord_with(mine, min(mine, default=None))
    assert shared.follow(core, told, [], 1.0) == []
    assert shared.neighbours(core, MOST) == told
    assert core.joined


@given(others, others)
def test_a_core_of_kademlia_that_follows_has_those_it_was_told_and_beyond_them_what_it_knows(
    theirs: set[int], mine: set[int]
) -> None:
    told = shared.neighbours(kademlia_with(theirs), MOST)
    core = kademlia_with(mine)
    assert shared.follow(core, told, [], 1.0) == []
    found = shared.neighbours(core, MOST)
    assert found[: len(told)] == told
    farthest = max([node.id ^ ME for node in told], default=-1)
    assert {node.id for node in found[len(told) :]} <= {one for one in mine if one ^ ME > farthest}
    assert core.phase is Phase.JOINED
    fresh = kademlia_core()
    shared.follow(fresh, told, [], 1.0)
    assert shared.neighbours(fresh, MOST) == told


def test_an_unknown_predecessor_is_told_as_the_node_itself() -> None:
    core = chord_with({ME + 5}, None)
    assert [node.id for node in shared.neighbours(core, MOST)] == [ME, ME + 5]
    assert shared.neighbours(chord_with(set(), None), MOST) == []
    other = chord_with({ME + 7}, ME - 7)
    shared.follow(other, shared.neighbours(core, MOST), [], 1.0)
    assert other.neighbours.predecessor is None
    assert other.neighbours.successors.nodes == (ref(ME + 5),)


def test_only_on_a_circle_is_there_a_node_before_this_one() -> None:
    assert shared.predecessor(chord_with({ME + 5}, ME - 7)) == ref(ME - 7)
    assert shared.predecessor(chord_with({ME + 5}, None)) is None
    assert shared.predecessor(kademlia_with({ME + 5})) is None


def test_no_more_neighbours_are_told_than_asked_for() -> None:
    assert len(shared.neighbours(chord_with(set(range(1, 9)), 9), 4)) == 4
    assert len(shared.neighbours(kademlia_with(set(range(1, 9))), 4)) == 4


@given(st.integers(1, 48), st.integers(0, 1 << 32))
def test_a_host_that_begins_has_the_fingers_of_the_one_that_tells(size: int, seed: int) -> None:
    rng = Random(seed)  # evenly, as real identifiers are: else all would be successors
    nodes = sorted([rng.getrandbits(160) for _ in range(size)], key=lambda identifier: clockwise(ME, identifier))
    teller = chord_with(set(nodes), nodes[-1])
    for index in teller.fingers.wanted(ref(nodes[0])):
        start = teller.fingers.start(index)
        first = min([*nodes, ME], key=lambda identifier: clockwise(start, identifier))
        teller.fingers.set(index, None if first == ME else ref(first))
    core = chord_core()
    shared.follow(core, shared.neighbours(teller, MOST), teller.fingers.nodes, 1.0)
    assert core.fingers.nodes == teller.fingers.nodes
    for index in range(160):
        assert core.fingers.get(index) == teller.fingers.get(index)


def test_a_host_that_is_in_keeps_its_own_fingers() -> None:
    core = chord_with({ME + 5}, None)
    core.fingers.set(159, ref(7))
    shared.follow(core, [ref(ME - 1), ref(ME + 6)], [ref(3)], 1.0)
    assert core.fingers.nodes == [ref(7)]
    assert core.neighbours.successors.first == ref(ME + 6)


@pytest.mark.parametrize("config", OVERLAYS)
def test_a_join_under_way_is_given_up_for_what_a_sibling_tells(config: OverlayConfig) -> None:
    core = make_node(ME, shared.without_rounds(config), Random(1), 0.0, None)
    assert sent(core.join([ref(3)], 0.0))
    assert shared.follow(core, [ref(ME - 1), ref(ME + 1)], [], 0.1) == []
    for second in range(1, 8):  # the time in which a join is tried again
        assert chord.JoinRequest not in sent(core.tick(float(second)))
    assert core.joining.phase.value == "joined"


def test_a_told_neighbour_is_named_to_others_even_where_its_bucket_is_full() -> None:
    core = kademlia_core(KademliaConfig(k=1, siblings=4))
    far = [ref(1), ref(2), ref(3)]  # of one bucket of the half that is not this node's
    shared.follow(core, far, [], 1.0)
    assert len(core.table) == 1
    assert core.closest(0, 3) == far
    assert core.is_responsible(ME)


def test_what_else_a_sibling_knows_is_in_the_table_of_one_that_begins() -> None:
    core = kademlia_core()
    shared.follow(core, [ref(ME + 1)], [ref(1), ref(2)], 1.0)
    assert set(core.contacts) == {ref(ME + 1), ref(1), ref(2)}
    assert core.neighbours == [ref(ME + 1)], "and no neighbour until another host has found it to be one"


# ---- rounds ----------------------------------------------------------------------------------------------------------


def test_only_rounds_are_taken_away() -> None:
    assert shared.round_s(CHORD) == 5.0
    assert shared.round_s(KADEMLIA) == KADEMLIA.sibling_check_s
    core = chord_core()
    shared.follow(core, [ref(ME - 1), ref(ME + 1)], [], 1.0)
    assert core.neighbours.due_at == math.inf
    assert core.next_deadline() == pytest.approx(1.0 + CHORD.fix_fingers_max_s), "fingers are each host's own"
    other = kademlia_core()
    shared.follow(other, [ref(ME - 1), ref(ME + 1)], [], 1.0)
    assert other.next_deadline() == pytest.approx(KADEMLIA.refresh_interval_s), "buckets are each host's own"


def test_a_round_of_chord_sees_after_successor_and_predecessor_and_leaves_no_other_round() -> None:
    core = chord_core()
    shared.follow(core, [ref(ME - 1), ref(ME + 1), ref(ME + 2)], [], 1.0)
    for now in (1.0, 6.0):
        asked = sent(shared.maintain(core, now))
        assert asked == {chord.Stabilize: [address_of(ME + 1)], chord.Ping: [address_of(ME - 1)]}
    assert core.neighbours.due_at == math.inf


def test_a_round_of_kademlia_sees_after_one_neighbour_and_one_absent_contact_at_a_time() -> None:
    core = kademlia_core()
    shared.follow(core, [ref(ME + 1), ref(ME + 2)], [], 1.0)
    core.joining.remember_lost(ref(77))
    asked = [sent(shared.maintain(core, 1.0 + 5.0 * turn)) for turn in range(2)]
    assert [set(one) for one in asked] == [{kademlia.Ping}] * 2
    assert sorted([to for one in asked for to in one[kademlia.Ping]]) == sorted(
        [address_of(ME + 1), address_of(ME + 2), address_of(77)]
    ), "no second ping while one is under way"


# ---- give up ---------------------------------------------------------------------------------------------------------


def test_who_is_given_up_is_a_neighbour_no_more_and_the_next_one_is_asked_at_once() -> None:
    core = chord_core()
    shared.follow(core, [ref(ME - 1), ref(ME + 1), ref(ME + 2)], [], 1.0)
    effects = shared.maintain(core, 1.0)
    (request,) = [one for one in effects if isinstance(one, Send) and one.to == address_of(ME + 1)]
    shared.give_up(core, request.packet.request_id, 1.5)
    assert shared.neighbours(core, MOST) == [ref(ME - 1), ref(ME + 2)]
    assert core.next_deadline() <= 1.5
    assert sent(core.tick(1.5))[chord.Stabilize] == [address_of(ME + 2)]
    assert core.counters["timeouts"] == 1


def test_a_contact_that_is_given_up_leaves_the_tables_of_kademlia() -> None:
    core = kademlia_core()
    shared.follow(core, [ref(ME + 1), ref(ME + 2)], [], 1.0)
    (request,) = shared.maintain(core, 1.0)
    assert isinstance(request, Send)
    shared.give_up(core, request.packet.request_id, 1.5)
    (left,) = core.neighbours
    assert left.address != request.to
    assert core.contacts == [left]


@pytest.mark.parametrize("config", OVERLAYS)
def test_a_request_that_nobody_waits_for_is_not_given_up(config: OverlayConfig) -> None:
    core = make_node(ME, shared.without_rounds(config), Random(1), 0.0, None)
    shared.follow(core, [ref(ME - 1), ref(ME + 1)], [], 1.0)
    assert shared.give_up(core, 12345, 2.0) == []
    assert set(shared.neighbours(core, MOST)) == {ref(ME - 1), ref(ME + 1)}
    assert core.counters["timeouts"] == 0


# ---- a core that is given up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lookup", ["iterative", "recursive"])
def test_lookups_of_an_abandoned_ring_fail_at_once(lookup: Literal["iterative", "recursive"]) -> None:
    core = ChordNode(ME, ChordConfig(lookup=lookup), Random(1), 0.0)
    shared.follow(core, [ref(number) for number in (1, 2, 3)], [], 0.0)
    outcomes: list[Located] = []
    locate(core, ME + 5, 8, 1.0, lambda found, _now: outcomes.append(found))
    assert outcomes == []
    core.abandon(2.0)
    assert [found.nodes for found in outcomes] == [()]
    assert len(core.rpc) == 0


def test_lookups_and_pings_of_an_abandoned_overlay_end_at_once() -> None:
    core = KademliaNode(ME, KademliaConfig(pending_max=4), Random(1), 0.0)
    shared.follow(core, [ref(number) for number in range(1, 9)], [], 0.0)
    outcomes: list[Located] = []
    for target in (5, 6):
        locate(core, target, 8, 1.0, lambda found, _now: outcomes.append(found))
    assert outcomes == []
    core.abandon(2.0)
    assert [[node.id for node in found.nodes] for found in outcomes] == [[ME], [ME]]
    assert len(core.rpc) == 0
