"""Copies of records of other nodes that a host keeps for a while after it has fetched them (mDHT design, section 15).

They are nobody's replicas: never handed over, counted as copies, or compared. What is kept of a key is a whole answer
of the overlay. That there is nothing under a key is not kept: somebody who has just put a record would not be found.
"""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from mdht.records import Copy, Record, Slot, merge, supersedes
from mdht.subnet.holdings import Version, version_of
from mdht.subnet.inventory_config import InventoryConfig
from mdht.wire import copy_bytes, known_copy


class _Entry:
    __slots__ = ("at", "copies", "ends_at", "size")

    def __init__(self, copies: dict[Slot, Copy], at: float, keep_s: float) -> None:
        self.copies = copies
        self.at = at
        "When the remaining times were those of the copies."
        self.ends_at = at + min(keep_s, max(copy.remaining_s for copy in copies.values() if not copy.record.deleted))
        "When no record lives any more, whatever tombstones there are: that there is nothing is not kept."
        self.size = sum(map(copy_bytes, copies.values()))

    def living(self, now: float) -> list[Copy]:
        age_s = now - self.at
        return [copy.aged(age_s) for copy in self.copies.values() if copy.remaining_s > age_s]


class Cache:
    """One host's; of too much, the keys unused for longest go.

    Args:
        config: how much it keeps, and for how long.
    """

    def __init__(self, config: InventoryConfig) -> None:
        self._config = config
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes_kept(self) -> int:
        """Of all records, as they travel, at most."""
        return self._size

    def put(self, key: bytes, records: Iterable[bytes], now: float) -> bool:
        """Keep an answer in place of what was kept before, except where that is newer.

        Args:
            key: 20 bytes.
            records: all that the overlay has of it, as they travel; lawful ones of this key (`Holdings.merged`).
            now: the time.

        Returns:
            Whether it is kept: not if no record lives in it.
        """
        found = {copy.record.slot: copy for copy in map(known_copy, records) if copy.remaining_s > 0.0}
        for kept in self._living(key, now):
            if kept.record.slot in found:
                found[kept.record.slot] = merge(found[kept.record.slot], kept)
        self.drop(key)
        if all(copy.record.deleted for copy in found.values()):
            return False
        entry = self._entries[key] = _Entry(found, now, self._config.keep_s)
        self._size += entry.size
        while len(self._entries) > self._config.keys_max or self._size > self._config.bytes_max:
            self.drop(next(iter(self._entries)))
        return key in self._entries

    def get(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """The records of a key as they travel, with what is left of their lives; none of a key that is not kept."""
        copies = self._living(key, now)
        if copies:
            self._entries.move_to_end(key)
        return tuple([msgspec.msgpack.encode(copy) for copy in copies])

    def version(self, key: bytes, now: float) -> Version | None:
        """Which records those are."""
        copies = self._living(key, now)
        slots = [(*copy.record.slot, copy.record.seq) for copy in copies]
        return version_of(slots, sum(map(copy_bytes, copies)))

    def keys(self, now: float) -> list[bytes]:
        """What is kept, the keys unused for longest first."""
        for key in [key for key, entry in self._entries.items() if entry.ends_at <= now]:
            self.drop(key)
        return list(self._entries)

    def drop(self, key: bytes) -> None:
        """Forget a key."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size

    def lacks(self, record: Record, now: float) -> bool:
        """Whether what is kept of a record's key, if anything, does not know this record or a later one in its slot."""
        for kept in self._living(record.key, now):
            if kept.record.slot == record.slot:
                return kept.record != record and not supersedes(kept.record, record)
        return True

    def _living(self, key: bytes, now: float) -> list[Copy]:
        entry = self._entries.get(key)
        if entry is None:
            return []
        if entry.ends_at <= now:
            self.drop(key)
            return []
        return entry.living(now)
