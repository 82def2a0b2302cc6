import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import RefusalCode
from mdht.record_table import PutOutcome, RecordTable, TableConfig
from mdht.records import Record, Verifier, life_s, set_digest, supersedes
from mdht.signing import SigningKey

KEY = bytes(20)
ALICE, BOB = (SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2))


def table(verify: bool = True, **limits: object) -> RecordTable:
    return RecordTable(TableConfig(**limits), lambda _record: verify)


def record(
    writer: int = 1,
    name: bytes = b"",
    seq: int = 1,
    value: bytes = b"value",
    lease_s: int = 300,
    deleted: bool = False,
    key: bytes = KEY,
) -> Record:
    value = b"" if deleted else value
    return Record(key, writer.to_bytes(32), name, seq, lease_s, deleted, value, bytes(64))


def put_all(held: RecordTable, records: Iterable[Record], source: str, now: float = 0.0) -> list[PutOutcome]:
    return [held.put(each, life_s(each), now, source) for each in records]


def writers(held: RecordTable, now: float = 0.0) -> set[int]:
    return {int.from_bytes(copy.record.writer) for copy in held.get(KEY, now)}


@pytest.mark.parametrize(
    ("held", "arriving", "change", "refusal"),
    [
        (None, record(), "added", None),
        (None, record(deleted=True), None, None),
        (record(), record(), None, None),
        (record(), record(seq=2), "updated", None),
        (record(), record(seq=2, deleted=True), "removed", None),
        (record(seq=2), record(), None, RefusalCode.STALE),
        (record(seq=2, deleted=True), record(), None, RefusalCode.STALE),
        (record(deleted=True), record(seq=2), "added", None),
        (record(deleted=True), record(seq=2, deleted=True), None, None),
        (record(), record(name=b"other"), "added", None),
        (record(), record(writer=2), "added", None),
        (record(), record(deleted=True), "removed", None),
        (None, record(lease_s=0), None, RefusalCode.MALFORMED),
        (None, record(value=bytes(901)), None, RefusalCode.TOO_LARGE),
    ],
)
def test_put_says_what_changed(
    held: Record | None, arriving: Record, change: str | None, refusal: RefusalCode | None
) -> None:
    records = table()
    if held is not None:
        records.put(held, 300.0, 0.0, "192.0.2.1")
    outcome = records.put(arriving, 300.0, 1.0, "192.0.2.1")
    assert (outcome.change, outcome.refusal) == (change, refusal)
    assert records.holds(arriving, 1.0) == (refusal is None)


@pytest.mark.parametrize("remaining_s", [0.0, -1.0, math.nan, -math.inf])
def test_a_copy_without_life_is_refused(remaining_s: float) -> None:
    assert table().put(record(), remaining_s, 0.0, "").refusal is RefusalCode.EXPIRED


def test_life_is_never_extended_beyond_the_lease() -> None:
    records = table()
    records.put(record(lease_s=10), math.inf, 0.0, "")
    assert [copy.remaining_s for copy in records.get(KEY, 0.0)] == [10]
    assert records.get(KEY, 10.0) == []


def test_a_repetition_prolongs_but_never_shortens() -> None:
    records = table()
    for remaining_s, left in ((10.0, 10.0), (5.0, 10.0), (20.0, 20.0)):
        records.put(record(), remaining_s, 0.0, "")
        assert records.get(KEY, 0.0)[0].remaining_s == left
    assert records.expire(10.0) == []
    assert records.next_expiry() == 20.0
    assert records.expire(20.0) == [record()]
    assert (len(records), records.bytes_held, records.keys()) == (0, 0, [])
    assert records.next_expiry() == math.inf


def test_a_shorter_successor_expires_on_its_own_time() -> None:
    records = table()
    records.put(record(lease_s=300), 300.0, 0.0, "")
    records.put(record(seq=2, lease_s=5), 5.0, 0.0, "")
    assert records.next_expiry() == 5.0
    assert records.expire(5.0) == [record(seq=2, lease_s=5)]
    assert records.expire(300.0) == []


def test_an_expired_tombstone_is_no_news() -> None:
    records = table()
    records.put(record(deleted=True, lease_s=1), 1e9, 0.0, "")
    assert records.expire(600.0) == []
    assert len(records) == 1
    assert records.expire(601.0) == []
    assert len(records) == 0


def test_an_expired_copy_does_not_hold_back_an_older_number() -> None:
    records = table()
    records.put(record(seq=5, lease_s=1), 1.0, 0.0, "")
    assert records.put(record(seq=4), 300.0, 1.0, "").refusal is None
    assert records.expire(1.0) == []
    assert records.holds(record(seq=4), 2.0)


def test_a_forged_record_is_refused_and_an_own_one_kept() -> None:
    records = RecordTable(TableConfig(), Verifier())
    true = Record.signed(key=KEY, writer=ALICE, seq=1, lease_s=60, value=b"mine")
    forged = Record(KEY, ALICE.public_key, b"", 2, 60, True, b"", BOB.sign(b"anything"))
    assert records.put(true, 60.0, 0.0, "192.0.2.1").change == "added"
    assert records.put(forged, 60.0, 0.0, "192.0.2.1").refusal is RefusalCode.BAD_SIGNATURE
    assert records.holds(true, 0.0)


def test_a_signature_is_verified_once_and_never_on_a_read() -> None:
    asked: list[Record] = []
    records = RecordTable(TableConfig(), lambda each: asked.append(each) or True)  # type: ignore[func-returns-value]
    for now in range(5):
        records.put(record(), 300.0, float(now), "192.0.2.1")
        records.get(KEY, float(now))
    assert len(asked) == 1


def test_a_flood_from_one_network_keeps_out_only_itself() -> None:
    records = table(records_per_key_max=10)
    put_all(records, (record(writer) for writer in range(1, 4)), "192.0.2.1")
    flood = put_all(records, (record(writer) for writer in range(100, 200)), "203.0.113.1")
    flood += put_all(records, (record(writer) for writer in range(200, 300)), "203.0.113.200")
    assert [outcome.refusal for outcome in flood].count(RefusalCode.STORE_FULL) == 193
    assert writers(records) == {1, 2, 3, *range(100, 107)}
    late = records.put(record(50), 300.0, 1.0, "198.51.100.1")
    assert (late.change, [each.writer[-1] for each in late.evicted]) == ("added", [106])
    assert writers(records) == {1, 2, 3, 50, *range(100, 106)}


def test_two_sources_share_a_full_key_and_come_to_rest() -> None:
    records = table(records_per_key_max=10)
    put_all(records, (record(writer) for writer in range(100, 110)), "203.0.113.1")
    for _round in range(3):
        put_all(records, (record(writer) for writer in range(1, 11)), "192.0.2.1")
    assert writers(records) == {1, 2, 3, 4, 5, 100, 101, 102, 103, 104}


def test_pinned_writers_never_make_room() -> None:
    records = table(records_per_key_max=4, pinned=frozenset(writer.to_bytes(32) for writer in (1, 2, 3, 4)))
    put_all(records, (record(writer) for writer in (9, 8, 7)), "203.0.113.1")
    put_all(records, (record(writer) for writer in (1, 2)), "")
    assert {1, 2} < writers(records)
    put_all(records, (record(writer) for writer in range(20, 40)), "192.0.2.1")
    assert {1, 2} < writers(records)


def test_a_full_key_still_takes_the_deletion_of_what_it_holds() -> None:
    records = table(records_per_key_max=3)
    put_all(records, (record(writer) for writer in (1, 2, 3)), "192.0.2.1")
    assert records.put(record(2, seq=2, deleted=True), 300.0, 0.0, "192.0.2.1").change == "removed"
    assert records.put(record(4), 300.0, 0.0, "192.0.2.1").refusal is RefusalCode.STORE_FULL


def test_bytes_of_a_key_are_bounded() -> None:
    records = table(bytes_per_key_max=1_000)
    outcomes = put_all(records, (record(writer, value=bytes(300)) for writer in range(1, 6)), "192.0.2.1")
    assert [outcome.refusal for outcome in outcomes] == [None] * 3 + [RefusalCode.STORE_FULL] * 2
    assert records.put(record(9, value=bytes(300)), 300.0, 0.0, "203.0.113.1").change == "added"
    assert records.bytes_held == 900
    assert records.put(record(9, seq=2, value=bytes(720)), 300.0, 0.0, "203.0.113.1").refusal is RefusalCode.STORE_FULL


def test_one_writer_has_a_limit_of_names_under_a_key() -> None:
    records = table(writer_records_per_key_max=2)
    outcomes = put_all(records, (record(1, name=bytes([n])) for n in range(3)), "192.0.2.1")
    assert [outcome.refusal for outcome in outcomes] == [None, None, RefusalCode.STORE_FULL]
    assert records.put(record(1, name=bytes([0]), seq=2), 300.0, 0.0, "192.0.2.1").change == "updated"
    assert records.put(record(2), 300.0, 0.0, "192.0.2.1").change == "added"


def test_the_whole_node_is_bounded_with_the_same_fairness() -> None:
    records = table(records_max=10)
    flood = [record(7, key=number.to_bytes(20)) for number in range(1, 31)]
    assert sum(outcome.refusal is None for outcome in put_all(records, flood, "203.0.113.9")) == 10
    assert records.put(record(), 300.0, 0.0, "192.0.2.1").change == "added"
    assert len(records) == 10
    assert records.find(flood[9].key, flood[9].writer, b"", 0.0) is None
    assert records.find(flood[8].key, flood[8].writer, b"", 0.0) is not None


def test_a_source_over_its_rate_is_told_when_to_come_back() -> None:
    records = table(source_puts_per_s=2.0, source_burst=3)
    outcomes = put_all(records, (record(writer) for writer in range(1, 6)), "192.0.2.1")
    assert [outcome.refusal for outcome in outcomes] == [None] * 3 + [RefusalCode.BUSY] * 2
    assert outcomes[-1].retry_after_s == pytest.approx(0.5)
    assert records.put(record(9), 300.0, 0.0, "192.0.2.2").refusal is None
    assert all(outcome.refusal is None for outcome in put_all(records, map(record, range(10, 30)), "127.0.0.1"))


def test_forged_records_do_not_use_up_a_writers_rate() -> None:
    records = RecordTable(TableConfig(writer_burst=1), Verifier())
    forged = Record(KEY, ALICE.public_key, b"", 1, 60, False, b"bad", bytes(64))
    assert {records.put(forged, 60.0, 0.0, "203.0.113.1").refusal for _ in range(9)} == {RefusalCode.BAD_SIGNATURE}
    true = [Record.signed(key=KEY, writer=ALICE, seq=seq, lease_s=60) for seq in (1, 2)]
    assert [outcome.refusal for outcome in put_all(records, true, "192.0.2.1")] == [None, RefusalCode.BUSY]


def test_dropping_a_key_forgets_it() -> None:
    records = table()
    put_all(records, [record(1), record(2), record(3, key=bytes([1]) * 20)], "")
    records.drop(KEY)
    assert records.keys() == [bytes([1]) * 20]
    assert records.digest(KEY) == 0
    assert records.expire(300.0) == [record(3, key=bytes([1]) * 20)]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[Record, str, float]:
    each = record(
        writer=draw(st.integers(1, 4)),
        name=draw(st.sampled_from([b"", b"n"])),
        seq=draw(st.integers(1, 3)),
        value=bytes(draw(st.integers(0, 3)) * 100),
        lease_s=draw(st.integers(1, 20)),
        deleted=draw(st.booleans()),
        key=bytes(19) + bytes([draw(st.integers(0, 2))]),
    )
    source = draw(st.sampled_from(["192.0.2.1", "203.0.113.1", "2001:db8::1", ""]))
    return each, source, draw(st.floats(0, 3))


@given(st.lists(deliveries(), max_size=60))
def test_sums_limits_and_heap_hold_after_any_deliveries(arrivals: list[tuple[Record, str, float]]) -> None:
    records = table(records_per_key_max=4, records_max=8, bytes_per_key_max=700, bytes_max=1_500)
    now = 0.0
    for each, source, pause in arrivals:
        now += pause
        records.expire(now)
        records.put(each, life_s(each), now, source)
        copies = list(records.copies(now))
        assert len(copies) == len(records)
        assert records.bytes_held == sum(len(c.record.name) + len(c.record.value) for c in copies) <= 1_500
        assert sum(1 if c.record.deleted else 4 for c in copies) <= 32
        for key in {each.key, *records.keys()}:
            under = records.get(key, now)
            assert sum(1 if c.record.deleted else 4 for c in under) <= 16
            assert records.digest(key) == set_digest(c.record for c in under)
            assert all(0 < c.remaining_s <= life_s(c.record) + 1e-9 for c in under)
    records.expire(now + 1_000)
    assert (len(records), records.keys(), records.next_expiry()) == (0, [], math.inf)


@given(st.lists(deliveries(), max_size=40), st.randoms(use_true_random=False))
def test_tables_without_quotas_converge_in_any_order(arrivals: list[tuple[Record, str, float]], rng: object) -> None:
    one, two = table(), table()
    shuffled = list(arrivals)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    for held, order in ((one, arrivals), (two, shuffled)):
        for each, source, _pause in order:
            held.put(each, 1.0, 0.0, source)
    keys = {each.key for each, _source, _pause in arrivals}
    assert [one.digest(key) for key in keys] == [two.digest(key) for key in keys]
    for each, _source, _pause in arrivals:
        held_copy = one.find(each.key, each.writer, each.name, 0.5)
        assert held_copy is not None
        assert not supersedes(each, held_copy.record)


def test_many_changes_do_not_grow_the_heap() -> None:
    records = table()
    for seq in range(1, 2_000):
        records.put(record(seq=seq, lease_s=5_000 - seq), 1e9, 0.0, "")
    assert len(records._heap) <= 2 + 64
