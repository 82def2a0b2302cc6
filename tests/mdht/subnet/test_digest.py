from hashlib import sha1
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.records import Record
from mdht.subnet.digest import BUCKETS_BYTES, Digest, bucket_of, common, fingerprint
from mdht.subnet.errors import WireError
from mdht.subnet.policies import policy_from


def record(number: int, *, seq: int = 1, name: bytes = b"", writer: int = 0) -> Record:
    return Record(Random(number).randbytes(20), bytes([writer]) * 32, name, seq, 300, False, b"value", bytes(64))


RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 20),
        seq=st.integers(0, 3),
        name=st.sampled_from([b"", b"a", b"b"]),
        writer=st.integers(0, 2),
    ),
    max_size=30,
    unique=True,
)


def test_an_unnamed_record_counts_by_key_writer_and_number() -> None:
    one = record(1, seq=7, writer=3)
    data = one.key + bytes([3]) * 32 + bytes(7) + b"\x07"
    assert fingerprint(one) == int.from_bytes(sha1(data).digest()[:8], "big")
    buckets = Digest.of([one]).buckets
    at = 8 * sha1(one.key).digest()[0]
    assert buckets[at : at + 8] == sha1(data).digest()[:8]
    assert buckets[:at] + buckets[at + 8 :] == bytes(BUCKETS_BYTES - 8)
    assert Digest.of([one]).root == sha1(buckets).digest()[:8]


@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(records: list[Record], rng: Random) -> None:
    shuffled = rng.sample(records, len(records))
    assert Digest.of(records).buckets == Digest.of(shuffled).buckets
    assert Digest.of(records).root == Digest.of(shuffled).root


@given(RECORDS, st.randoms(use_true_random=False))
def test_what_is_added_and_removed_leaves_no_trace(records: list[Record], rng: Random) -> None:
    kept = rng.sample(records, len(records) // 2)
    digest = Digest.of(records)
    for each in records:
        if each not in kept:
            digest.remove(each)
    assert digest.buckets == Digest.of(kept).buckets


@given(RECORDS, RECORDS)
def test_buckets_differ_where_the_records_do(mine: list[Record], others: list[Record]) -> None:
    differing = Digest.of(mine).differing(Digest.of(others).buckets)
    assert set(differing) == {bucket_of(each.key) for each in set(mine) ^ set(others)}
    assert differing == sorted(differing)
    assert (Digest.of(mine).root == Digest.of(others).root) == (not differing)


def test_two_names_of_one_writer_do_not_cancel_each_other_out() -> None:
    assert Digest.of([record(1, name=b"a"), record(1, name=b"b")]).root != Digest().root


@given(st.binary(max_size=40) | st.just(bytes(BUCKETS_BYTES + 1)))
def test_bytes_of_another_length_are_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="bytes of digest"):
        Digest().differing(data)


@pytest.mark.parametrize("name", ["fixed:3", "adaptive:2:0.5", "full"])
def test_two_hosts_compare_what_both_should_hold(name: str) -> None:
    policy = policy_from(name)
    ready = [b"%08d" % number for number in range(8)]
    held = {hid: [] for hid in ready}
    for number in range(400):
        for part in (b"", b"part"):
            one = record(number, name=part)
            for hid in policy.targets(one.key, ready):
                held[hid].append(one)
    me, other = ready[0], ready[1]
    mine = list(common(held[me], me, other, lambda key: policy.targets(key, ready)))
    theirs = list(common(held[other], other, me, lambda key: policy.targets(key, ready)))
    assert Digest.of(mine).root == Digest.of(theirs).root
    assert 0 < len(mine) <= 800
    assert (len(mine) == 800) == (name == "full")
    assert set(mine) == set(held[me]) & set(held[other])
    assert Digest.of(mine[1:]).differing(Digest.of(theirs).buckets) == [bucket_of(mine[0].key)]
