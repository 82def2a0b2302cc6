"""The parts of a host's store for themselves, and strange messages."""

import math
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy, Record
from mdht.subnet.digest import BUCKETS, Digest, bucket_of
from mdht.subnet.listing import entry_bytes
from mdht.subnet.messages import (
    Ack,
    AckStatus,
    Ask,
    Bye,
    Fetch,
    Have,
    Here,
    Nack,
    Note,
    Put,
    State,
    Value,
    WhoHas,
)
from mdht.subnet.slices import Slices
from mdht.subnet.stock import Stock
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.sync_messages import (
    COMPARED_MAX,
    PAGE_BYTES,
    BucketHash,
    Compare,
    Differ,
    KeyEntry,
    KeyList,
    ListKeys,
)
from mdht.subnet.transfers import Budget, Lane, Transfer, Urgency
from mdht.subnet.wire import DATAGRAM_MAX, Header, LinkCodec
from tests.mdht.subnet.store_link import WRITER, StoreHost, StoreLink, key_of, lawful, record

# ---- stock -----------------------------------------------------------------------------------------------------------

copies = st.builds(
    lambda number, seq, writer, lease_s, share, deleted: Copy(
        record(number, seq, writer=writer * 32, lease_s=lease_s, deleted=deleted, size=seq), share * lease_s
    ),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([b"a", b"b"]),
    st.integers(1, 20),
    st.floats(0.01, 1.5),
    st.booleans(),
)


def held(stock: Stock, now: float) -> list[Record]:
    return [copy.record for copy in stock.table.copies(now)]


@given(steps=st.lists(st.one_of(copies, st.floats(0.0, 30.0), st.integers(0, 4)), max_size=40))
def test_the_digest_is_always_that_of_what_is_held(steps: list[Copy | float | int]) -> None:
    stock = Stock(RecordTable(TableConfig(records_max=2), lawful), 0.05)
    now = 0.0
    for number, step in enumerate(steps):
        match step:
            case Copy():
                stock.put(step, now, source=f"10.{number % 7 // 3}.0.1")  # so that one group makes room for another
            case float():
                now += step
                stock.expire(now)
            case _:
                stock.drop(key_of(step))
        records = held(stock, now)
        assert stock.digest.buckets == Digest.of(records).buckets
        assert set(stock.keys) == {one.key for one in records}
        for key in stock.keys:
            assert stock.slots(key) == {(one.writer, one.name): one.seq for one in records if one.key == key}
            assert key in stock.in_bucket(bucket_of(key))
        assert sum(stock.bucket_sizes()) == len(stock)
        assert stock.next_expiry() > now


@given(some=st.lists(copies, max_size=12), seed=st.integers(0, 1000))
def test_what_is_merged_does_not_depend_on_its_order(some: list[Copy], seed: int) -> None:
    orders = [list(some), list(some)]
    Random(seed).shuffle(orders[1])
    stocks = [Stock(RecordTable(TableConfig(), lawful), 0.05) for _ in orders]
    for stock, order in zip(stocks, orders, strict=True):
        for copy in order * 2:
            stock.put(copy, 0.0)
    assert stocks[0].digest.buckets == stocks[1].digest.buckets
    lists = [
        sorted(stock.table.copies(0.0), key=lambda copy: copy.record.signature + copy.record.key) for stock in stocks
    ]
    assert sorted(map(repr, lists[0])) == sorted(map(repr, lists[1]))


def test_a_copy_is_sent_with_less_life_and_not_at_all_when_that_is_over() -> None:
    stock = Stock(RecordTable(TableConfig(), lawful), 0.05)
    data = stock.sent(Copy(record(0), 1.0))
    assert data is not None
    assert msgspec.msgpack.decode(data, type=Copy).remaining_s == pytest.approx(0.95)
    assert stock.sent(Copy(record(0), 0.05)) is None


def test_tombstones_that_make_room_leave_the_digest() -> None:
    stock = Stock(RecordTable(TableConfig(records_max=2), lawful), 0.05)
    stock.put(Copy(record(0), 50.0), 0.0, source="10.0.0.1")
    for number in range(1, 5):
        stock.put(Copy(record(number, deleted=True), 50.0), 0.0, source="10.0.0.1")
    assert stock.put(Copy(record(5), 50.0), 0.0, source="10.1.0.1").refusal is None
    assert stock.keys == {key_of(0), key_of(5)}
    assert stock.digest.buckets == Digest.of(held(stock, 0.0)).buckets


def test_superseded_tombstones_leave_nothing_behind() -> None:
    stock = Stock(RecordTable(TableConfig(), lawful), 0.05)
    for seq in range(500):
        stock.put(Copy(record(0, seq, deleted=True), 1000.0), 0.0)
    assert len(stock._ends) <= 2 + 64
    assert len(stock._tombstones) == 1


# ---- slices, lanes, budgets ------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 25), max_size=6), most=st.integers(1, 10))
def test_slices_judge_every_key_once_and_no_more_at_a_time(sizes: list[int], most: int) -> None:
    slices = Slices(most=most, every_s=1.0, jobs_max=10, room=lambda: True)
    judged: list[list[bytes]] = [[] for _ in sizes]
    at_once: dict[float, int] = {}
    for number, size in enumerate(sizes):

        def judge(keys, now: float, number: int = number) -> None:
            judged[number] += keys
            at_once[now] = at_once.get(now, 0) + len(keys)

        assert slices.add(lambda size=size: [bytes((one,)) for one in range(size)], judge, 0.0, urgent=number % 2 == 0)
    while slices.next_deadline() < math.inf:
        slices.tick(slices.next_deadline())
    assert [len(keys) for keys in judged] == sizes
    assert all(len(set(keys)) == len(keys) for keys in judged)
    assert all(count <= most for count in at_once.values())
    assert len(slices) == 0


def test_slices_wait_for_room_and_have_a_limit() -> None:
    rooms = [False]
    slices = Slices(most=5, every_s=1.0, jobs_max=2, room=lambda: rooms[0])
    seen: list[bytes] = []
    assert slices.add(lambda: [b"a"], lambda keys, now: seen.extend(keys), 0.0)
    assert slices.add(lambda: [b"b"], lambda keys, now: seen.extend(keys), 0.0)
    assert not slices.add(lambda: [b"c"], lambda keys, now: seen.extend(keys), 0.0)
    slices.tick(0.0)
    assert (seen, slices.next_deadline()) == ([], 1.0)
    rooms[0] = True
    slices.tick(1.0)
    assert seen == [b"a", b"b"]


def test_a_lane_lets_the_urgent_first_and_then_those_of_few_copies() -> None:
    lane = Lane()
    order = [(Urgency.REPAIR, 2), (Urgency.STRAY, 1), (Urgency.REPAIR, 1), (Urgency.PUT, 3), (Urgency.REPAIR, 2)]
    for number, (urgency, live) in enumerate(order):
        lane.push(Transfer(bytes((number,)), b"host", urgency), live)
    found = []
    while lane:
        found.append(lane.first().key[0])
        lane.pop()
    assert found == [3, 2, 0, 4, 1]


@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=50))
def test_a_budget_lets_no_more_through_than_its_rate_and_what_was_saved(sizes: list[int]) -> None:
    budget = Budget(1000.0, 2000.0)
    now = spent = 0.0
    for size in sizes:
        while wait_s := budget.wait_s(size, now):
            now += wait_s
        spent += min(size, 2000)
        assert spent <= 2000.0 + 1000.0 * now + 0.01


@pytest.mark.parametrize(
    "bad", [{"rto_s": 0.0}, {"window": 0}, {"questions": 0}, {"repair_bytes_per_s": 0.0}, {"repair_burst_bytes": 10.0}]
)
def test_settings_that_cannot_work_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|need"):
        StoreConfig(**bad)


# ---- messages --------------------------------------------------------------------------------------------------------


def test_the_largest_messages_fit_a_datagram_with_a_key() -> None:
    codec = LinkCodec("test", [b"k" * 16])
    header = Header(subnet_tag=bytes(8), hid=bytes(8), incarnation=1, seq=1)
    size = entry_bytes(KeyEntry(bytes(20), bytes(8), 1, (bytes(8),) * 8))
    pages = [
        KeyList(
            qid=bytes(8),
            entries=(KeyEntry(bytes(20), bytes(8), 1, (bytes(8),) * 8),) * (PAGE_BYTES // size),
            after=bytes(20),
        ),
        KeyList(
            qid=bytes(8), entries=(KeyEntry(bytes(20), bytes(8)),) * (PAGE_BYTES // 32), after=bytes(20), more=True
        ),
        Compare(qid=bytes(8), common=True, buckets=(BucketHash(1, bytes(8)),) * COMPARED_MAX),
        Differ(qid=bytes(8), compared=COMPARED_MAX, buckets=bytes(COMPARED_MAX)),
        ListKeys(qid=bytes(8), common=True, first=0, last=255, after=bytes(20)),
    ]
    for message in pages:
        data = codec.encode(header, message)
        assert len(data) <= DATAGRAM_MAX
        assert codec.decode(data) == (header, message)
    assert 3 * COMPARED_MAX >= BUCKETS


@pytest.mark.parametrize("policy", ["single", "full", "fixed:2"])
def test_pages_tell_every_key_once_in_order(policy: str) -> None:
    link = StoreLink(policy)
    host = link.begun(1)[0]
    for number in range(300):
        host.store.stock.put(Copy(record(number), 1000.0), link.now)
    found: list[bytes] = []
    first, after, more, pages = 0, b"", True, 0
    while more:
        asked = ListKeys(qid=bytes(8), common=False, first=first, last=255, after=after)
        page = host.store._incoming._listing.answer(b"somebody", asked, link.now)
        assert isinstance(page, KeyList)
        found += [entry.key for entry in page.entries]
        first, after, more, pages = page.first, page.after, page.more, pages + 1
    assert found == sorted(found, key=lambda key: (bucket_of(key), key))
    assert len(found) == 300
    assert set(found) == {key_of(number) for number in range(300)}
    assert pages <= 300 * 32 // (PAGE_BYTES - 32) + 1


def test_one_who_asks_for_pages_too_fast_gets_no_more_for_a_while() -> None:
    link = StoreLink("full", config=StoreConfig(pages_per_s=5.0))
    host = link.begun(1)[0]
    asked = ListKeys(qid=bytes(8), common=False, first=0, last=255)
    listing = host.store._incoming._listing
    assert [listing.answer(b"somebody", asked, 0.0) is None for _ in range(7)] == [False] * 5 + [True] * 2
    assert host.store.counters["pages_over_rate"] == 2
    assert listing.answer(b"somebody", asked, 1.0) is not None


lengths = st.sampled_from([0, 1, 7, 8, 9, 20, 21])
blobs = lengths.map(bytes) | st.sampled_from([key_of(0), key_of(1), b"queryqid", (1).to_bytes(8, "big")])
packed = st.one_of(blobs, copies.map(msgspec.msgpack.encode), st.binary(max_size=30))
counts = st.integers(-3, 300)
strange = st.one_of(
    st.builds(Put, qid=blobs, record=packed),
    st.builds(Ack, qid=blobs, status=st.sampled_from(AckStatus)),
    st.builds(Note, key=blobs, stamp=blobs, wanted=counts, holders=st.lists(blobs, max_size=9).map(tuple)),
    st.builds(WhoHas, qid=blobs, key=blobs, ask=st.sampled_from(list(Ask))),
    st.builds(Have, qid=blobs, key=blobs, stamp=blobs, newest=counts, records=counts, size=st.integers(0, 3000)),
    st.builds(Fetch, qid=blobs, key=blobs),
    st.builds(Value, qid=blobs, key=blobs, records=st.lists(packed, max_size=3).map(tuple)),
    st.builds(Nack, qid=blobs, key=blobs),
    st.builds(Bye, handed_over=st.booleans()),
    st.builds(
        Here,
        state=st.sampled_from(State),
        addresses=st.just(()),
        load=counts,
        size=counts,
        heard=counts,
        view_epoch=counts,
        view_hash=blobs,
        node_state_hash=blobs,
        data_root=blobs,
        last_put=counts,
    ),
    st.builds(
        Compare,
        qid=blobs,
        common=st.booleans(),
        buckets=st.lists(st.builds(BucketHash, counts, blobs), max_size=90).map(tuple),
    ),
    st.builds(Differ, qid=blobs, compared=counts, buckets=st.binary(max_size=90)),
    st.builds(ListKeys, qid=blobs, common=st.booleans(), first=counts, last=counts, after=blobs),
    st.builds(
        KeyList,
        qid=blobs,
        entries=st.lists(
            st.builds(KeyEntry, blobs, blobs, counts, st.lists(blobs, max_size=9).map(tuple)), max_size=4
        ).map(tuple),
        first=counts,
        after=blobs,
        more=st.booleans(),
    ),
)
ready_hosts: dict[str, tuple[StoreLink, list[StoreHost]]] = {}


def a_host(policy: str) -> tuple[StoreLink, list[StoreHost]]:
    """Of a link that lives on from example to example."""
    if policy not in ready_hosts:
        link = StoreLink(policy)
        hosts = link.begun(3)
        link.fill(range(3), hosts[:1])
        link.run(3.0)
        ready_hosts[policy] = (link, hosts)
    return ready_hosts[policy]


@pytest.mark.parametrize("policy", ["single", "full", "fixed:2", "fixed:2:receiver", "adaptive:1:0.5"])
@settings(max_examples=60)
@given(messages=st.lists(st.tuples(strange, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_no_message_raises_anything_or_harms_what_others_hold(policy: str, messages) -> None:
    link, hosts = a_host(policy)
    host = hosts[0]
    for message, multicast, known in messages:
        hid = hosts[1].hid if known else b"stranger"
        header = Header(subnet_tag=host.tag, hid=hid, incarnation=1, seq=1)
        host.store.receive(header, message, hosts[1].address, link.now, multicast=multicast)
        host.store.tick(link.now)
        assert host.store.next_deadline() > link.now - 1.0
    host.store.on_bulk(b"queryqid", hosts[1].hid, (b"x",), link.now)
    host.store.on_bulk_sent(b"queryqid", (AckStatus.STORED,), link.now)
    assert host.store.stock.digest.buckets == Digest.of(held(host.store.stock, link.now)).buckets


def test_a_put_that_is_no_record_is_refused_and_counted() -> None:
    link, hosts = a_host("fixed:2")
    header = Header(subnet_tag=hosts[0].tag, hid=hosts[1].hid, incarnation=1, seq=1)
    before = hosts[0].store.counters["unlawful"]
    put = Put(qid=b"otherqid", record=b"\xc1")
    effects = hosts[0].store.receive(header, put, hosts[1].address, link.now, multicast=False)
    assert [effect.message for effect in effects] == [Ack(qid=b"otherqid", status=AckStatus.REFUSED)]
    assert hosts[0].store.counters["unlawful"] == before + 1


def test_a_stranger_s_messages_are_counted_and_not_answered() -> None:
    link, hosts = a_host("fixed:2")
    header = Header(subnet_tag=hosts[0].tag, hid=b"stranger", incarnation=1, seq=1)
    before = hosts[0].store.counters["strangers"]
    put = Put(qid=b"otherqid", record=msgspec.msgpack.encode(Copy(record(0, writer=WRITER), 50.0)))
    assert hosts[0].store.receive(header, put, ("192.0.2.9", 9), link.now, multicast=False) == []
    assert hosts[0].store.counters["strangers"] == before + 1
