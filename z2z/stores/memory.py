"""The memory store: one table in this process, for tests and for trying out both roles in one program."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from z2z.errors import StoreError
from z2z.stores.base import Change, Receipt, StoredValue
from z2z.stores.kinds import OpenStore, StoreKind, StoreSettings

VALUES_MAX: Final = 10_000
"Values of one table; a test that needs more tests something else."
CHANGES_MAX: Final = VALUES_MAX
"Changes that a slow reader may lag behind; a put beyond that fails, so a reader never misses one silently."


@dataclass(slots=True)
class _Entry:
    value: bytes
    expires_at: float


@dataclass(slots=True)
class MemoryTable:
    """What several `MemoryStore`s share: the place of a network in tests."""

    entries: dict[bytes, dict[tuple[bytes, bytes], _Entry]] = field(default_factory=dict)
    "By key, then by writer and name."
    readers: dict[bytes, list[trio.MemorySendChannel[Change]]] = field(default_factory=dict)

    def live(self, key: bytes) -> list[StoredValue]:
        """Return the values under a key whose lease runs, and forget the others."""
        now = trio.current_time()
        found = self.entries.get(key, {})
        for slot in [slot for slot, entry in found.items() if entry.expires_at <= now]:
            del found[slot]
        return [
            StoredValue(writer=writer, name=name, value=entry.value, remaining_s=entry.expires_at - now)
            for (writer, name), entry in found.items()
        ]

    def tell(self, key: bytes, change: Change) -> None:
        """Tell a change to all readers of a key."""
        for reader in self.readers.get(key, ()):
            try:
                reader.send_nowait(change)
            except trio.WouldBlock as error:
                raise StoreError(f"a reader lags {CHANGES_MAX} changes behind") from error


PROCESS_TABLE: Final = MemoryTable()
"The table behind `--export:memory` and `--import:memory`."


class MemoryStore:
    """One writer's view of a table."""

    pushes = True

    def __init__(self, writer: bytes, table: MemoryTable = PROCESS_TABLE) -> None:
        self._writer, self._table = writer, table

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Write or replace a value."""
        await trio.lowlevel.checkpoint()
        known = {(stored.writer, stored.name) for stored in self._table.live(key)}
        slot = (self._writer, name)
        if slot not in known and sum(len(slots) for slots in self._table.entries.values()) >= VALUES_MAX:
            raise StoreError(f"the table holds {VALUES_MAX} values already")
        entry = _Entry(value, trio.current_time() + lease_s)
        self._table.entries.setdefault(key, {})[slot] = entry
        stored = StoredValue(writer=self._writer, name=name, value=value, remaining_s=lease_s)
        self._table.tell(key, Change(kind="updated" if slot in known else "added", stored=stored))
        return Receipt(stored=1)

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values."""
        await trio.lowlevel.checkpoint()
        return self._table.live(key)

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Remove a value; one that is not there is no error."""
        await trio.lowlevel.checkpoint()
        entry = self._table.entries.get(key, {}).pop((self._writer, name), None)
        if entry is not None:
            gone = StoredValue(writer=self._writer, name=name, value=entry.value, remaining_s=0.0)
            self._table.tell(key, Change(kind="removed", stored=gone))
        return Receipt(stored=1)

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Subscribe; an ended lease is not told, the reader knows it by `remaining_s`."""
        send, receive = trio.open_memory_channel[Change](CHANGES_MAX)
        for stored in self._table.live(key):
            send.send_nowait(Change(kind="added", stored=stored))
        readers = self._table.readers.setdefault(key, [])
        readers.append(send)
        try:
            with receive:
                yield receive
        finally:
            readers.remove(send)


@asynccontextmanager
async def _open(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    yield OpenStore(store=MemoryStore(settings.signer.public_key))


KIND: Final = StoreKind(open=_open)
