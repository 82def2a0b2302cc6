"""Copies follow the overlay: newcomers, losses, republishing, leaving."""

import pytest

from mdht.config import StoreConfig
from tests.mdht.store_network import Stores, key_of, record

KEYS = 60


def filled(count: int, seed: int, config: StoreConfig | None = None, lease_s: int = 7200) -> Stores:
    stores = Stores(count, seed=seed, config=config)
    for number in range(KEYS):
        stores.put(stores.addresses[number % count], record(number, key_of(number), lease_s=lease_s), acks=8)
    stores.network.run(1.0)
    return stores


def placed(stores: Stores) -> float:
    wanted = [(key_of(n), address) for n in range(KEYS) for address in stores.rightful(key_of(n))]
    return sum(address in stores.holders(key) for key, address in wanted) / len(wanted)


@pytest.mark.parametrize("seed", [11, 12])
def test_after_doubling_the_nodes_the_copies_are_in_the_right_place(seed: int) -> None:
    stores = filled(20, seed)
    stores.add(20, settle_s=5.0)
    assert placed(stores) >= 0.99


def test_copying_never_extends_a_life() -> None:
    stores = filled(10, 13, lease_s=100)
    stores.network.run(60.0)
    stores.add(10)
    for number in range(KEYS):
        for address in stores.holders(key_of(number)):
            for copy in stores.nodes[address].table.get(key_of(number), stores.network.now):
                assert copy.remaining_s < 35.0
    stores.network.run(40.0)
    assert not any(stores.holders(key_of(number)) for number in range(KEYS))


def test_half_the_nodes_may_die_at_once() -> None:
    stores = filled(40, 14)
    for address in stores.addresses[1::2]:
        stores.kill(address)
    survived = [number for number in range(KEYS) if stores.holders(key_of(number))]
    assert len(survived) >= KEYS - 2  # (1/2)^8 of them are truly gone
    for number in survived:
        assert stores.values(stores.addresses[number % 20], key_of(number)) == {b"value"}


def test_losses_are_made_good_without_their_writers() -> None:
    stores = filled(30, 15)
    for address in stores.addresses[2:10]:
        stores.kill(address)
        stores.network.run(200.0)
    assert placed(stores) >= 0.95


def test_republishing_brings_back_what_a_holder_lost() -> None:
    stores = filled(20, 16, lease_s=400)
    key = key_of(0)
    forgetful = stores.nodes[stores.rightful(key)[3]]
    forgetful.table.drop(key)
    stores.network.run(250.0)  # half the lease, plus jitter
    assert forgetful.table.get(key, stores.network.now)


def test_a_leaving_node_hands_its_records_over() -> None:
    config = StoreConfig(replicas=2)
    stores = filled(12, 17, config)
    for address in stores.addresses[4:]:
        done: list[bool] = []
        node = stores.nodes[address]
        node.hand_over_all(stores.network.now, lambda done=done: done.append(True))
        stores.network.perform(address, node.overlay.collect())
        stores.network.run_until(lambda done=done: done, 10.0)
        stores.network.perform(address, node.overlay.leave())
        stores.kill(address)
        stores.network.run(2.0)
    for number in range(KEYS):
        assert stores.values(stores.addresses[0], key_of(number)) == {b"value"}
