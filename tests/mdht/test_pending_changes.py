"""A reader that is slow sees the latest of each record, and each once."""

import pytest
import trio
import trio.testing

from mdht.keeping.watch import ChangeKind
from mdht.pending_changes import PendingChanges
from mdht.records import Record


def record(seq: int, name: bytes = b"") -> Record:
    return Record(bytes(20), bytes(32), name, seq, 60, False, b"", bytes(64))


def taken(pending: PendingChanges, count: int) -> list[tuple[ChangeKind, Record, float]]:
    async def take() -> list[tuple[ChangeKind, Record, float]]:
        return [await pending.next() for _ in range(count)]

    return trio.run(take)


@pytest.mark.parametrize(
    ("first", "then", "seen"),
    [
        ("added", "updated", "added"),
        ("updated", "updated", "updated"),
        ("updated", "removed", "removed"),
        ("removed", "added", "updated"),
    ],
)
def test_two_changes_of_a_record_are_seen_as_one(first: ChangeKind, then: ChangeKind, seen: ChangeKind) -> None:
    pending = PendingChanges()
    pending.on_change(first, record(1), 60.0)
    pending.on_change(then, record(2), 50.0)
    pending.on_change("added", record(1, b"last"), 60.0)
    assert taken(pending, 2) == [(seen, record(2), 50.0), ("added", record(1, b"last"), 60.0)]


def test_a_record_that_came_and_went_unseen_is_not_seen_at_all() -> None:
    pending = PendingChanges()
    pending.on_change("added", record(1), 60.0)
    pending.on_change("removed", record(1), 0.0)
    pending.on_change("added", record(1, b"other"), 60.0)
    assert taken(pending, 1) == [("added", record(1, b"other"), 60.0)]


def test_a_reader_waits_for_a_change() -> None:
    pending = PendingChanges()
    found: list[tuple[ChangeKind, Record, float]] = []

    async def read() -> None:
        found.append(await pending.next())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert not found
            pending.on_change("added", record(1), 60.0)

    trio.run(run)
    assert found == [("added", record(1), 60.0)]
