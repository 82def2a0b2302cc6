"""A ring of Chord nodes on the memory network, and what must hold in it."""

from bisect import bisect_left
from collections.abc import Container
from typing import Any

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.join import Phase
from dhtboot.chord.messages import Packet
from dhtboot.chord.node import ChordNode
from dhtboot.chord.outcome import Outcome
from dhtboot.chord.ring import clockwise
from dhtboot.effects import Effect, Joined
from dhtboot.ids import Address, NodeRef, random_id
from dhtboot.wire import Codec
from tests.dhtboot.memory_network import Network

CODEC: Codec[Any] = Codec(Packet[str], network="test")


def address_of(number: int) -> Address:
    return f"10.0.{number >> 8}.{number & 255}", 4000


class Ring:
    """Nodes numbered from 0, each joining through node 0 unless told otherwise."""

    def __init__(self, seed: int, config: ChordConfig | None = None, **network: Any) -> None:
        self.config = config or ChordConfig()
        self.network = Network(seed, **{"codec": CODEC, **network})
        self.nodes: dict[Address, ChordNode] = {}
        self.joined: dict[Address, float] = {}
        self.chance = self.network.rng("test")

    def add(self, number: int, *, entry: int = 0, identifier: int | None = None) -> ChordNode:
        address = address_of(number)
        rng = self.network.rng((number, self.network.now))
        drawn = random_id(rng)
        node = ChordNode(drawn if identifier is None else identifier, self.config, rng, self.network.now)
        self.nodes[address] = node

        def on_event(event: Effect) -> None:
            if isinstance(event, Joined):
                self.joined.setdefault(address, self.network.now)

        self.network.add(node, address, on_event=on_event)
        contacts = [NodeRef(0, address_of(entry))] if number != entry else []
        self.network.perform(address, node.join(contacts, self.network.now))
        return node

    def grow(self, count: int, *, every_s: float = 0.05, settle_s: float = 20.0) -> "Ring":
        for number in range(count):
            self.add(number)
            self.network.run(every_s)
        self.network.run_until(lambda: len(self.joined) == count, limit_s=600.0)
        self.network.run(settle_s)
        return self

    def kill(self, addresses: list[Address]) -> None:
        for address in addresses:
            self.network.kill(address)
            del self.nodes[address]

    def choose(self, count: int, *, but: Address | None = None) -> list[Address]:
        return self.chance.sample([address for address in self.nodes if address != but], count)

    def lookup(self, source: Address, target: int) -> Outcome:
        outcomes: list[Outcome] = []
        node = self.nodes[source]
        node.lookup(target, self.network.now, on_done=lambda outcome, _now: outcomes.append(outcome))
        self.network.perform(source, node.collect())
        self.network.run_until(lambda: outcomes, 60.0)
        return outcomes[0]

    def owner(self, target: int) -> int:
        """Identifier of the node that is responsible, seen from above."""
        identifiers = sorted(node.id for node in self.nodes.values())
        return identifiers[bisect_left(identifiers, target) % len(identifiers)]

    def right(self, source: Address, target: int) -> bool:
        outcome = self.lookup(source, target)
        found = self.nodes[source].id if outcome.mine else outcome.closest[0].id if outcome.closest else None
        return found == self.owner(target)

    def wrong(self, count: int) -> int:
        """How many of some random lookups did not find the globally right node."""
        return sum(not self.right(self.chance.choice(list(self.nodes)), random_id(self.chance)) for _ in range(count))

    def closed(self, among: Container[Address] | None = None) -> bool:
        """Whether successors and predecessors are those of one ring of all nodes, or of all among these."""
        nodes = [node for address, node in self.nodes.items() if among is None or address in among]
        ordered = sorted(nodes, key=lambda node: node.id)
        for node, following in zip(ordered, ordered[1:] + ordered[:1], strict=True):
            first, before = node.neighbours.successors.first, following.neighbours.predecessor
            if len(ordered) > 1 and (
                first is None or first.id != following.id or before is None or before.id != node.id
            ):
                return False
        return True

    def owners(self, target: int) -> int:
        """How many nodes believe that a key is their own."""
        return sum(node.is_responsible(target) for node in self.nodes.values())

    def check_invariants(self) -> None:
        """What holds at every moment in every node."""
        for node in self.nodes.values():
            distances = [clockwise(node.id, other.id) for other in node.neighbours.successors.nodes]
            assert distances == sorted(set(distances)), self.network.seed
            assert 0 not in distances
            assert len(distances) <= self.config.successors
            assert node.joined == (node.joining.phase is Phase.JOINED)
            assert node.neighbours.predecessor is None or distances
