"""A Kademlia overlay on the memory network, and what must hold in it."""

from typing import Any

from dhtboot.effects import Effect, Joined
from dhtboot.ids import Address, NodeRef, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import Phase
from dhtboot.kademlia.messages import Packet
from dhtboot.kademlia.node import KademliaNode
from dhtboot.lookup import LookupResult
from dhtboot.wire import Codec
from tests.dhtboot.memory_network import Network

CODEC: Codec[Any] = Codec(Packet[str, str, str], network="test")


def address_of(number: int) -> Address:
    return f"10.0.{number >> 8}.{number & 255}", 4000


class Overlay:
    """Nodes numbered from 0, each joining through node 0 unless told otherwise."""

    def __init__(self, seed: int, config: KademliaConfig | None = None, **network: Any) -> None:
        self.config = config or KademliaConfig()
        self.network = Network(seed, **{"codec": CODEC, **network})
        self.nodes: dict[Address, KademliaNode] = {}
        self.joined: dict[Address, float] = {}
        self._chance = self.network.rng("test")

    def add(self, number: int, *, entries: list[Address] | None = None, identifier: int | None = None) -> KademliaNode:
        address = address_of(number)
        rng = self.network.rng((number, self.network.now))
        drawn = random_id(rng)
        node = KademliaNode(drawn if identifier is None else identifier, self.config, rng, self.network.now)
        self.nodes[address] = node

        def on_event(event: Effect) -> None:
            if isinstance(event, Joined):
                self.joined.setdefault(address, self.network.now)

        self.network.add(node, address, on_event=on_event)
        if entries is None:
            entries = [address_of(0)] if number else []
        contacts = [NodeRef(0, entry) for entry in entries]
        self.network.perform(address, node.join(contacts, self.network.now))
        return node

    def grow(self, count: int, *, every_s: float = 0.02, settle_s: float = 10.0) -> "Overlay":
        for number in range(count):
            self.add(number)
            self.network.run(every_s)
        self.network.run_until(lambda: len(self.joined) == count, limit_s=120.0)
        self.network.run(settle_s)
        return self

    def kill(self, addresses: list[Address]) -> None:
        for address in addresses:
            self.network.kill(address)
            del self.nodes[address]

    def lookup(self, source: Address, target: int, limit_s: float = 60.0) -> LookupResult:
        results: list[LookupResult] = []
        node = self.nodes[source]
        node.lookup(target, self.network.now, on_done=lambda result, _now: results.append(result))
        self.network.perform(source, node.collect())
        self.network.run_until(lambda: results, limit_s)
        return results[0]

    def random_lookups(self, count: int) -> list[tuple[Address, int, LookupResult]]:
        done = []
        for _ in range(count):
            source = self._chance.choice(list(self.nodes))
            target = random_id(self._chance)
            done.append((source, target, self.lookup(source, target)))
        return done

    def closest(self, source: Address, target: int, among: list[Address] | None = None) -> list[int]:
        """Identifiers of all other live nodes, closest first: what a lookup should find."""
        others = [self.nodes[address].id for address in among or self.nodes if address != source]
        return sorted(others, key=lambda identifier: identifier ^ target)

    def wrong(self, count: int) -> int:
        """How many of some random lookups did not end with the globally closest node first."""
        return sum(
            not result.answered or result.closest[0].id != self.closest(source, target)[0]
            for source, target, result in self.random_lookups(count)
        )

    def check_invariants(self) -> None:
        """What holds at every moment in every node."""
        for address, node in self.nodes.items():
            contacts = list(node.table)
            assert len({contact.id for contact in contacts}) == len(contacts), self.network.seed
            assert len({contact.address for contact in contacts}) == len(contacts), self.network.seed
            assert all(contact.id != node.id and contact.address != address for contact in contacts)
            distances = [sibling.id ^ node.id for sibling in node.neighbours]
            assert distances == sorted(set(distances))
            assert len(distances) <= self.config.siblings
            assert isinstance(node.phase, Phase)

    def dead_contacts(self) -> int:
        """Places in tables that are held by nobody."""
        alive = {(address, node.id) for address, node in self.nodes.items()}
        return sum((c.address, c.id) not in alive for node in self.nodes.values() for c in node.table)

    def choose(self, count: int, *, but: Address | None = None) -> list[Address]:
        return self._chance.sample([address for address in self.nodes if address != but], count)
