"""What a watch has seen and its reader has not."""

from collections import OrderedDict

import trio

from mdht.keeping.watch import ChangeKind
from mdht.records import Record


class PendingChanges:
    """Changes that the reader has not seen yet, at most one per slot."""

    def __init__(self) -> None:
        self._changes: OrderedDict[tuple[bytes, bytes], tuple[ChangeKind, Record, float]] = OrderedDict()
        self._arrived = trio.Event()

    def on_change(self, kind: ChangeKind, record: Record, remaining_s: float) -> None:
        """Take one; of a watch."""
        slot = record.slot
        waiting = self._changes.pop(slot, None)
        if waiting is not None:
            before = waiting[0]
            if before == "added" and kind == "removed":
                return  # came and went unseen
            if before == "added":
                kind = "added"
            elif before == "removed":
                kind = "updated"
        self._changes[slot] = kind, record, remaining_s
        self._arrived.set()

    async def next(self) -> tuple[ChangeKind, Record, float]:
        """Wait for one; they come in the order in which their slots have changed."""
        while not self._changes:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._changes.popitem(last=False)[1]
