"""Values of a store as signed records over the pages of a key, for a network that keeps one set per page."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mdht import chunks
from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import MissingChunkError, RemoteProtocolError
from mdht.records import LEASE_MIN_S, Record
from mdht.signing import SigningKey
from z2z.errors import StoreError
from z2z.stores.base import StoredValue
from z2z.stores.kademlia_sets import PAGES_MAX, SET_MAX, RecordSet, merge, page_key, remaining_s, seq_at

PAGES_AT_ONCE: Final = 2
"Pages read side by side; a set of few services takes no more."
FULL_S: Final = 60.0
"A page that was full is looked at again after this time: values move down as others end, so that readers find them."
JOINED_MAX: Final = 256
"Chunked values kept after reading: 4 MiB."
CHUNKS_MAX: Final = 512
"Chunks fetched for one read: somebody else's manifests must not cost more."


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How a record was stored."""

    fits: bool
    "False: the set under its key is full or holds a newer one, and the record was not sent."
    stored: int = 0
    "Nodes that hold it, this one included."
    refused: tuple[str, ...] = ()
    newest_seq: int = -1
    "Of its slot, where it did not fit."


class Network(Protocol):
    """One set of records per key; `kademlia_node.SetServer` is one."""

    async def read(self, key: bytes) -> RecordSet:
        """Return the live records under a key."""
        ...

    async def write(self, record: Record) -> Written:
        """Merge a record into the set under its key."""
        ...


class Pages:
    """One writer's values.

    A value goes to the first page of its key with room. A reader reads pages until one is empty, and the newest record
    of a slot wins across pages, so a value may move. Values of more than one record are split (`mdht.chunks`): up to
    16 KiB, whose chunks end with their lease, not when the value is removed.
    """

    def __init__(self, network: Network, signer: SigningKey, clock: Callable[[], float]) -> None:
        self._network, self._signer, self._clock = network, signer, clock
        self._seq = 0
        self._full_until: dict[bytes, float] = {}
        self._last_used: dict[bytes, int] = {}
        # Where this process wrote a value, and until when that may be there.
        self._homes: dict[tuple[bytes, bytes], dict[int, float]] = {}
        self._joined: OrderedDict[bytes, bytes] = OrderedDict()

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Written:
        """Write or replace a value.

        Raises:
            StoreError: it is larger than 16 KiB, or there is no room under this key.
        """
        try:
            head, parts = chunks.split(value)
        except MdhtLocalError as error:
            raise StoreError(str(error)) from error
        lease = max(math.ceil(lease_s), LEASE_MIN_S)
        if parts:
            content = chunks.read_manifest(head).content
            keys = [chunks.chunk_key(content, number) for number in range(len(parts))]
            writes = (self._write(at, b"", part, lease) for at, part in zip(keys, parts, strict=True))
            if not all(each.fits for each in await asyncio.gather(*writes)):
                raise StoreError("a chunk of the value finds no room: its key is full of records of others")
        return await self._put_head(key, name, head, lease)

    async def remove(self, key: bytes, name: bytes) -> Written | None:
        """Remove a value wherever it may be; None when it is nowhere."""
        homes = self._living_homes(key, name)
        if not homes:  # perhaps put by an earlier process
            slot, now = (self._signer.public_key, name), self._clock()
            for page, records in enumerate(await self._read_pages(key)):
                if any(record.slot == slot and not record.deleted for record in records):
                    homes[page] = now + max(remaining_s(record, now) for record in records if record.slot == slot)
        outcomes = []
        for page, until in sorted(homes.items()):
            lease = max(math.ceil(until - self._clock()), LEASE_MIN_S)
            outcomes.append(await self._write(page_key(key, page), name, b"", lease, deleted=True))
        self._homes.pop((key, name), None)
        return outcomes[-1] if outcomes else None

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values of all writers; one whose chunks are not all there is left out."""
        heads = [record for record in merge(*await self._read_pages(key)) if not record.deleted]
        left = CHUNKS_MAX
        found = []
        for record in heads:
            try:
                keys = chunks.chunk_keys(record.value)
                if record.value not in self._joined:
                    left -= len(keys)
                value = await self._join(record, keys) if left >= 0 else None
            except (MissingChunkError, RemoteProtocolError):
                continue
            remaining = remaining_s(record, self._clock())
            if value is not None and remaining > 0:
                found.append(StoredValue(writer=record.writer, name=record.name, value=value, remaining_s=remaining))
        return found

    async def _put_head(self, key: bytes, name: bytes, head: bytes, lease: int) -> Written:
        homes = self._living_homes(key, name)
        for page in range(PAGES_MAX):
            at = page_key(key, page)
            if page not in homes and self._full_until.get(at, 0.0) > self._clock():
                continue
            known = homes.get(page)
            homes[page] = self._clock() + lease  # before the write, which may be given up half way
            self._homes[key, name] = homes
            written = await self._write(at, name, head, lease)
            if written.fits:
                return written
            self._full_until[at] = self._clock() + FULL_S
            if known is None:
                del homes[page]
            else:
                homes[page] = known
        if not homes:
            self._homes.pop((key, name), None)
        raise StoreError(
            f"there is no room under this key: {PAGES_MAX} sets of {SET_MAX} bytes are full; export fewer services, or "
            "under another key"
        )

    async def _write(self, key: bytes, name: bytes, value: bytes, lease: int, *, deleted: bool = False) -> Written:
        written = await self._network.write(self._record(key, name, value, lease, deleted=deleted))
        if not written.fits and written.newest_seq >= self._seq:  # this host's clock was set back since
            self._seq = written.newest_seq
            written = await self._network.write(self._record(key, name, value, lease, deleted=deleted))
        return written

    def _record(self, key: bytes, name: bytes, value: bytes, lease: int, *, deleted: bool) -> Record:
        self._seq = max(self._seq + 1, seq_at(self._clock()))
        try:
            return Record.signed(
                key=key, writer=self._signer, name=name, seq=self._seq, lease_s=lease, deleted=deleted, value=value
            )
        except MdhtLocalError as error:
            raise StoreError(str(error)) from error

    def _living_homes(self, key: bytes, name: bytes) -> dict[int, float]:
        now = self._clock()
        return {page: until for page, until in self._homes.get((key, name), {}).items() if until > now}

    async def _read_pages(self, key: bytes) -> list[RecordSet]:
        found: list[RecordSet] = []
        while len(found) < PAGES_MAX:
            pages = range(len(found), min(len(found) + PAGES_AT_ONCE, PAGES_MAX))
            found += await asyncio.gather(*(self._network.read(page_key(key, page)) for page in pages))
            # An earlier page may be empty before those behind it move down, so what was in use is looked at again.
            if not found[-1] and len(found) > self._last_used.get(key, 0):
                break
        self._last_used[key] = max((page for page, records in enumerate(found) if records), default=0)
        return found

    async def _join(self, record: Record, keys: Sequence[bytes]) -> bytes:
        if not keys:
            return chunks.join(record.value)
        if (known := self._joined.get(record.value)) is not None:
            self._joined.move_to_end(record.value)
            return known
        sets = await asyncio.gather(*(self._network.read(key) for key in keys))
        parts = [next((each.value for each in found if each.writer == record.writer), None) for found in sets]
        value = self._joined[record.value] = chunks.join(record.value, parts)
        if len(self._joined) > JOINED_MAX:
            self._joined.popitem(last=False)
        return value
