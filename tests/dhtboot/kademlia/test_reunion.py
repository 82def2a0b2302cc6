"""Two overlays become one, whatever has parted them."""

from dataclasses import dataclass, field

import pytest

from dhtboot.ids import Address, NodeRef
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import CONTACTS_MAX
from dhtboot.kademlia.node import KademliaNode
from tests.dhtboot.kademlia.overlay import Overlay, address_of
from tests.dhtboot.memory_network import Network

ENTRY = NodeRef(0, ("10.9.0.0", 1))


def told(number: int) -> NodeRef:
    return NodeRef(number, (f"10.9.{number >> 8}.{number & 255}", 1))


@dataclass
class Cut:
    """Two halves, and what happens in each of them alone."""

    overlay: Overlay
    half: set[Address] = field(default_factory=set)
    others: set[Address] = field(default_factory=set)

    def begin(self) -> None:
        self.half = set(self.overlay.choose(len(self.overlay.nodes) // 2))
        self.others = set(self.overlay.nodes) - self.half
        self.overlay.network.cut(self.half, self.others)

    def replace_one_in_each(self, number: int) -> None:
        """One dies, and one comes in that knows nobody of the other half."""
        overlay = self.overlay
        for offset, side in enumerate((self.half, self.others)):
            other_side = self.others if side is self.half else self.half
            living = sorted(side & set(overlay.nodes) - {address_of(0)})
            dies, entry = overlay.network.rng(number + offset).sample(living, 2)
            overlay.kill([dies])
            overlay.network.cut([address_of(number + offset)], set(other_side))
            side.add(address_of(number + offset))
            overlay.network.cut([address_of(number + offset)], set(other_side))
            overlay.add(number + offset, entries=[entry])


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(2))
def test_halves_that_took_each_other_for_dead_know_their_neighbours_within_a_minute(seed: int, loss: float) -> None:
    overlay = Overlay(seed, codec=None).grow(32, settle_s=60.0)
    cut = Cut(overlay)
    cut.begin()
    overlay.network.loss = loss
    overlay.network.run(1800.0)
    for address, node in overlay.nodes.items():
        side = cut.half if address in cut.half else cut.others
        assert {sibling.address for sibling in node.neighbours} <= side, "all others count as dead"
    overlay.network.loss = 0.0
    overlay.network.heal()
    overlay.network.run(60.0)
    overlay.check_invariants()
    for address, node in overlay.nodes.items():
        assert [sibling.id for sibling in node.neighbours][:8] == overlay.closest(address, node.id)[:8], seed


@pytest.mark.parametrize("seed", range(2))
def test_halves_find_each_other_although_more_have_died_meanwhile_than_are_remembered(seed: int) -> None:
    overlay = Overlay(seed, codec=None).grow(40, settle_s=60.0)
    cut = Cut(overlay)
    cut.begin()
    for turn in range(40):
        overlay.network.run(150.0)
        cut.replace_one_in_each(40 + 2 * turn)
    overlay.network.run(150.0)
    overlay.network.heal()
    overlay.network.run(300.0)
    overlay.check_invariants()
    assert overlay.wrong(60) == 0, seed


@pytest.mark.parametrize("seed", range(4))
def test_one_node_that_was_told_of_another_overlay_is_enough(seed: int) -> None:
    overlay = Overlay(seed, codec=None)
    for number in range(24):
        overlay.add(number, entries=[address_of(number // 12 * 12)] if number % 12 else [])
        overlay.network.run(1.0)
    overlay.network.run(100.0)
    overlay.nodes[address_of(20)].joining.remember_entry(NodeRef(0, address_of(0)))
    assert overlay.wrong(40) > 0
    overlay.network.run(60.0)
    assert overlay.wrong(40) <= 2, "it is the bridge"
    overlay.network.run(KademliaConfig().refresh_interval_s + 200.0)
    assert overlay.wrong(40) == 0, "the others meet when they refresh their buckets"


def test_lost_siblings_without_end_do_not_drive_out_the_entry_points() -> None:
    node = KademliaNode(5, KademliaConfig(), Network(1).rng("reunion"), 0.0)
    node.join([ENTRY], 0.0)
    for number in range(1, 1000):
        node.joining.remember_lost(told(number))
    assert node.joining.entries == (ENTRY,)
    assert [lost.address for lost in node.joining.lost] == [told(n).address for n in range(1000 - CONTACTS_MAX, 1000)]


def test_entry_points_and_lost_siblings_are_sought_in_turns() -> None:
    network = Network(1)
    node = KademliaNode(5, KademliaConfig(), network.rng("reunion"), 0.0)
    node.join([ENTRY], 0.0)
    node.joining.follow(0.0)
    for number in range(1, 21):
        node.joining.remember_lost(told(number))
    sought: list[Address] = []
    network.add(node, ("10.0.0.1", 1))
    network.observers.append(lambda _source, to, _packet, _size: sought.append(to))
    network.run(600.0)
    assert 6 <= sum(to == ENTRY.address for to in sought) / node._config.attempts <= 12, "of 20 questions"
