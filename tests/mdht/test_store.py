"""What one node and a whole network of record stores promise, on virtual time."""

import msgspec
import pytest

from dhtboot.ids import NodeRef
from dhtboot.kademlia.config import KademliaConfig
from mdht.config import StoreConfig
from mdht.errors import RefusalCode
from mdht.messages import Get, Got, Listen, Listening, Offer, Put, Stored, Wanted
from mdht.records import Copy
from mdht.store import StoreNode, refusal
from tests.dhtboot.memory_network import Network
from tests.mdht.store_network import Stores, key_of, record, signing_key

PEER = NodeRef(5, ("10.9.9.9", 27183))


def lone_node(config: StoreConfig | None = None) -> StoreNode:
    return StoreNode(signing_key(1).public_key, KademliaConfig(), config or StoreConfig(), Network(1).rng(1), 0.0)


def ask(node: StoreNode, question: object, now: float = 0.0, peer: NodeRef = PEER) -> object:
    return node.on_question(question, peer, with_nodes=False, now=now)


def test_a_put_record_is_found_from_every_node() -> None:
    stores = Stores(30, seed=1)
    key = key_of(1)
    outcome = stores.put(stores.addresses[3], record(1, key, b"hello"))
    assert len(outcome.stored) >= 2
    assert not outcome.refused
    for address in stores.addresses:
        assert stores.values(address, key) == {b"hello"}


def test_the_closest_nodes_hold_a_record_and_hardly_any_others() -> None:
    stores = Stores(40, seed=2)
    for number in range(20):
        stores.put(stores.addresses[number], record(number, key_of(number)), acks=8)
    stores.network.run(1.0)
    extra = 0
    for number in range(20):
        holders, rightful = set(stores.holders(key_of(number))), set(stores.rightful(key_of(number)))
        assert rightful <= holders
        extra += len(holders - rightful)
    assert extra <= 2  # a writer that does not know all its neighbours yet may count itself among the closest


def test_several_writers_keep_their_own_records_under_one_key() -> None:
    stores = Stores(20, seed=3)
    key = key_of(1)
    for number in range(5):
        stores.put(stores.addresses[number], record(number, key, b"%d" % number, name=b"a"))
        stores.put(stores.addresses[number], record(number, key, b"%d again" % number, name=b"b"))
    wanted = {b"%d" % number for number in range(5)} | {b"%d again" % number for number in range(5)}
    assert stores.values(stores.addresses[-1], key) == wanted


def test_a_newer_record_replaces_and_a_tombstone_removes_everywhere() -> None:
    stores = Stores(20, seed=4)
    key, at = key_of(1), stores.addresses[2]
    stores.put(at, record(1, key, b"old", seq=1))
    stores.put(at, record(1, key, b"new", seq=2))
    assert stores.values(stores.addresses[9], key) == {b"new"}
    outcome = stores.put(at, record(1, key, b"older", seq=1), acks=8)
    assert {code for _address, code in outcome.refused} == {RefusalCode.STALE}
    stores.put(at, record(1, key, b"", seq=3, deleted=True))
    assert stores.values(stores.addresses[9], key) == set()


def test_a_record_ends_with_its_lease_everywhere() -> None:
    stores = Stores(20, seed=5)
    key = key_of(1)
    stores.put(stores.addresses[0], record(1, key, lease_s=10))
    stores.network.run(9.0)
    assert stores.values(stores.addresses[7], key)
    stores.network.run(1.5)
    assert not stores.values(stores.addresses[7], key)
    assert not stores.holders(key)


def test_many_values_under_one_key_arrive_in_pages() -> None:
    stores = Stores(12, seed=6)
    key = key_of(1)
    for number in range(40):
        stores.put(stores.addresses[number % 12], record(1, key, b"%d" % number * 100, name=b"%d" % number))
    for address in stores.addresses[:4]:
        assert len(stores.values(address, key)) == 40


def test_a_forged_record_is_refused_by_holders_and_readers() -> None:
    stores = Stores(12, seed=7)
    key = key_of(1)
    genuine = record(1, key, b"genuine")
    forged = msgspec.structs.replace(genuine, value=b"forged", seq=9)
    outcome = stores.put(stores.addresses[3], forged, acks=8)
    assert not outcome.stored
    assert {code for _address, code in outcome.refused} == {RefusalCode.BAD_SIGNATURE}
    # A holder that lies: the reader verifies for itself.
    liar = stores.nodes[stores.rightful(key)[0]]
    liar.table.get = lambda _key, _now: [Copy(forged, 600.0)]  # type: ignore[method-assign]
    assert stores.values(stores.rightful(key)[-1], key) == set()


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_duplication_hide_no_record(seed: int) -> None:
    stores = Stores(25, seed=seed, loss=0.2, duplicate=0.1)
    for number in range(10):
        stores.put(stores.addresses[number], record(number, key_of(number), b"%d" % number), limit_s=60.0)
    for number in range(10):
        assert stores.values(stores.addresses[-1 - number], key_of(number)) == {b"%d" % number}


def test_the_same_seed_gives_the_same_traffic() -> None:
    def digest() -> str:
        stores = Stores(10, seed=8, loss=0.1)
        stores.put(stores.addresses[1], record(1, key_of(1)))
        stores.get(stores.addresses[2], key_of(1))
        return stores.network.digest

    assert digest() == digest()


def test_a_lone_node_stores_and_finds_its_own() -> None:
    stores = Stores(1, seed=9)
    (address,) = stores.addresses
    assert len(stores.put(address, record(1, key_of(1), b"mine")).stored) == 1
    assert stores.values(address, key_of(1)) == {b"mine"}


def test_a_page_answers_with_count_and_digest() -> None:
    node = lone_node()
    key = key_of(1)
    for number in range(10):
        node.store(Copy(record(1, key, bytes(300), name=b"%d" % number), 600.0), "", 0.0)
    first = ask(node, Get(key))
    assert isinstance(first, Got)
    assert (first.count, len(first.copies), first.digest) == (10, 2, node.table.digest(key))
    last = ask(node, Get(key, 9))
    assert isinstance(last, Got)
    assert len(last.copies) == 1
    assert ask(node, Get(key, 99)) == Got((), 10, node.table.digest(key))
    assert ask(node, Get(key, -5)) == first


def test_an_offer_is_answered_with_what_is_lacking() -> None:
    node = lone_node()
    held, other = key_of(1), key_of(2)
    node.store(Copy(record(1, held), 600.0), "", 0.0)
    offer = Offer(((held, node.table.digest(held)), (other, 7), (held, 8), (b"short", 1)))
    assert ask(node, offer) == Wanted((1, 2))


def test_a_put_is_answered_per_copy() -> None:
    node = lone_node()
    good = record(1, key_of(1))
    copies = (Copy(good, 600.0), Copy(good, 0.0), Copy(msgspec.structs.replace(good, seq=9), 600.0))
    codes = (0, RefusalCode.EXPIRED, RefusalCode.BAD_SIGNATURE)
    assert ask(node, Put(copies)) == Stored(codes)


def test_subscriptions_are_bounded_and_end_with_their_lease() -> None:
    node = lone_node(StoreConfig(subscribers_per_key_max=3, subscriptions_max=4))
    key = key_of(1)

    def listen(host: int, at: float, wanted: bytes = key, lease_s: float = 60.0) -> float:
        answer = ask(node, Listen(wanted, lease_s), at, NodeRef(host, (f"10.0.0.{host}", 1)))
        assert isinstance(answer, Listening)
        return answer.lease_s

    assert [listen(host, 0.0) for host in (1, 2, 3, 4)] == [60.0, 60.0, 60.0, 0.0]
    assert listen(1, 1.0) == 60.0  # a renewal needs no room
    assert listen(2, 1.0, lease_s=0.0) == 0.0  # ended by its owner
    assert listen(4, 1.0) == 60.0
    assert listen(5, 62.0) == 60.0  # the others have ended
    assert [listen(6, 62.0, key_of(n)) for n in (2, 3, 4, 5)] == [60.0, 60.0, 60.0, 0.0]
    assert node.counters["subscriptions_refused"] == 2
    assert [listen(6, 130.0, key_of(n)) for n in (5, 6)] == [60.0, 60.0]


def test_numbers_of_later_versions_count_as_malformed() -> None:
    assert refusal(1) is RefusalCode.BAD_SIGNATURE
    assert refusal(250) is RefusalCode.MALFORMED
