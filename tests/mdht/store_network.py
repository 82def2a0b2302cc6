"""Many record stores on a network in memory: the shipped cores, virtual time, one seed."""

from collections.abc import Callable
from functools import cache
from typing import Any

from dhtboot.ids import Address, NodeRef, id_from
from dhtboot.kademlia.config import KademliaConfig
from mdht.config import StoreConfig
from mdht.operations import GetOutcome, GetRun, PutOutcome, PutRun
from mdht.records import Copy, Record, life_s
from mdht.signing import SigningKey
from mdht.store import StoreNode
from mdht.wire import store_codec
from tests.dhtboot.memory_network import Network


@cache
def signing_key(number: int) -> SigningKey:
    """The same keys in every run, so that identifiers depend on nothing but their number."""
    return SigningKey.from_seed(number.to_bytes(32, "big"))


class Stores:
    """`count` joined nodes at 10.0.x.y:27183; every packet is encoded and decoded on its way."""

    def __init__(self, count: int, *, seed: int, config: StoreConfig | None = None, **network: Any) -> None:
        self.network = Network(seed, codec=store_codec("test"), **network)
        self.config = config or StoreConfig()
        self.nodes: dict[Address, StoreNode] = {}
        self.add(count)

    def add(self, count: int, settle_s: float = 5.0) -> list[Address]:
        """Start more nodes; all join through the first."""
        added = []
        for _ in range(count):
            number = len(self.nodes) + 1
            address = (f"10.0.{number >> 8}.{number & 255}", 27183)
            node = StoreNode(
                signing_key(number).public_key,
                KademliaConfig(),
                self.config,
                self.network.rng(number),
                self.network.now,
            )
            self.network.add(node, address)
            entry = [NodeRef(0, next(iter(self.nodes)))] if self.nodes else []
            self.nodes[address] = node
            self.network.perform(address, node.overlay.join(entry, self.network.now))
            self.network.run(0.05)
            added.append(address)
        self.network.run(settle_s)
        if len(self.nodes) > 1:  # a join that lost both its packets is tried again after some seconds
            self.network.run_until(lambda: all(len(node.overlay.table) for node in self.nodes.values()), 60.0)
        return added

    def kill(self, address: Address) -> None:
        """End a node without a word."""
        self.network.kill(address)
        del self.nodes[address]

    @property
    def addresses(self) -> list[Address]:
        """Of all living nodes, oldest first."""
        return list(self.nodes)

    def start_put(self, at: Address, copy: Copy, on_done: Callable[[PutOutcome], None], acks: int = 2) -> None:
        """Begin a put at a node."""
        node = self.nodes[at]
        PutRun(node, copy, acks=acks, on_done=lambda outcome, _now: on_done(outcome)).start(self.network.now)
        self.network.perform(at, node.overlay.collect())

    def put(self, at: Address, record: Record, *, acks: int = 2, limit_s: float = 20.0) -> PutOutcome:
        """Put a record at a node and wait for its acknowledgement."""
        outcomes: list[PutOutcome] = []
        self.start_put(at, Copy(record, life_s(record)), outcomes.append, acks)
        self.network.run_until(lambda: outcomes, limit_s)
        return outcomes[0]

    def get(self, at: Address, key: bytes, limit_s: float = 20.0) -> GetOutcome:
        """Get a key at a node."""
        outcomes: list[GetOutcome] = []
        node = self.nodes[at]
        run = GetRun(node, key, on_copy=None, on_done=lambda outcome, _now: outcomes.append(outcome))
        run.start(self.network.now)
        self.network.perform(at, node.overlay.collect())
        self.network.run_until(lambda: outcomes, limit_s)
        return outcomes[0]

    def values(self, at: Address, key: bytes) -> set[bytes]:
        """The live values that a node finds under a key."""
        return {copy.record.value for copy in self.get(at, key).copies if not copy.record.deleted}

    def holders(self, key: bytes) -> list[Address]:
        """Nodes that hold something under a key."""
        return [a for a, node in self.nodes.items() if node.table.get(key, self.network.now)]

    def rightful(self, key: bytes) -> list[Address]:
        """The nodes that should hold a key, closest first."""
        target = id_from(key)
        by_distance = sorted(self.nodes, key=lambda address: self.nodes[address].overlay.id ^ target)
        return by_distance[: self.config.replicas]


def record(number: int, key: bytes, value: bytes = b"value", *, seq: int = 1, **fields: Any) -> Record:
    """A signed record of the writer with that number."""
    fields.setdefault("lease_s", 600)
    return Record.signed(key=key, writer=signing_key(10_000 + number), seq=seq, value=value, **fields)


def key_of(number: int) -> bytes:
    """A key spread over the whole space."""
    return signing_key(20_000 + number).public_key[:20]
