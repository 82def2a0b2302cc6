"""Puts, gets and lives of records at hosts that share them."""

from random import Random

import msgspec
import pytest

from mdht.errors import LocalProtocolError
from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy
from mdht.subnet.messages import Ack, AckStatus, Ask, Fetch, Put, State, WhoHas
from mdht.subnet.policies import Single
from mdht.subnet.query import Outcome
from mdht.subnet.sibling_store import SiblingStore
from mdht.subnet.store_config import StoreConfig
from tests.mdht.subnet.store_link import (
    STORED,
    StoreLink,
    found,
    header_of,
    key_of,
    lawful,
    ranked,
    record,
)

ROUNDING_S = 1e-6

# ---- puts and gets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "hosts", "copies", "acked_after"),
    [
        ("single", 1, 1, 1),
        ("single", 4, 1, 1),
        ("full", 1, 1, 1),
        ("full", 4, 4, 2),
        ("fixed:3", 2, 2, 2),
        ("fixed:3", 5, 3, 2),
        ("fixed:1", 5, 1, 1),
        ("fixed:2:receiver", 5, 2, 2),
        ("adaptive:1:0.5", 5, 1, 1),
        ("adaptive:2:0.5", 5, 2, 2),
    ],
)
def test_a_put_makes_the_copies_that_the_policy_wants_and_is_acknowledged_by_two_where_it_wants_two(
    policy: str, hosts: int, copies: int, acked_after: int
) -> None:
    link = StoreLink(policy)
    link.begun(hosts)
    for number in range(12):
        host = link.staying[number % hosts]
        statuses = link.put(host, record(number))
        while not statuses:
            link.run(0.0001)
        assert statuses == STORED
        assert len(link.holders(key_of(number))) >= acked_after
    link.run(1.0)
    assert link.misplaced({key_of(number) for number in range(12)}) == {}
    assert {len(link.holders(key_of(number))) for number in range(12)} == {copies}


@pytest.mark.parametrize("policy", ["single", "full", "fixed:2", "fixed:2:receiver", "adaptive:1:0.5"])
def test_every_host_finds_what_was_put_at_any(policy: str) -> None:
    link = StoreLink(policy)
    hosts = link.begun(5)
    for number in range(10):
        link.put(hosts[number % 5], record(number, seq=number + 1))
    link.run(1.0)
    gets = [(number, link.get(host, key_of(number))) for host in hosts for number in range(10)]
    link.run(1.5)
    assert all(found(results) == {number + 1} for number, results in gets)


def test_a_put_that_only_this_host_holds_is_not_acknowledged_yet() -> None:
    link = StoreLink("fixed:2")
    link.begun(3)
    first, second, _ = ranked(link, 0)
    second.answers_puts = False
    statuses = link.put(first, record(0))
    link.run(1.0)
    assert statuses == []
    second.answers_puts = True
    link.run(3.0)
    assert statuses == STORED
    assert link.holders(key_of(0)) == sorted([first, second], key=lambda host: host.number)


def test_a_put_whose_copies_nobody_answers_fails_after_a_while_and_stays_here() -> None:
    link = StoreLink("fixed:2")
    link.begun(2)
    first, second = ranked(link, 0)
    second.answers_puts = False
    statuses = link.put(first, record(0))
    link.run(5.5)
    assert statuses == [AckStatus.NOT_READY]
    assert len(link.sent(first, Put)) >= 4, "one, and three repetitions"
    assert first.store.counters["puts_repeated"] >= 3
    assert first.keys == {key_of(0)}


def test_repetitions_come_after_the_round_trip_time_which_doubles() -> None:
    link = StoreLink("fixed:2")
    link.begun(2)
    first, second = ranked(link, 0)
    second.answers_puts = False
    began = link.now
    link.put(first, record(0))
    link.run(1.8)
    times = [round(at - began, 3) for at, message in first.sent if isinstance(message, Put)]
    assert times == [0.0, 0.1, 0.3, 0.7]


@pytest.mark.parametrize("policy", ["fixed:2", "full"])
def test_a_repeated_put_is_acknowledged_again_and_not_stored_again(policy: str) -> None:
    link = StoreLink(policy)
    first, second = link.begun(2)
    put = Put(qid=b"queryqid", record=msgspec.msgpack.encode(Copy(record(0), 50.0)))
    for _ in range(3):
        effects = second.store.receive(header_of(first), put, first.address, link.now, multicast=False)
        assert [effect.message for effect in effects] == [Ack(qid=b"queryqid", status=AckStatus.STORED)]
    assert second.store.stock.table.counters.stored == 1
    assert second.store.counters["puts_seen_before"] == 2


def test_full_replication_puts_by_one_multicast_and_its_acknowledgements() -> None:
    link = StoreLink("full")
    hosts = link.begun(6)
    statuses = link.put(hosts[0], record(0))
    link.run(0.5)
    assert statuses == STORED
    assert len(link.sent(hosts[0], Put)) == 1
    assert [len(link.sent(host, Ack)) for host in hosts] == [0, 1, 1, 1, 1, 1]


def test_a_later_put_under_single_goes_to_the_owner_and_none_stays_here() -> None:
    link = StoreLink("single")
    hosts = link.begun(4)
    link.put(hosts[2], record(0))
    link.run(1.0)
    statuses = link.put(hosts[0], record(0, 2, writer=b"v" * 32))
    link.run(1.0)
    assert statuses == STORED
    assert link.holders(key_of(0)) == [hosts[2]]
    assert len(hosts[2].store.records(key_of(0), link.now)) == 2


def test_a_host_that_missed_the_note_asks_once_who_owns_a_key() -> None:
    link = StoreLink("single")
    hosts = link.begun(4)
    hosts[0].hears_multicast = False
    link.put(hosts[2], record(0))
    link.run(3.0)
    assert hosts[0].policy.stats(key_of(0)) is None
    asked = [message for message in link.sent(hosts[0], WhoHas | Fetch) if message.key == key_of(0)]
    assert asked == []
    statuses = link.put(hosts[0], record(0, 2))
    assert statuses == []
    link.run(2.0)
    assert statuses == STORED
    assert link.holders(key_of(0)) == [hosts[2]]
    assert [link.get(host, key_of(0)) for host in hosts]


def test_of_two_first_puts_at_the_same_time_one_owner_remains() -> None:
    link = StoreLink("single")
    hosts = link.begun(4)
    one, two = link.put(hosts[0], record(0)), link.put(hosts[3], record(0, 1, writer=b"v" * 32))
    link.run(5.0)
    assert one == two == STORED
    (owner,) = link.holders(key_of(0))
    assert len(owner.store.records(key_of(0), link.now)) == 2


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: (record(0, 1), None), AckStatus.REFUSED),
        (lambda: (record(0, 9, size=901), None), AckStatus.REFUSED),
        (lambda: (record(0, 9), 0.0), AckStatus.REFUSED),
        (lambda: (record(0, 9), float("nan")), AckStatus.REFUSED),
        (lambda: (record(1, 1), None), AckStatus.FULL),
        (lambda: (record(0, 9), None), AckStatus.STORED),
    ],
)
def test_a_put_says_why_it_was_not_stored(make, status: AckStatus) -> None:
    link = StoreLink("fixed:1", table=TableConfig(records_max=1))
    (host,) = link.begun(1)
    assert link.put(host, record(0, 5)) == STORED
    one, remaining_s = make()
    assert link.put(host, one, remaining_s) == [status]


@pytest.mark.parametrize("state", [State.JOINING, State.LEAVING])
def test_a_host_that_is_not_ready_takes_no_put(state: State) -> None:
    link = StoreLink("fixed:2")
    host = link.begun(3)[0]
    host.membership.state = state
    assert link.put(host, record(0)) == [AckStatus.NOT_READY]
    assert host.keys == set()


def test_puts_under_way_are_bounded() -> None:
    link = StoreLink("fixed:2", config=StoreConfig(puts_max=3))
    link.begun(2)
    first, second = ranked(link, 0)
    second.answers_puts = False
    statuses = [link.put(first, record(number)) for number in range(5)]
    assert statuses == [[], [], [], [AckStatus.FULL], [AckStatus.FULL]]
    link.run(6.0)
    assert len(first.store._putting) == 0


def test_a_full_table_at_the_other_host_is_said_so() -> None:
    link = StoreLink("fixed:2")
    link.begun(2)
    first, second = ranked(link, 0)
    second.store.stock.table._config = TableConfig(records_max=1)
    link.put(second, record(1))
    link.run(0.5)
    statuses = link.put(first, record(0))
    link.run(7.0)
    assert statuses == [AckStatus.FULL]


def test_a_get_of_a_wrong_key_is_the_callers_fault() -> None:
    (host,) = StoreLink("full").begun(1)
    with pytest.raises(LocalProtocolError, match="20 bytes"):
        host.store.get(b"short", Ask.ANY, 0.0, lambda _: None)


def test_a_table_with_records_is_not_taken() -> None:
    table = RecordTable(TableConfig(), lawful)
    table.put(record(0), 50.0, 0.0, "")
    host = StoreLink("full").begun(1)[0]
    with pytest.raises(ValueError, match="empty one"):
        SiblingStore(host.membership, Single(), table, lawful, StoreConfig(), Random(1))


# ---- lives -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["single", "full", "fixed:2", "adaptive:2:0.5"])
def test_what_has_expired_is_neither_served_nor_sent_and_no_copy_lives_longer(policy: str) -> None:
    link = StoreLink(policy)
    hosts = link.begun(4)
    began = link.now
    link.fill(range(8), hosts, lease_s=10)
    link.run(3.0)
    link.leave(hosts[3])
    link.run(1.0)
    link.add()
    link.run(began + 10.0 - link.now + ROUNDING_S)
    assert all(host.keys == set() for host in link.staying)
    gets = [link.get(host, key_of(number)) for host in link.staying for number in range(8)]
    link.run(1.5)
    assert {results[0].outcome for results in gets} == {Outcome.NOT_FOUND}
    sent = [message for host in link.hosts for at, message in host.sent if at >= began + 10.0]
    assert not any(isinstance(message, Put) for message in sent)
    assert {host.membership.report.data_root for host in link.staying} == {hosts[0].store.stock.digest.root}


def test_a_repetition_carries_what_life_is_left_then() -> None:
    link = StoreLink("fixed:2")
    link.begun(2)
    first, second = ranked(link, 0)
    second.answers_puts = False
    link.put(first, record(0, lease_s=10))
    link.run(1.0)
    lives = [msgspec.msgpack.decode(put.record, type=Copy).remaining_s for put in link.sent(first, Put)]
    assert lives == pytest.approx([9.95, 9.85, 9.65, 9.25])


def test_a_record_that_would_be_dead_on_arrival_is_not_sent() -> None:
    link = StoreLink("fixed:2")
    link.begun(2)
    first, _ = ranked(link, 0)
    link.put(first, record(0, lease_s=10), 0.04)
    link.run(1.0)
    assert link.sent(first, Put) == []
    assert len(first.store._carrying.copying) == 0
