"""Copies follow the overlay: nodes that come, nodes that are lost, republishing, leaving."""

import msgspec
import pytest

from mdht.keeping.config import KeepingConfig
from mdht.records import Copy
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

KEYS = 40
THREE = KeepingConfig(replicas=3, read_quorum=2)


def filled(
    sizes: list[int], config: KeepingConfig = THREE, *, overlay: str = "kademlia", lease_s: int = 7200
) -> RecordsNetwork:
    world = RecordsNetwork(sizes, overlay=overlay, keeping=config)
    for number in range(KEYS):
        world.put(world.hosts(number % len(sizes))[0], record(number, lease_s=lease_s), acks=config.replicas)
    world.net.run(1.0)
    return world


def placed(world: RecordsNetwork, replicas: int = 3) -> float:
    """Share of the copies that are where they should be."""
    wanted = [(key_of(n), link) for n in range(KEYS) for link in world.responsible(key_of(n), replicas)]
    return sum(link in world.holders(key) for key, link in wanted) / len(wanted)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_after_doubling_the_nodes_the_copies_are_in_the_right_place(overlay: str) -> None:
    world = filled([1] * 8, overlay=overlay)
    for link in range(8, 16):
        world.net.add(link)
        world.net.run(0.3)
    world.net.run(30.0)
    assert placed(world) >= 0.99


def test_of_the_hosts_of_a_node_one_offers_a_key() -> None:
    world = filled([4] * 4)
    offers = [host.number for host in world.net.hosts.values() for key in host_keys(world, host.number)]
    assert len(offers) == 3 * KEYS, "one host of each node that holds it"


def host_keys(world: RecordsNetwork, number: int) -> list[bytes]:
    keeper = world.keeper(world.net.hosts[number])
    return [key for key in keeper.store.stock.keys if keeper._replication._is_ours(key)]


def test_copying_never_extends_a_life() -> None:
    world = filled([1] * 6, lease_s=100)
    world.net.run(50.0)
    for link in range(6, 10):
        world.net.add(link)
    world.net.run(10.0)
    now = world.net.now
    for host in world.net.hosts.values():
        assert all(copy.remaining_s < 45.0 for copy in world.keeper(host).copies(now))
    world.net.run(45.0)
    assert not any(world.holders(key_of(number)) for number in range(KEYS))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_losses_are_made_good_without_their_writers(overlay: str) -> None:
    world = filled([1] * 12, overlay=overlay)
    for link in range(3):
        world.net.crash(world.hosts(link)[0])
        world.net.run(100.0)
    assert placed(world) >= 0.95
    for number in range(KEYS):
        assert world.found(world.hosts(5)[0], key_of(number)) == {(b"w" * 32, b""): 1}


def test_republishing_brings_back_what_a_node_lost() -> None:
    world = filled([1] * 5, lease_s=400)
    key = key_of(0)
    (host,) = world.hosts(world.responsible(key, 3)[2])
    world.keeper(host).store.stock.drop(key)
    world.net.run(250.0)  # half the lease, plus jitter
    assert key in world.keeper(host).store.stock.keys


def test_nodes_that_leave_one_after_the_other_hand_all_records_over() -> None:
    world = filled([1] * 8, msgspec.structs.replace(THREE, replicas=2))
    for link in range(2, 8):
        (host,) = world.hosts(link)
        world.net.leave(host)
        world.run_until(lambda host=host: host.core is None, 5.0)
        world.net.run(3.0)
    for number in range(KEYS):
        assert world.found(world.hosts(0)[0], key_of(number)) == {(b"w" * 32, b""): 1}


@pytest.mark.parametrize("seed", range(3))
def test_loss_hides_no_record(seed: int) -> None:
    world = RecordsNetwork([2, 1, 3, 1, 1, 2], seed=seed)
    world.net.loss = 0.2
    for number in range(10):
        world.put(world.hosts(number % 6)[0], record(number))
    for number in range(10):
        assert world.found(world.hosts((number + 3) % 6)[0], key_of(number)) == {(b"w" * 32, b""): 1}, f"seed {seed}"


def test_a_host_that_comes_back_with_what_it_held_brings_it_where_it_belongs() -> None:
    world = RecordsNetwork([1, 1, 1], keeping=KeepingConfig(replicas=1, acks=1, read_quorum=1))
    homes = {number: world.responsible(key_of(number), 1)[0] for number in range(10)}
    carrier = world.hosts(0)[0]
    assert carrier.core is not None
    carrier.core._former = []
    keeper = world.keeper(carrier)

    keeper._former.extend(Copy(record(number), 600.0) for number in range(10))
    keeper._look_at = world.net.now
    world.perform(carrier)
    world.net.run(10.0)
    assert {number: list(world.holders(key_of(number))) for number in range(10)} == {
        number: [home] for number, home in homes.items()
    }
