"""Copies are read as they were sent, and what they take in a datagram is never underestimated."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mdht.records import Copy, Record
from mdht.subnet.face_messages import RECORDS_ROOM
from mdht.wire import aged, copy_bytes, page, read_copy
from tests.mdht.record_messages import copies, some_copies


@given(copies)
def test_a_copy_is_read_as_it_was_sent(copy: Copy) -> None:
    assert read_copy(msgspec.msgpack.encode(copy)) == copy


@given(copies, st.data())
def test_a_copy_that_was_cut_off_is_none(copy: Copy, data: st.DataObject) -> None:
    sent = msgspec.msgpack.encode(copy)
    assert read_copy(sent[: data.draw(st.integers(0, len(sent) - 1))]) is None


@given(st.binary(max_size=200))
def test_whatever_is_sent_for_a_copy_raises_nothing(data: bytes) -> None:
    assert isinstance(read_copy(data), Copy | None)


@given(copies, st.floats(0.0, 1e9))
def test_an_aged_copy_has_so_much_less_life_and_none_where_that_is_more_than_it_had(copy: Copy, by_s: float) -> None:
    older = read_copy(aged(msgspec.msgpack.encode(copy), by_s))
    assert older == Copy(copy.record, max(0.0, copy.remaining_s - by_s))


@given(st.binary(max_size=200), st.floats(0.0, 1e9))
def test_what_is_no_copy_does_not_age(data: bytes, by_s: float) -> None:
    assert read_copy(data) is not None or aged(data, by_s) == data


@given(copies)
def test_the_size_of_a_copy_is_never_underestimated(copy: Copy) -> None:
    assert len(msgspec.msgpack.encode(copy)) <= copy_bytes(copy)


def test_the_largest_record_fits_a_page() -> None:
    record = Record(bytes(20), bytes(32), bytes(64), 2**64 - 1, 604_800, False, bytes(720), bytes(64))
    assert len(page([Copy(record, 604_800.0)], RECORDS_ROOM)) == 1


@given(some_copies)
def test_a_page_has_the_first_copies_that_fit(held: list[Copy]) -> None:
    fitting = page(held, RECORDS_ROOM)
    assert list(fitting) == held[: len(fitting)]
    assert sum(map(copy_bytes, fitting)) <= RECORDS_ROOM
    assert len(fitting) == len(held) or sum(map(copy_bytes, held[: len(fitting) + 1])) > RECORDS_ROOM
