import functools

from hypothesis import given
from hypothesis import strategies as st

from mdht.records import TOMBSTONE_EXTRA_S, Record
from mdht.signing import SigningKey
from z2z.stores.kademlia_sets import (
    AHEAD_MAX_S,
    SET_MAX,
    SetReader,
    absorb,
    alive,
    decode,
    encode,
    is_set,
    merge,
    page_key,
    remaining_s,
    seq_at,
    size_of,
)

KEY = b"k" * 20
NOW = 1_800_000_000.0
TOM, JOE = SigningKey.from_seed(b"t" * 32), SigningKey.from_seed(b"j" * 32)


@functools.cache
def record(writer=TOM, name=b"n", at=NOW, lease_s=60, deleted=False, value=b"v", key=KEY):
    return Record.signed(
        key=key,
        writer=writer,
        name=name,
        seq=seq_at(at),
        lease_s=lease_s,
        deleted=deleted,
        value=b"" if deleted else value,
    )


records = st.builds(
    record,
    writer=st.sampled_from([TOM, JOE]),
    name=st.sampled_from([b"", b"a", b"b", b"c", b"d" * 64]),
    at=st.sampled_from([NOW - 2, NOW - 1, NOW]),
    lease_s=st.sampled_from([10, 60]),
    deleted=st.booleans(),
    value=st.sampled_from([b"", b"x" * 100, b"y" * 720]),
)
many = st.lists(records, max_size=30)


@given(many)
def test_a_set_is_read_as_it_was_written(some):
    held = absorb((), some)
    data = encode(held)
    assert is_set(data)
    assert decode(data, KEY) == held
    reader = SetReader()
    assert reader(data, KEY, NOW) == held
    assert reader.refused == 0


@given(many, many, many)
def test_merging_is_the_same_in_any_order_and_any_number_of_times(a, b, c):
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(merge(a), a) == merge(a)


@given(many, many)
def test_a_set_never_grows_beyond_one_datagram_and_loses_nothing_that_it_held(a, b):
    held = absorb((), a)
    both = absorb(held, b)
    assert len(encode(both)) <= size_of(both) <= SET_MAX
    assert {r.slot for r in held} <= {r.slot for r in both}
    whole = merge(held, b)
    assert set(both) <= set(whole) | set(held)
    if size_of(whole) <= SET_MAX:
        assert both == whole
    assert absorb(both, b) == absorb(absorb(both, b), b)


@given(st.binary(max_size=300) | st.integers() | st.text() | st.none() | st.lists(st.integers()))
def test_whatever_else_lies_under_a_key_is_an_empty_set(data):
    assert SetReader()(data, KEY, NOW) == ()


@given(many, st.data())
def test_a_damaged_set_is_a_part_of_it_or_empty(some, data):
    held = absorb((), some)
    encoded = bytearray(encode(held))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    assert set(SetReader()(bytes(encoded), KEY, NOW)) <= set(held)
    assert set(SetReader()(bytes(encoded[:at]), KEY, NOW)) <= set(held)


def test_a_forged_newer_record_does_not_hide_the_good_one():
    good, newer = record(), record(at=NOW + 1)
    forged = Record(KEY, newer.writer, newer.name, newer.seq, newer.lease_s, False, b"forged", newer.signature)
    reader = SetReader()
    data = encode((forged, good))
    assert reader(data, KEY, NOW) == (good,)
    assert reader.refused == 1


def test_a_set_copied_to_another_key_is_refused():
    reader = SetReader()
    assert reader(encode((record(),)), b"o" * 20, NOW) == ()
    assert reader.refused == 1


def test_records_end_by_the_time_of_their_writing_and_tombstones_outlive_what_they_remove():
    live, gone = record(lease_s=60), record(name=b"x", lease_s=60, deleted=True)
    data = encode(merge([live, gone]))
    reader = SetReader()
    assert set(reader(data, KEY, NOW + 59.9)) == {live, gone}
    assert reader(data, KEY, NOW + 60) == alive([live, gone], NOW + 60) == (gone,)
    assert reader(data, KEY, NOW + 60 + TOMBSTONE_EXTRA_S) == ()
    assert reader.refused == 0


def test_a_record_from_the_future_lives_no_longer_and_one_from_far_in_it_is_refused():
    early, never = record(at=NOW + AHEAD_MAX_S), record(name=b"x", at=NOW + AHEAD_MAX_S + 1)
    reader = SetReader()
    assert reader(encode(merge([early, never])), KEY, NOW) == (early,)
    assert remaining_s(early, NOW) == 60
    assert reader.refused == 1


def test_a_newer_version_that_does_not_fit_leaves_the_older_one():
    full = absorb((), [record(name=b"%d" % number, value=b"x" * 650) for number in range(20)])
    assert SET_MAX - 1_000 < size_of(full) <= SET_MAX
    assert absorb(full, [record(JOE)]) in (full, merge(full, [record(JOE)]))
    small = absorb(absorb(full[1:], [record(JOE, value=b"")]), [record(JOE, name=b"f", value=b"z" * 200)])
    assert absorb(small, [record(JOE, at=NOW + 1, value=b"x" * 720)]) == small


def test_pages_have_keys_of_their_own_and_the_first_is_the_key_itself():
    keys = [page_key(KEY, page) for page in range(32)]
    assert keys[0] == KEY
    assert len(set(keys)) == 32
    assert {len(key) for key in keys} == {20}
