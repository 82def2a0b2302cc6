"""A node that asks those of a ring, and has no place in it."""

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.join import Phase
from dhtboot.chord.node import ChordNode
from dhtboot.ids import Address, NodeRef, random_id
from tests.dhtboot.chord.ring_network import Ring, address_of

NUMBER = 77
ME: Address = address_of(NUMBER)


def with_client(count: int, seed: int = 1, config: ChordConfig | None = None) -> tuple[Ring, ChordNode]:
    """A ring of so many nodes that has settled, and a client that has come to it."""
    ring = Ring(seed, config)
    ring.grow(count)
    rng = ring.network.rng("client")
    client = ChordNode(random_id(rng), ring.config, rng, ring.network.now)
    client.client = True
    ring.network.add(client, ME)
    ring.network.perform(ME, client.join([NodeRef(0, address_of(0))], ring.network.now))
    ring.network.run_until(lambda: client.joined, limit_s=10.0)
    return ring, client


def found(ring: Ring, client: ChordNode, target: int) -> int | None:
    ring.nodes[ME] = client
    try:
        outcome = ring.lookup(ME, target)
    finally:
        del ring.nodes[ME]
    assert not outcome.mine
    return outcome.closest[0].id if outcome.closest else None


def test_it_finds_what_others_find_and_nobody_knows_it() -> None:
    ring, client = with_client(12)
    for _ in range(3):
        for target in [random_id(ring.chance) for _ in range(10)]:
            assert found(ring, client, target) == ring.owner(target)
        ring.network.run(120.0)
    assert client.neighbours.predecessor is None
    assert client.neighbours.successors.first is not None
    assert client.neighbours.successors.first.id == ring.owner(client.id)
    assert ring.closed()
    for node in ring.nodes.values():
        known = {*node.neighbours.successors.nodes, *node.fingers.nodes, node.neighbours.predecessor}
        assert client.id not in {each.id for each in known if each is not None}


@pytest.mark.parametrize("count", [1, 2])
def test_a_ring_of_few_nodes_has_clients_too(count: int) -> None:
    ring, client = with_client(count)
    for target in [client.id, *[random_id(ring.chance) for _ in range(5)]]:
        assert found(ring, client, target) == ring.owner(target)
        assert not client.is_responsible(target)


def test_it_asks_itself_where_others_would_pass_on() -> None:
    ring, client = with_client(12, config=ChordConfig(lookup="recursive"))
    target = random_id(ring.chance)
    assert found(ring, client, target) == ring.owner(target)


def test_it_goes_on_when_those_die_that_it_asks() -> None:
    ring, client = with_client(16, seed=3)
    ring.network.run(60.0)
    successors = {node.id for node in client.neighbours.successors.nodes[:3]}
    dead = [address for address, node in ring.nodes.items() if node.id in successors]
    ring.kill(dead)
    ring.network.run(120.0)
    for target in [client.id, *[random_id(ring.chance) for _ in range(10)]]:
        assert found(ring, client, target) == ring.owner(target)
    assert client.neighbours.successors.first is not None
    assert client.neighbours.successors.first.id == ring.owner(client.id)


def test_it_tries_another_entry_point_when_one_is_silent() -> None:
    ring = Ring(1)
    ring.grow(3)
    rng = ring.network.rng("client")
    client = ChordNode(random_id(rng), ring.config, rng, ring.network.now)
    client.client = True
    ring.network.add(client, ME)
    entries = [NodeRef(0, address_of(9)), NodeRef(0, address_of(0))]
    ring.network.perform(ME, client.join(entries, ring.network.now))
    ring.network.run(1.0)
    assert client.joining.phase is Phase.JOINING
    ring.network.run_until(lambda: client.joined, limit_s=60.0)
    assert found(ring, client, client.id) == ring.owner(client.id)
