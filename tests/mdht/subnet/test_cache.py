import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.records import Copy, Record
from mdht.subnet.cache import Cache
from mdht.subnet.inventory_config import InventoryConfig
from mdht.wire import copy_bytes
from tests.mdht.subnet.store_link import key_of, record

KEY = key_of(1)
KEEP_S = InventoryConfig().keep_s
OTHER_WRITER = b"x" * 32


def sent(*records: Record, remaining_s: float = 300.0) -> list[bytes]:
    return [msgspec.msgpack.encode(Copy(one, remaining_s)) for one in records]


def found(cache: Cache, key: bytes, now: float) -> list[Copy]:
    return [msgspec.msgpack.decode(data, type=Copy) for data in cache.get(key, now)]


def cache_of(*records: Record, remaining_s: float = 300.0, **config: float) -> Cache:
    cache = Cache(InventoryConfig(**config))  # type: ignore[arg-type]
    for one in records:
        assert cache.put(one.key, sent(one, remaining_s=remaining_s), 0.0)
    return cache


def test_a_copy_is_served_with_what_is_left_of_its_life() -> None:
    cache = cache_of(record(1))
    assert found(cache, KEY, 12.0) == [Copy(record(1), 288.0)]
    assert found(cache, key_of(2), 12.0) == []


def test_it_ends_a_minute_after_it_came_however_long_its_record_lives() -> None:
    cache = cache_of(record(1))
    assert found(cache, KEY, KEEP_S - 0.1)
    assert not found(cache, KEY, KEEP_S)
    assert (len(cache), cache.bytes_kept) == (0, 0)


def test_reading_does_not_prolong_it() -> None:
    cache = cache_of(record(1))
    for second in range(int(KEEP_S)):
        assert found(cache, KEY, float(second))
    assert not found(cache, KEY, KEEP_S)


def test_each_record_ends_with_its_own_life() -> None:
    cache = Cache(InventoryConfig())
    other = record(1, writer=OTHER_WRITER)
    cache.put(KEY, sent(record(1), remaining_s=10.0) + sent(other, remaining_s=20.0), 0.0)
    assert [copy.record for copy in found(cache, KEY, 9.0)] == [record(1), other]
    assert [copy.record for copy in found(cache, KEY, 10.0)] == [other]
    assert not found(cache, KEY, 20.0)


def test_a_new_answer_replaces_the_old_one_but_no_newer_version() -> None:
    other = record(1, writer=OTHER_WRITER)
    cache = cache_of(record(1, 5))
    cache.put(KEY, sent(record(1, 4), other), 10.0)
    assert {copy.record for copy in found(cache, KEY, 10.0)} == {record(1, 5), other}
    cache.put(KEY, sent(record(1, 6)), 20.0)
    assert found(cache, KEY, 20.0) == [Copy(record(1, 6), 300.0)]
    assert found(cache, KEY, 20.0 + KEEP_S - 0.1), "its time counts anew"


def test_an_answer_without_a_living_record_is_not_kept() -> None:
    cache = cache_of(record(1))
    assert not cache.put(KEY, sent(record(1, 2, deleted=True)), 1.0)
    assert not found(cache, KEY, 1.0)
    assert not cache.put(KEY, [], 1.0)
    assert not cache.put(KEY, sent(record(1), remaining_s=0.0), 1.0)
    assert cache.bytes_kept == 0


def test_a_tombstone_stays_beside_records_that_live() -> None:
    cache = Cache(InventoryConfig())
    records = (record(1, 2, deleted=True), record(1, writer=OTHER_WRITER))
    assert cache.put(KEY, sent(*records), 0.0)
    version = cache.version(KEY, 1.0)
    assert version is not None
    assert (version.records, version.newest) == (2, 2)


def test_a_tombstone_alone_is_not_served_as_that_there_is_nothing_is_not_kept() -> None:
    cache = Cache(InventoryConfig())
    other = record(1, writer=OTHER_WRITER, deleted=True)
    cache.put(KEY, sent(record(1), remaining_s=10.0) + sent(other, remaining_s=300.0), 0.0)
    assert len(found(cache, KEY, 9.0)) == 2
    assert not found(cache, KEY, 10.0)
    assert (len(cache), cache.bytes_kept) == (0, 0)


def test_of_too_many_keys_the_one_unused_for_longest_goes() -> None:
    cache = cache_of(record(1), record(2), record(3), keys_max=3)
    assert found(cache, key_of(1), 1.0)
    cache.put(key_of(4), sent(record(4)), 1.0)
    assert cache.keys(1.0) == [key_of(3), key_of(1), key_of(4)]


def test_of_too_many_bytes_the_keys_unused_for_longest_go() -> None:
    size = copy_bytes(Copy(record(1, size=500), 1.0))
    cache = cache_of(*[record(number, size=500) for number in range(5)], bytes_max=3 * size)
    assert cache.keys(0.0) == [key_of(2), key_of(3), key_of(4)]
    assert cache.bytes_kept == 3 * size


def test_an_answer_that_is_too_large_alone_is_not_kept() -> None:
    cache = cache_of(record(1), bytes_max=400)
    assert not cache.put(key_of(2), sent(record(2, size=500)), 0.0)
    assert (len(cache), cache.bytes_kept) == (0, 0)


@pytest.mark.parametrize(
    ("passed", "lacks"),
    [
        (record(1, 5), False),
        (record(1, 4), False),
        (record(1, 6), True),
        (record(1, 6, deleted=True), True),
        (record(1, 1, writer=OTHER_WRITER), True),
        (record(2), True),
    ],
)
def test_it_lacks_what_is_newer_or_unknown(passed: Record, lacks: bool) -> None:
    assert cache_of(record(1, 5)).lacks(passed, 1.0) is lacks


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 900), st.floats(0.0, 100.0), st.floats(0.0, 30.0)), max_size=40
    )
)
def test_the_limits_hold_and_nothing_outlives_its_record(steps: list[tuple[int, int, float, float]]) -> None:
    config = InventoryConfig(keys_max=4, bytes_max=2_000)
    cache = Cache(config)
    ends: dict[bytes, float] = {}
    now = 0.0
    for number, size, remaining_s, pause_s in steps:
        now += pause_s
        one = record(number, size=min(size, 890))
        cache.put(one.key, sent(one, remaining_s=remaining_s), now)
        ends[one.key] = max(ends.get(one.key, 0.0), now + remaining_s)
        assert len(cache) <= config.keys_max
        assert cache.bytes_kept <= config.bytes_max
        for key in cache.keys(now):
            for copy in found(cache, key, now):
                assert now + copy.remaining_s <= ends[key] + 1e-6
    for key in cache.keys(now):
        cache.drop(key)
    assert cache.bytes_kept == 0


def test_settings_out_of_bounds_are_refused() -> None:
    for wrong in ({"keep_s": 0.0}, {"keys_max": 801}, {"keys_max": 0}, {"filter_s": 256.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InventoryConfig(**wrong)  # type: ignore[arg-type]
