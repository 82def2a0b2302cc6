"""The records of one host, with the digest that its heartbeats tell and its keys by bucket."""

import heapq
import math
from collections.abc import Iterator, KeysView
from typing import Final

import msgspec

from mdht.record_table import PutOutcome, RecordTable
from mdht.records import Copy, Record, Slot, life_s
from mdht.subnet.digest import BUCKETS, Digest, bucket_of, fingerprint

_HEAP_SLACK: Final = 64
"Outdated entries tolerated beyond one for each tombstone."


class Stock:
    """A record table all of whose changes go through here, as the digest must follow each.

    Args:
        table: where the records are; nobody else may change it.
        transit_s: life that a copy loses when it is sent, so that it does not outlive its original.
    """

    def __init__(self, table: RecordTable, transit_s: float) -> None:
        self.table = table
        self.digest = Digest()
        self.changes = 0
        "Grows with each change of the set of records."
        self._transit_s = transit_s
        self._slots: dict[bytes, dict[Slot, Record]] = {}
        self._prints: dict[bytes, int] = {}
        self._buckets: dict[int, set[bytes]] = {}
        # The table does not tell which tombstones have ended or made room.
        self._tombstones: dict[tuple[bytes, Slot], tuple[Record, float]] = {}
        self._ends: list[tuple[float, bytes, Slot]] = []
        if len(table):
            raise ValueError("the digest of what a table holds already is not known: hand over an empty one")

    # ---- what is held ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def keys(self) -> KeysView[bytes]:
        """Keys under which something is held; it follows all changes."""
        return self._slots.keys()

    def slots(self, key: bytes) -> dict[Slot, int]:
        """Sequence numbers of what is held under a key."""
        return {slot: record.seq for slot, record in self._slots.get(key, {}).items()}

    def find(self, key: bytes, slot: Slot, now: float) -> Copy | None:
        """The living copy of a slot."""
        return self.table.find(key, *slot, now)

    def sent(self, copy: Copy) -> bytes | None:
        """A copy as it is sent; None for one that would be dead when it comes."""
        then = copy.aged(self._transit_s)
        return msgspec.msgpack.encode(then) if then.remaining_s > 0.0 else None

    def hash(self, key: bytes) -> bytes:
        """8 bytes that are equal for equal records of a key; zeros for none."""
        return self._prints.get(key, 0).to_bytes(8, "big")

    def in_bucket(self, number: int) -> list[bytes]:
        """Keys of a bucket, in order."""
        return sorted(self._buckets.get(number, ()))

    def records_in(self, number: int) -> Iterator[Record]:
        """Their records, those of a key in a row."""
        for key in self._buckets.get(number, ()):
            yield from self._slots[key].values()

    def bucket_sizes(self) -> list[int]:
        """Keys in each bucket."""
        return [len(self._buckets.get(number, ())) for number in range(BUCKETS)]

    # ---- changes -----------------------------------------------------------------------------------------------------

    def put(self, copy: Copy, now: float, source: str = "") -> PutOutcome:
        """Store a copy, or say why not; siblings' copies count as this process's own, whose rate has no limit."""
        self.expire(now)
        evicted = self.table.counters.evicted
        outcome = self.table.put(copy.record, copy.remaining_s, now, source)
        if outcome.refusal is None:
            for record in outcome.evicted:
                self._forget(record)
            if self.table.counters.evicted - evicted > len(outcome.evicted):
                self._sweep(now)
            self._note(copy.record, now + min(copy.remaining_s, life_s(copy.record)))
        return outcome

    def drop(self, key: bytes) -> None:
        """Forget all under a key."""
        self.table.drop(key)
        for record in list(self._slots.get(key, {}).values()):
            self._forget(record)

    def expire(self, now: float) -> None:
        """Drop what has ended."""
        if self.next_expiry() > now:
            return
        for record in self.table.expire(now):
            self._forget(record)
        while self._ends and self._ends[0][0] <= now:
            _, key, slot = heapq.heappop(self._ends)
            if (key, slot) not in self._tombstones:
                continue
            tombstone = self._tombstones[key, slot][0]
            copy = self.find(key, slot, now)
            if copy is None or copy.record != tombstone:
                self._forget(tombstone)
            else:
                self._ends_at(tombstone, now + copy.remaining_s)  # prolonged since

    def next_expiry(self) -> float:
        """When to call `expire`; `math.inf` for never."""
        return min(self.table.next_expiry(), self._ends[0][0] if self._ends else math.inf)

    def _note(self, record: Record, ends_at: float) -> None:
        slots = self._slots.setdefault(record.key, {})
        slot = record.slot
        old = slots.get(slot)
        if old == record:
            return
        if old is not None:
            self._forget(old)
            slots = self._slots.setdefault(record.key, {})
        slots[slot] = record
        self._buckets.setdefault(bucket_of(record.key), set()).add(record.key)
        self.digest.add(record)
        self._prints[record.key] = self._prints.get(record.key, 0) ^ fingerprint(record)
        self.changes += 1
        if record.deleted:
            self._ends_at(record, ends_at)

    def _forget(self, record: Record) -> None:
        key, slot = record.key, record.slot
        slots = self._slots.get(key, {})
        if slots.get(slot) != record:
            return
        del slots[slot]
        self._tombstones.pop((key, slot), None)
        self.digest.remove(record)
        self._prints[key] ^= fingerprint(record)
        self.changes += 1
        if not slots:
            del self._slots[key], self._prints[key]
            self._drop_from_bucket(key)

    def _drop_from_bucket(self, key: bytes) -> None:
        number = bucket_of(key)
        keys = self._buckets[number]
        keys.discard(key)
        if not keys:
            del self._buckets[number]

    def _ends_at(self, tombstone: Record, ends_at: float) -> None:
        slot = tombstone.slot
        self._tombstones[tombstone.key, slot] = (tombstone, ends_at)
        heapq.heappush(self._ends, (ends_at, tombstone.key, slot))
        if len(self._ends) > 2 * len(self._tombstones) + _HEAP_SLACK:
            self._ends = [(at, key, slot) for (key, slot), (_, at) in self._tombstones.items()]
            heapq.heapify(self._ends)

    def _sweep(self, now: float) -> None:
        """Tombstones have made room: which?"""
        for record, _ in list(self._tombstones.values()):
            if self.table.find(record.key, *record.slot, now) is None:
                self._forget(record)
