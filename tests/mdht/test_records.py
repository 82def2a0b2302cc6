import functools
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError, RefusalCode
from mdht.records import (
    LEASE_MAX_S,
    SEQ_MAX,
    Copy,
    Record,
    Verifier,
    check,
    digest,
    life_s,
    merge,
    set_digest,
    signed_bytes,
    supersedes,
)
from mdht.signing import SigningKey

WRITER = SigningKey.from_seed(bytes(32))
KEY = bytes(range(20))


@st.composite
def copies_of_one_slot(draw: st.DrawFn) -> Copy:
    deleted = draw(st.booleans())
    record = Record(
        KEY,
        WRITER.public_key,
        b"name",
        draw(st.integers(0, 2)),
        draw(st.integers(1, 3)),
        deleted,
        b"" if deleted else draw(st.sampled_from([b"", b"a", b"b"])),
        draw(st.sampled_from([bytes(64), bytes([1]) * 64])),
    )
    return Copy(record, draw(st.floats(0.01, 1)) * life_s(record))


@given(copies_of_one_slot(), copies_of_one_slot())
def test_merge_is_commutative(a: Copy, b: Copy) -> None:
    assert merge(a, b) == merge(b, a)


@given(copies_of_one_slot(), copies_of_one_slot(), copies_of_one_slot())
def test_merge_is_associative(a: Copy, b: Copy, c: Copy) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(copies_of_one_slot())
def test_merge_is_idempotent(a: Copy) -> None:
    assert merge(a, a) == a


@given(st.lists(copies_of_one_slot(), min_size=1), st.randoms(use_true_random=False))
def test_any_order_and_repetition_of_deliveries_converges(copies: list[Copy], rng: Random) -> None:
    deliveries = copies + rng.choices(copies, k=len(copies))
    rng.shuffle(deliveries)
    assert functools.reduce(merge, deliveries) == functools.reduce(merge, copies)


@given(copies_of_one_slot(), copies_of_one_slot())
def test_merge_never_extends_life(a: Copy, b: Copy) -> None:
    joined = merge(a, b)
    assert joined.record in (a.record, b.record)
    assert joined.remaining_s <= max(c.remaining_s for c in (a, b) if c.record == joined.record)


@given(copies_of_one_slot(), copies_of_one_slot())
def test_exactly_one_of_two_different_records_wins(a: Copy, b: Copy) -> None:
    assert (a.record == b.record) == (not supersedes(a.record, b.record) and not supersedes(b.record, a.record))


def test_remaining_time_beyond_the_life_is_cut() -> None:
    record = signed()
    assert merge(Copy(record, 1e9), Copy(record, 1.0)).remaining_s == record.lease_s
    tombstone = signed(seq=2, deleted=True, value=b"")
    assert merge(Copy(record, 10.0), Copy(tombstone, 1e9)) == Copy(tombstone, 300 + 600)


def signed(seq: int = 1, lease_s: int = 300, deleted: bool = False, value: bytes = b"value") -> Record:
    return Record.signed(key=KEY, writer=WRITER, name=b"name", seq=seq, lease_s=lease_s, deleted=deleted, value=value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": bytes(19)}, RefusalCode.MALFORMED),
        ({"writer": bytes(33)}, RefusalCode.MALFORMED),
        ({"signature": bytes(63)}, RefusalCode.MALFORMED),
        ({"name": bytes(64)}, None),
        ({"name": bytes(65)}, RefusalCode.TOO_LARGE),
        ({"seq": -1}, RefusalCode.MALFORMED),
        ({"seq": SEQ_MAX}, None),
        ({"seq": SEQ_MAX + 1}, RefusalCode.MALFORMED),
        ({"lease_s": 0}, RefusalCode.MALFORMED),
        ({"lease_s": 1}, None),
        ({"lease_s": LEASE_MAX_S}, None),
        ({"lease_s": LEASE_MAX_S + 1}, RefusalCode.TOO_LARGE),
        ({"value": bytes(720)}, None),
        ({"value": bytes(721)}, RefusalCode.TOO_LARGE),
        ({"deleted": True}, RefusalCode.MALFORMED),
        ({"deleted": True, "value": b""}, None),
    ],
)
def test_fields_are_checked(change: dict[str, object], code: RefusalCode | None) -> None:
    record = Record(**{**msgspec.structs.asdict(signed()), **change})
    assert check(record) is code


def test_signing_what_breaks_a_limit_is_the_callers_error() -> None:
    with pytest.raises(LocalProtocolError, match="lease 700000 s within"):
        signed(lease_s=700_000)


def test_the_largest_record_leaves_room_in_a_datagram() -> None:
    record = Record.signed(key=KEY, writer=WRITER, name=bytes(64), seq=SEQ_MAX, lease_s=604_800, value=bytes(720))
    assert len(msgspec.msgpack.encode(Copy(record, 1.5))) <= 980


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(20)},
        {"name": b"nam"},
        {"seq": 2},
        {"lease_s": 301},
        {"value": b"Value"},
        {"name": b"namev", "value": b"alue"},
        {"deleted": True, "value": b""},
        {"writer": SigningKey.from_seed(bytes([1]) * 32).public_key},
        {"signature": bytes(64)},
    ],
)
def test_every_field_is_covered_by_the_signature(change: dict[str, object]) -> None:
    record = signed()
    verifier = Verifier()
    assert verifier(record)
    forged = Record(**{**msgspec.structs.asdict(record), **change})
    assert not verifier(forged)
    assert digest(forged) != digest(record)


def test_signed_bytes_of_the_first_format_never_change() -> None:
    assert signed_bytes(signed()).hex() == (
        b"mdht record 1\0".hex() + KEY.hex() + WRITER.public_key.hex() + "0000000000000001"
        "0000012c" + "00" + "04" + "0005" + b"name".hex() + b"value".hex()
    )


def test_verifications_are_remembered_within_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier(verified_max=2)
    one, two, three = (signed(seq=seq) for seq in (1, 2, 3))
    assert all(verifier(record) for record in (one, two, one, three))
    monkeypatch.setattr("mdht.records.verify", lambda *_: False)
    assert verifier(one)
    assert verifier(three)
    assert not verifier(two)


def test_set_digest_ignores_order_and_tells_sets_apart() -> None:
    records = [signed(seq=seq) for seq in range(5)]
    assert set_digest(records) == set_digest(reversed(records)) != set_digest(records[1:])
    assert set_digest([]) == 0
