"""Listening to a key: each change once, within a second, whatever is lost on the way."""

from dhtboot.ids import Address
from mdht.records import Record
from mdht.watch import Watch
from tests.mdht.store_network import Stores, key_of, record

KEY = key_of(1)


class Listener:
    """A watch on one node and what it reported."""

    def __init__(self, stores: Stores, at: Address) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._stores, self._at = stores, at
        self.watch = Watch(stores.nodes[at], KEY, self._on_change)
        self.watch.start(stores.network.now)
        stores.network.perform(at, stores.nodes[at].overlay.collect())
        stores.network.run(1.0)

    def _on_change(self, kind: str, changed: Record, _remaining_s: float) -> None:
        self.heard.append((kind, changed.value))

    def stop(self) -> None:
        self.watch.stop(self._stores.network.now)
        self._stores.network.perform(self._at, self._stores.nodes[self._at].overlay.collect())
        self._stores.network.run(1.0)


def test_every_change_is_heard_once_and_within_a_second() -> None:
    stores = Stores(20, seed=21)
    listener = Listener(stores, stores.addresses[7])
    writer = stores.addresses[2]
    for step, (fields, heard) in enumerate(
        [
            ({"value": b"one", "seq": 1}, [("added", b"one")]),
            ({"value": b"two", "seq": 2}, [("updated", b"two")]),
            ({"value": b"two", "seq": 3}, []),  # a refresh is no change
            ({"value": b"", "seq": 4, "deleted": True}, [("removed", b"two")]),
            ({"value": b"three", "seq": 5}, [("added", b"three")]),
        ]
    ):
        stores.put(writer, record(1, KEY, **fields))
        stores.network.run(0.9)
        assert listener.heard == heard, step
        listener.heard.clear()


def test_what_is_there_already_comes_first() -> None:
    stores = Stores(15, seed=22)
    for number in range(30):
        stores.put(stores.addresses[number % 15], record(number, KEY, b"%d" % number * 50))
    listener = Listener(stores, stores.addresses[11])
    assert sorted(listener.heard) == sorted(("added", b"%d" % number * 50) for number in range(30))


def test_the_end_of_a_lease_is_a_removal() -> None:
    stores = Stores(10, seed=23)
    listener = Listener(stores, stores.addresses[4])
    stores.put(stores.addresses[2], record(1, KEY, b"brief", lease_s=5))
    stores.network.run(4.0)
    assert listener.heard == [("added", b"brief")]
    stores.network.run(1.5)
    assert listener.heard[-1] == ("removed", b"brief")
    assert len(listener.heard) == 2


def test_lost_pushes_are_made_good_at_renewal() -> None:
    stores = Stores(15, seed=24)
    listener = Listener(stores, stores.addresses[4])
    others = [address for address in stores.addresses if address != stores.addresses[4]]
    stores.network.cut([stores.addresses[4]], others)
    stores.put(stores.addresses[2], record(1, KEY, b"unheard"))
    stores.network.run(3.0)
    assert listener.heard == []
    stores.network.heal()
    stores.network.run(60.0)
    assert listener.heard == [("added", b"unheard")]


def test_a_subscription_outlives_the_death_of_its_holders() -> None:
    stores = Stores(30, seed=25)
    at = next(address for address in stores.addresses if address not in stores.rightful(KEY))
    listener = Listener(stores, at)
    for address in stores.rightful(KEY):
        stores.kill(address)
    stores.network.run(60.0)
    writer = next(address for address in stores.addresses if address != at)
    stores.put(writer, record(1, KEY, b"later"))
    stores.network.run(1.0)
    assert listener.heard == [("added", b"later")]


def test_a_listener_that_was_alone_hears_through_the_first_newcomer() -> None:
    stores = Stores(1, seed=27)
    listener = Listener(stores, stores.addresses[0])
    (newcomer,) = stores.add(1, settle_s=2.0)
    stores.put(newcomer, record(1, KEY, b"first"))
    stores.network.run(0.9)
    assert listener.heard == [("added", b"first")]


def test_after_the_end_nothing_is_pushed_any_more() -> None:
    stores = Stores(12, seed=26)
    at = stores.addresses[5]
    listener = Listener(stores, at)
    listener.stop()
    stores.put(stores.addresses[2], record(1, KEY, b"unwanted"))
    stores.network.run(1.0)
    assert listener.heard == []
    assert stores.nodes[at].counters["unasked_pushes"] == 0
