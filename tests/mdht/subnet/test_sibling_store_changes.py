"""Newcomers, leavers, repair, and what goes in bulk."""

from random import Random

import msgspec
import pytest

from mdht.records import Copy
from mdht.subnet.messages import Ack, AckStatus, Bye, Put
from mdht.subnet.policies import KeyStats
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.sync_messages import Compare, ListKeys
from tests.mdht.subnet.store_link import (
    QUICK,
    StoreLink,
    header_of,
    key_of,
    ranked,
    record,
)

# ---- newcomers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["full", "fixed:2", "fixed:1", "adaptive:1:0.5", "fixed:2:receiver"])
def test_a_newcomer_has_what_belongs_to_it_before_it_is_ready_and_the_displaced_drop_it(policy: str) -> None:
    link = StoreLink(policy)
    hosts = link.begun(4)
    keys = link.fill(range(40), hosts)
    link.run(3.0)
    newcomer = link.add()
    while not newcomer.synced:
        link.run(0.01)
    wanted = {key for key in keys if newcomer.hid in newcomer.store.targets(key)}
    assert newcomer.synced[0][1] is False
    assert newcomer.keys == wanted != set()
    link.run(2.0)
    assert link.misplaced(keys) == {}


def test_a_newcomer_under_single_learns_who_owns_what() -> None:
    link = StoreLink("single")
    hosts = link.begun(3)
    link.fill(range(60), hosts)
    link.run(3.0)
    newcomer = link.add()
    while not newcomer.synced:
        link.run(0.01)
    assert newcomer.keys == set()
    for number in range(60):
        assert newcomer.policy.stats(key_of(number)) == KeyStats(1, (hosts[number % 3].hid,))


def test_one_that_finds_nobody_is_synced_at_once() -> None:
    link = StoreLink("fixed:2")
    host = link.add()
    link.run(1.6)
    assert host.synced == [(1.5, False)]


def test_a_newcomer_whom_nobody_answers_is_ready_in_the_end_and_knows_that_something_is_missing() -> None:
    link = StoreLink("fixed:2")
    hosts = link.begun(2)
    link.put(hosts[0], record(0))
    link.run(1.0)
    for host in hosts:
        host.store._incoming._listing.answer = lambda hid, message, now: None
    newcomer = link.add()
    link.run(8.0)
    assert [partial for _, partial in newcomer.synced] == [True]


def test_a_newcomer_that_gets_no_end_of_pages_is_ready_after_its_time() -> None:
    link = StoreLink("fixed:2", config=msgspec.structs.replace(QUICK, sync_s=5.0))
    hosts = link.begun(2)
    link.fill(range(40), hosts[:1])
    link.run(1.0)
    for host in hosts:
        host.store.stock.table.get = lambda key, now: []
    newcomer = link.add()
    newcomer.store._carrying.pulling._next_source = lambda pull, now: None
    link.run(8.0)
    assert [partial for _, partial in newcomer.synced] == [True]
    assert newcomer.store.counters["synced_late"] == 1


def test_a_record_put_while_a_newcomer_comes_is_there_soon() -> None:
    link = StoreLink("fixed:3")
    hosts = link.begun(2)
    newcomer = link.add()
    keys = link.fill(range(40), hosts, every_s=0.1)
    link.run(8.0)
    assert newcomer.keys == keys


# ---- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["single", "full", "fixed:1", "fixed:2", "fixed:2:receiver", "adaptive:1:0.5"])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_nothing_is_lost_where_all_but_one_leave(policy: str, loss: float) -> None:
    link = StoreLink(policy)
    hosts = link.begun(4)
    keys = link.fill(range(20), hosts)
    link.run(3.0)
    for host in hosts[:3]:
        link.lose(loss)
        link.leave(host)
        link.run(11.0)
        assert host.handed_over == [True]
        link.lose(0.0)
        link.run(10.0)
        assert link.misplaced(keys) == {}
    assert hosts[3].keys == keys


def test_a_host_that_leaves_takes_nothing_new() -> None:
    link = StoreLink("fixed:2")
    first, second = link.begun(2)
    link.fill(range(20), [second])
    second.answers_puts = False
    link.perform(first, first.store.hand_over(link.now))
    assert link.put(first, record(50)) == [AckStatus.NOT_READY]
    put = Put(qid=b"queryqid", record=msgspec.msgpack.encode(Copy(record(51), 50.0)))
    effects = first.store.receive(header_of(second), put, second.address, link.now, multicast=False)
    assert Ack(qid=b"queryqid", status=AckStatus.NOT_READY) in [getattr(effect, "message", None) for effect in effects]
    assert key_of(51) not in first.keys


def test_a_leaver_whom_nobody_answers_goes_after_ten_seconds_and_says_so() -> None:
    link = StoreLink("fixed:1")
    first, second = link.begun(2)
    link.fill(range(20), [first])
    link.run(1.0)
    assert first.keys
    second.answers_puts = False
    link.leave(first)
    link.run(9.5)
    assert first.handed_over == []
    link.run(1.0)
    assert first.handed_over == [False]
    assert link.sent(first, Bye)[0] == Bye(handed_over=False)


def test_the_last_host_has_nobody_to_hand_over_to() -> None:
    link = StoreLink("fixed:2")
    (host,) = link.begun(1)
    link.put(host, record(0))
    link.leave(host)
    assert host.handed_over == [False]
    empty = StoreLink("fixed:2")
    (other,) = empty.begun(1)
    empty.leave(other)
    assert other.handed_over == [True]


# ---- repair ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["full", "fixed:3", "adaptive:3:0.5"])
def test_what_hosts_hold_differently_is_made_alike(policy: str) -> None:
    link = StoreLink(policy)
    hosts = link.begun(3)
    rng = Random(5)
    for number in range(60):
        for host in hosts:
            if rng.random() < 0.5:
                one = record(number, rng.randint(1, 3), writer=rng.choice([b"a", b"b"]) * 32)
                host.store.stock.put(Copy(one, 1000.0), link.now)
    link.run(60.0)
    assert len({host.membership.report.data_root for host in hosts}) == 1
    assert len({host.store.stock.digest.root for host in hosts}) == 1
    assert all(host.membership.report.data_root == host.store.stock.digest.root for host in hosts)


def test_equal_hosts_under_full_replication_compare_nothing() -> None:
    link = StoreLink("full")
    hosts = link.begun(3)
    link.fill(range(20), hosts[:1])
    link.run(5.0)
    before = [len(link.sent(host, Compare)) for host in hosts]
    link.run(60.0)
    assert [len(link.sent(host, Compare)) for host in hosts] == before
    assert sum(len(link.sent(host, ListKeys)) for host in hosts) <= 3, "one by each that came"


def test_halves_of_a_split_link_have_the_same_again_soon_after_it_heals() -> None:
    link = StoreLink("full")
    hosts = link.begun(4)
    for host in hosts[2:]:
        host.side = 1
    link.run(8.0)
    link.fill(range(20), hosts)
    link.run(2.0)
    for host in hosts:
        host.side = 0
    link.run(45.0)
    assert [len(host.keys) for host in hosts] == [20] * 4
    assert len({host.store.stock.digest.root for host in hosts}) == 1


@pytest.mark.parametrize("seed", [1, 3])
def test_what_was_put_on_one_side_of_a_split_is_with_all_who_rank_for_it_soon_after_it_heals(seed: int) -> None:
    link = StoreLink("fixed:3", seed=seed, config=StoreConfig())
    hosts = link.begun(5)
    for host in hosts[:2]:
        host.side = 1
    link.run(8.0)
    keys = link.fill(range(100), hosts[:2])
    link.run(23.0)
    for host in hosts:
        host.side = 0
    link.run(15.0)
    assert link.misplaced(keys) == {}


def test_two_owners_after_a_split_become_one_with_the_records_of_both() -> None:
    link = StoreLink("single")
    hosts = link.begun(4)
    for host in hosts[2:]:
        host.side = 1
    link.run(8.0)
    link.put(hosts[0], record(0, writer=b"a" * 32))
    link.put(hosts[3], record(0, writer=b"b" * 32))
    link.run(3.0)
    for host in hosts:
        host.side = 0
    link.run(60.0)
    (owner,) = link.holders(key_of(0))
    assert len(owner.store.records(key_of(0), link.now)) == 2


def test_a_stray_key_goes_to_where_it_belongs() -> None:
    link = StoreLink("fixed:2")
    link.begun(4)
    *_, last = ranked(link, 0)
    put = Put(qid=b"queryqid", record=msgspec.msgpack.encode(Copy(record(0), 500.0)))
    other = link.staying[0] if link.staying[0] is not last else link.staying[1]
    link.perform(last, last.store.receive(header_of(other), put, other.address, link.now, multicast=False))
    assert last.keys == {key_of(0)}
    link.run(8.0)
    assert link.misplaced({key_of(0)}) == {}
    assert len(link.holders(key_of(0))) == 2


def test_repairs_keep_to_their_bytes_a_second() -> None:
    config = msgspec.structs.replace(QUICK, repair_bytes_per_s=5000.0, repair_burst_bytes=20_000.0)
    link = StoreLink("fixed:2", config=config)
    keys = link.fill(range(120), link.begun(3), every_s=0.01, size=700)
    victim = link.staying[2]
    missing = sum(len(host.keys) for host in link.staying) - len(victim.keys)
    link.run(1.0)
    link.crash(victim)
    link.run(6.0)
    since = link.now - 6.0
    sent = [
        sum(len(put.record) for at, put in host.sent if at > since and isinstance(put, Put)) for host in link.staying
    ]
    assert all(0 < size <= 20_000 + 5000 * 6 for size in sent)
    link.run(30.0)
    assert missing < 240
    assert link.misplaced(keys) == {}


def test_keys_with_the_fewest_live_copies_are_repaired_first() -> None:
    config = msgspec.structs.replace(QUICK, repair_bytes_per_s=3000.0, repair_burst_bytes=16_384.0)
    link = StoreLink("fixed:3", config=config)
    hosts = link.begun(5)
    keys = link.fill(range(60), hosts, every_s=0.02, size=700)
    link.run(1.0)
    live = {key: sum(host in hosts[:3] for host in link.holders(key)) for key in keys}
    assert {1, 2} <= set(live.values())
    since = link.now
    for host in hosts[3:]:
        link.crash(host)
    link.run(20.0)
    first: dict[bytes, float] = {}
    for host in hosts[:3]:
        for at, message in host.sent:
            if at > since and isinstance(message, Put):
                key = msgspec.msgpack.decode(message.record, type=Copy).record.key
                first.setdefault(key, at)
    half = sorted(first, key=lambda key: first[key])
    early, late = half[: len(half) // 2], half[len(half) // 2 :]
    assert sum(live[key] for key in early) / len(early) < sum(live[key] for key in late) / len(late)


# ---- bulk ------------------------------------------------------------------------------------------------------------


def test_a_key_with_many_records_goes_in_bulk_and_again_when_that_fails() -> None:
    link = StoreLink("fixed:2")
    hosts = link.begun(3)
    link.fill_key(0, hosts[0], bytes(range(40)), every_s=0.01, size=700)
    link.run(1.0)
    first, second, third = ranked(link, 0)
    first.bulk_works = third.bulk_works = False
    link.crash(second)
    link.run(6.0)
    assert 1 <= first.bulks <= 4, "not again at once"
    assert third.keys == set()
    first.bulk_works = third.bulk_works = True
    link.run(10.0)
    assert len(third.store.records(key_of(0), link.now)) == 40


def test_a_newcomer_fetches_a_large_key_in_bulk() -> None:
    link = StoreLink("full")
    hosts = link.begun(2)
    link.fill_key(0, hosts[0], bytes(range(40)), every_s=0.01, size=700)
    newcomer = link.add()
    link.run(3.0)
    assert newcomer.bulks == 1
    assert newcomer.synced[0][1] is False
    assert len(newcomer.store.records(key_of(0), link.now)) == 40


def test_a_stranger_s_bulk_transfer_is_not_taken() -> None:
    link = StoreLink("full")
    host = link.begun(2)[0]
    data = msgspec.msgpack.encode(Copy(record(0), 50.0))
    assert host.store.take_bulk(b"stranger", [data], link.now)[0] == ()
    assert host.keys == set()
