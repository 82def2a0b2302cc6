"""Versions of values in a store where nothing can be changed."""

import base64
import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError
from z2z.seal import ENVELOPE_MAX
from z2z.stores.opendht_values import KEPT_S, SLOTS_MAX, Slots, Versions, frame, renew_s, to_json

KEY, OTHER_KEY = b"k" * 20, b"o" * 20
SIGNER, OTHER = SigningKey.from_seed(b"1" * 32), SigningKey.from_seed(b"2" * 32)
LEASE_S = 300
SAME_LEASE = (61, 0xCD ^ 0xD1)
"Of all changes of one byte the one that says the same: msgpack has two ways to write a number of 16 bits."


def line(data: bytes, **more: object) -> bytes:
    """A value as the proxy sends it."""
    return json.dumps(to_json(data) | {"type": 0} | more).encode()


def version(
    seq: int = 1, value: bytes = b"v", *, signer: SigningKey = SIGNER, name: bytes = b"n", deleted: bool = False
):
    return frame(signer, KEY, name, b"" if deleted else value, seq=seq, lease_s=LEASE_S, deleted=deleted)


def values(slots: Slots, now: float) -> list[bytes]:
    return sorted(stored.value for stored in slots.living(now))


def test_a_value_is_the_same_until_it_changes_or_half_of_its_lease_has_passed() -> None:
    versions = Versions(SIGNER)
    first = versions.put(KEY, b"n", b"v", LEASE_S, 0.0, 1e6)
    assert versions.put(KEY, b"n", b"v", LEASE_S, renew_s(LEASE_S) - 1, 1e6) == first
    changed = versions.put(KEY, b"n", b"w", LEASE_S, 1.0, 1e6)
    later = versions.put(KEY, b"n", b"w", LEASE_S, 1.0 + renew_s(LEASE_S), 1e6)
    assert len({first, changed, later, versions.put(OTHER_KEY, b"n", b"w", LEASE_S, 1.0, 1e6)}) == 4
    assert to_json(first) == to_json(first)
    assert to_json(first)["id"] != to_json(later)["id"]
    slots = Slots(KEY)
    for data in (later, first, changed):
        slots.take(line(data), 0.0)
    assert values(slots, 0.0) == [b"w"]


def test_numbers_grow_though_the_wall_clock_is_set_back() -> None:
    versions, slots = Versions(SIGNER), Slots(KEY)
    for number, wall_s in enumerate((1e6, 5.0, 5.0)):
        change = slots.take(line(versions.put(KEY, b"n", b"%d" % number, LEASE_S, float(number), wall_s)), 0.0)
        assert change is not None
        assert change.stored.value == b"%d" % number


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 2, 1)])
def test_the_latest_version_counts_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    slots = Slots(KEY)
    for seq in order:
        slots.take(line(version(seq, b"%d" % seq)), 0.0)
    assert values(slots, 0.0) == [b"3"]


def test_changes_are_told_as_what_they_are() -> None:
    slots = Slots(KEY)
    told = [
        slots.take(line(data), 0.0)
        for data in (version(1), version(1), version(2), version(3, b"w"), version(2), version(4, deleted=True))
    ]
    assert [None if change is None else change.kind for change in told] == [
        "added",
        None,
        "updated",
        "updated",
        None,
        "removed",
    ]
    assert told[-1] is not None
    assert told[-1].stored.value == b"w"
    assert slots.take(line(version(5, deleted=True)), 0.0) is None
    assert slots.take(line(version(6)), 0.0).kind == "added"  # type: ignore[union-attr]


def test_what_was_removed_does_not_come_back_with_an_old_version() -> None:
    slots = Slots(KEY)
    slots.take(line(version(2, deleted=True)), 0.0)
    for now in (0.0, KEPT_S - 1.0):
        assert slots.take(line(version(1)), now) is None
        assert slots.snapshot([line(version(1)), line(version(2, deleted=True))], now) == []


def test_what_nobody_renews_ends_with_its_lease_though_the_store_still_shows_it() -> None:
    slots = Slots(KEY)
    assert [stored.remaining_s for stored in slots.snapshot([line(version(1))], 0.0)] == [LEASE_S]
    assert [stored.remaining_s for stored in slots.snapshot([line(version(1))], 100.0)] == [LEASE_S - 100.0]
    assert slots.snapshot([line(version(1))], LEASE_S + 1.0) == []
    assert slots.snapshot([line(version(1)), line(version(2))], LEASE_S + 2.0)[0].remaining_s == LEASE_S


def test_what_the_store_shows_no_more_is_not_in_a_snapshot() -> None:
    slots = Slots(KEY)
    assert len(slots.snapshot([line(version(1)), line(version(1, b"o", signer=OTHER))], 0.0)) == 2
    (stored,) = slots.snapshot([line(version(1, b"o", signer=OTHER))], 1.0)
    assert stored.writer == OTHER.public_key


def test_only_its_writer_can_replace_a_value() -> None:
    slots = Slots(KEY)
    slots.take(line(version(1)), 0.0)
    slots.take(line(version(2, b"w", signer=OTHER)), 0.0)
    assert values(slots, 0.0) == [b"v", b"w"]


@given(st.integers(0, 400), st.integers(1, 255))
@example(*SAME_LEASE)
def test_a_version_that_was_changed_on_its_way_is_ignored(at: int, flip: int) -> None:
    data = bytearray(version(1))
    data[at % len(data)] ^= flip
    slots = Slots(KEY)
    taken = slots.take(line(bytes(data)), 0.0)
    if (at % len(data), flip) == SAME_LEASE:
        assert taken is not None
        assert values(slots, 0.0) == [b"v"]
        return
    assert taken is None
    assert slots.counters["not_ours"] == 1


@given(st.binary(max_size=300))
def test_values_of_others_are_ignored(data: bytes) -> None:
    slots = Slots(KEY)
    for text in (data, line(data), json.dumps({"data": base64.b64encode(data).decode()[:-1]}).encode(), b"[" * 1000):
        assert slots.take(text, 0.0) is None
    assert slots.living(0.0) == []


def test_a_version_of_another_key_and_one_that_has_expired_change_nothing() -> None:
    assert Slots(OTHER_KEY).take(line(version(1)), 0.0) is None
    slots = Slots(KEY)
    slots.take(line(version(1)), 0.0)
    assert slots.take(line(version(1), expired=True), 1.0) is None
    assert values(slots, 1.0) == [b"v"]


def test_a_flood_is_bounded_and_what_was_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("z2z.stores.opendht_values.SLOTS_MAX", 10)
    assert SLOTS_MAX >= 1000
    slots = Slots(KEY)
    slots.take(line(version(1)), 0.0)
    for number in range(20):
        slots.take(line(version(1, b"flood", signer=OTHER, name=b"%d" % number)), 0.0)
    assert len(slots.living(0.0)) == 10
    assert slots.counters["too_many"] == 11
    assert b"v" in values(slots, 0.0)
    assert slots.take(line(version(2, b"w")), 0.0) is not None


def test_what_is_too_large_is_refused_and_what_fits_comes_back() -> None:
    with pytest.raises(LocalProtocolError, match="can be stored"):
        version(1, bytes(ENVELOPE_MAX + 1))
    slots = Slots(KEY)
    slots.take(line(version(1, bytes(ENVELOPE_MAX))), 0.0)
    assert values(slots, 0.0) == [bytes(ENVELOPE_MAX)]


def test_numbers_of_values_fit_the_proxy() -> None:
    assert all(0 < int(to_json(bytes([n]))["id"]) < 1 << 64 for n in range(200))
    assert msgspec.json.decode(line(b"x"))["data"] == "eA=="
