"""What policies ask for, one rule at a time, and members that come and go."""

import msgspec
import pytest

from mdht.records import Copy
from mdht.subnet.messages import Bye, Fetch, Note, State, WhoHas
from mdht.subnet.policies import KeyStats
from tests.mdht.subnet.store_link import (
    QUICK,
    StoreLink,
    header_of,
    key_of,
    ranked,
    record,
)

# ---- what policies ask for -------------------------------------------------------------------------------------------


def test_copy_to_sends_every_record_of_the_key() -> None:
    link = StoreLink("fixed:2")
    hosts = link.begun(3)
    link.fill_key(0, hosts[0], b"abc")
    link.put(hosts[0], record(0, 2, writer=b"d" * 32, deleted=True))
    link.run(1.0)
    first, second, third = ranked(link, 0)
    link.crash(second)
    link.run(15.0)
    assert link.holders(key_of(0)) == sorted([first, third], key=lambda host: host.number)
    assert {host.store.stock.hash(key_of(0)) for host in (first, third)} == {first.store.stock.hash(key_of(0))}
    assert len(third.store.records(key_of(0), link.now)) == 4


def test_pull_from_asks_others_if_the_named_host_has_none() -> None:
    link = StoreLink("fixed:2")
    link.begun(3)
    first, second, third = ranked(link, 0)
    link.put(first, record(0))
    link.run(0.5)
    third.store._carrying.pull(key_of(0), b"nobody!!", [third.hid, second.hid], link.now)
    link.perform(third, third.store.tick(link.now))
    link.run(0.5)
    assert key_of(0) in third.keys
    assert third.store.counters["pulls_failed"] == 0
    third.store._carrying.pull(key_of(9), first.hid, [second.hid], link.now)
    link.perform(third, third.store.tick(link.now))
    link.run(1.0)
    assert third.store.counters["pulls_failed"] == 1
    assert len(third.store._carrying.pulling) == 0


def test_drop_after_ack_drops_only_when_all_is_acknowledged() -> None:
    link = StoreLink("fixed:1")
    link.begun(3)
    first, second, _ = ranked(link, 0)
    first.answers_puts = False
    link.fill_key(0, second, b"abc")
    link.run(12.0)
    assert second.store.counters["transfers_failed"] == 1
    assert len(second.store.records(key_of(0), link.now)) == 3
    first.answers_puts = True
    link.run(15.0)
    assert second.keys == set()
    assert len(first.store.records(key_of(0), link.now)) == 3


def test_a_record_that_comes_while_others_are_handed_on_is_not_dropped_with_them() -> None:
    link = StoreLink("fixed:1")
    link.begun(3)
    first, second, _ = ranked(link, 0)
    link.put(second, record(0, writer=b"a" * 32))
    late = record(0, writer=b"b" * 32)
    second.store.stock.put(Copy(late, 1000.0), link.now)
    link.run(8.0)
    assert second.keys == set()
    assert len(first.store.records(key_of(0), link.now)) == 2


def test_a_note_is_said_when_the_copies_before_it_are_acknowledged_and_not_before() -> None:
    link = StoreLink("fixed:2:receiver")
    hosts = link.begun(3)
    for host in hosts[1:]:
        host.answers_puts = False
    link.put(hosts[0], record(0))
    link.run(1.0)
    assert link.sent(hosts[0], Note) == []
    for host in hosts[1:]:
        host.answers_puts = True
    link.run(6.0)
    notes = link.sent(hosts[0], Note)
    assert len(notes) == 3, "and twice again, as nobody acknowledges it"
    assert {note.holders[0] for note in notes} == {hosts[0].hid}
    assert {host.policy.stats(key_of(0)) for host in hosts} == {KeyStats(2, (hosts[0].hid,))}


def test_a_note_that_no_copy_stands_for_is_said_later() -> None:
    link = StoreLink("fixed:2:receiver")
    hosts = link.begun(3)
    for host in hosts[1:]:
        host.answers_puts = False
    link.put(hosts[0], record(0))
    link.run(12.0)
    assert link.sent(hosts[0], Note) == []
    assert hosts[0].store.counters["not_announced"] >= 1
    for host in hosts[1:]:
        host.answers_puts = True
    link.run(15.0)
    assert link.sent(hosts[0], Note)
    assert link.misplaced({key_of(0)}) == {}


def test_a_lost_key_is_told_upwards_once() -> None:
    link = StoreLink("single")
    hosts = link.begun(4)
    keys = link.fill(range(5), hosts[:1])
    link.run(3.0)
    link.crash(hosts[0])
    link.run(8.0)
    lost = [key for host in link.staying for key in host.lost]
    assert sorted(lost) == sorted(keys)
    assert sum(host.store.counters["keys_lost"] for host in link.staying) == 5


def test_a_popular_key_gets_more_copies_and_loses_them_again() -> None:
    link = StoreLink("adaptive:1:0.2")
    hosts = link.begun(3)
    link.put(hosts[0], record(0))
    link.run(1.0)
    for asked in range(60):
        link.get(hosts[asked % 3], key_of(0))
        link.run(1.0)
    assert len(link.holders(key_of(0))) > 1
    assert link.misplaced({key_of(0)}) == {}
    link.run(300.0)
    assert len(link.holders(key_of(0))) == 1


def test_a_question_that_is_repeated_counts_as_one_lookup() -> None:
    link = StoreLink("adaptive:1:0.5")
    link.begun(2)
    first, second = ranked(link, 0)
    link.put(first, record(0))
    link.run(1.0)
    seen: list[bytes | None] = []
    first.policy.on_lookup = lambda key, fetcher, scene: seen.append(fetcher) or []
    for _ in range(3):
        question = WhoHas(qid=b"queryqid", key=key_of(0))
        first.store.receive(header_of(second), question, second.address, link.now, multicast=True)
    first.store.receive(
        header_of(second), Fetch(qid=b"queryqid", key=key_of(0)), second.address, link.now, multicast=False
    )
    assert seen == [second.hid]
    link.get(first, key_of(0))
    assert seen == [second.hid, None]


def test_a_host_that_hears_no_note_is_told_by_whoever_gets_its_copies() -> None:
    link = StoreLink("fixed:2:receiver")
    link.begun(4)
    first, _, third, fourth = ranked(link, 0)
    fourth.hears_multicast = False
    link.put(first, record(0))
    link.run(4.0)
    assert fourth.policy.stats(key_of(0)) is None
    link.put(fourth, record(0, 2))
    link.run(4.0)
    assert fourth.policy.stats(key_of(0)) == KeyStats(2, (first.hid,))
    link.run(10.0)
    assert link.misplaced({key_of(0)}) == {}
    assert third.keys | fourth.keys == set()


# ---- members ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("handed_over", "dead"), [(True, 0), (False, 1), (None, 1)])
def test_one_that_goes_without_having_handed_over_counts_as_dead(handed_over: bool | None, dead: int) -> None:
    link = StoreLink("single")
    first, second, _ = link.begun(3)
    link.put(first, record(0))
    link.run(1.0)
    second.store.on_member(first.hid, State.LEFT, link.now)
    if handed_over is not None:
        bye = Bye(handed_over=handed_over)
        second.store.receive(header_of(first), bye, first.address, link.now, multicast=True)
    second.store.tick(link.now + 0.1)
    assert second.store.counters["hosts_dead"] == dead


def test_one_that_joins_anew_has_lost_what_it_had() -> None:
    link = StoreLink("fixed:2")
    hosts = link.begun(4)
    keys = link.fill(range(20), hosts)
    link.run(1.0)
    anew = link.restart(hosts[1])
    link.run(10.0)
    assert anew.synced
    assert sum(host.store.counters["hosts_dead"] for host in link.staying) == 3
    assert link.misplaced(keys) == {}


@pytest.mark.parametrize("policy", ["full", "fixed:2", "fixed:3", "fixed:2:receiver", "adaptive:2:0.5"])
def test_nothing_is_lost_with_a_crash_and_the_copies_are_made_again(policy: str) -> None:
    link = StoreLink(policy)
    hosts = link.begun(5)
    keys = link.fill(range(30), hosts)
    link.run(1.0)
    for host in hosts[:3]:
        link.crash(host)
        link.run(12.0)
        assert link.misplaced(keys) == {}


def test_many_keys_are_judged_in_slices() -> None:
    link = StoreLink("fixed:2", config=msgspec.structs.replace(QUICK, slice_keys=10))
    hosts = link.begun(3)
    keys = link.fill(range(100), hosts[:1], every_s=0.01)
    seen: list[int] = []
    judge = hosts[0].policy.on_dead
    hosts[0].policy.on_dead = lambda hid, scene: seen.append(len(scene.keys)) or judge(hid, scene)
    held = len(hosts[0].keys)
    link.crash(hosts[2])
    link.run(12.0)
    assert max(seen) <= 10
    assert sum(seen) >= held
    assert link.misplaced(keys) == {}
