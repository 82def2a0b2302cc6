"""The bounded table of the records that this node holds for others (mDHT design, section 8; DHT rules "quotas").

What goes first when there is no room: records are grouped by the network they came from (/24 of IPv4, /48 of IPv6);
the newest record of the largest group makes room, and only for a group that stays smaller. So whoever floods a key
from one network pushes out their own latest records, never an older writer's or a rarer source's; a newcomer that
would be in the largest group itself is refused with `STORE_FULL`. Records of pinned writers never make room.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from dhtboot.limits import TokenBuckets
from mdht.crowds import Crowds
from mdht.errors import RefusalCode
from mdht.records import Copy, Record, check, digest, life_s, supersedes
from mdht.throttle import is_own_machine, source_group

_LIVE_UNITS: Final = 4
_TOMBSTONE_UNITS: Final = 1
"A tombstone costs a quarter of a record, so a full table always takes the deletion of what it holds."
_EVICTIONS_MAX: Final = 8
"Victims of one put: a flood of tiny records must not buy long searches when a large one needs room."
_HEAP_SLACK: Final = 64
"Outdated heap entries tolerated beyond one per record, before the heap is rebuilt."

ChangeKind: TypeAlias = Literal["added", "updated", "removed"]


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one node's table."""

    records_per_key_max: int = 1_000
    "mDHT design, section 8."
    bytes_per_key_max: int = 1_048_576
    "Names and values under one key: 1,000 records of full size. The DHT rules' 256 KiB end at 500 services of a site."
    writer_records_per_key_max: int = 1_000
    "One writer's names under a key: a z2z site may publish 1,000 services under one keyword."
    records_max: int = 100_000
    "Of the node; about 1 KiB each in memory, so 100 MiB at the most."
    bytes_max: int = 67_108_864
    "Names and values of the node."
    source_puts_per_s: float = 500.0
    source_burst: int = 5_000
    "A neighbour hands over all it holds for us at once after a restart: some thousand records."
    writer_puts_per_s: float = 100.0
    writer_burst: int = 2_000
    "A site that starts puts 1,000 services, under one key and again under others."
    limited_max: int = 8_192
    "Sources and writers whose rates are followed at a time."
    pinned: frozenset[bytes] = frozenset()
    "Writers whose records never make room for others, as this node's own."


class PutOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a put did."""

    refusal: RefusalCode | None = None
    change: ChangeKind | None = None
    "What a subscriber to the key sees; None for a repetition, a longer life or a tombstone of nothing."
    evicted: tuple[Record, ...] = ()
    "Live records that made room for this one."
    retry_after_s: float = 0.0
    "With BUSY: seconds until this source or writer may put again."


class TableCounters(msgspec.Struct, kw_only=True):
    """What happened since the start."""

    stored: int = 0
    repeated: int = 0
    expired: int = 0
    evicted: int = 0
    refused: Counter[RefusalCode] = msgspec.field(default_factory=Counter)


class _Entry:
    """One slot under a key, with the bookkeeping that makes it cheap to find, to age and to drop."""

    __slots__ = ("digest", "expires_at", "group", "held", "record", "scheduled_at", "size", "units")

    def __init__(self, record: Record, expires_at: float, group: str) -> None:
        self.group = group
        self.expires_at, self.scheduled_at = expires_at, math.inf
        self.held = True
        self.load(record)

    def load(self, record: Record) -> None:
        self.record = record
        self.digest = digest(record)
        self.size = _size(record)
        self.units = _units(record)


class _Key:
    """The slots of one key, oldest first, and their sums."""

    __slots__ = ("crowds", "digest", "size", "slots", "units")

    def __init__(self) -> None:
        self.crowds: Crowds[_Entry] | None = None
        self.slots: dict[tuple[bytes, bytes], _Entry] = {}
        self.units = self.size = self.digest = 0


def _size(record: Record) -> int:
    return len(record.name) + len(record.value)


def _units(record: Record) -> int:
    return _TOMBSTONE_UNITS if record.deleted else _LIVE_UNITS


class RecordTable:
    """Holds copies of records within quotas, serves them while they live, and says what changed."""

    def __init__(self, config: TableConfig, verify: Callable[[Record], bool]) -> None:
        self.counters = TableCounters()
        self._config, self._verify = config, verify
        self._keys: dict[bytes, _Key] = {}
        self._entries = self._units = self._size = 0
        self._crowds: Crowds[_Entry] = Crowds()
        self._heap: list[tuple[float, int, _Entry]] = []
        self._pushed = 0
        self._sources = TokenBuckets(
            rate_per_s=config.source_puts_per_s, burst=config.source_burst, members_max=config.limited_max
        )
        self._writers = TokenBuckets(
            rate_per_s=config.writer_puts_per_s, burst=config.writer_burst, members_max=config.limited_max
        )

    def __len__(self) -> int:
        return self._entries

    @property
    def bytes_held(self) -> int:
        """Names and values held."""
        return self._size

    def put(self, record: Record, remaining_s: float, now: float, source: str) -> PutOutcome:
        """Store a copy, or say why not.

        Args:
            record: what to store.
            remaining_s: seconds of life that the sender says are left; never taken beyond the record's own life.
            now: seconds, of the same clock in every call.
            source: address that the copy came from, without port; empty for this process itself.
        """
        if (code := check(record)) is not None:
            return self._refuse(code)
        remaining_s = min(remaining_s, life_s(record))
        if not remaining_s > 0:  # also refuses a NaN, for which every comparison is false
            return self._refuse(RefusalCode.EXPIRED)
        limited = not is_own_machine(source)
        if limited and (wait_s := self._sources.take(source, now)):
            return self._refuse(RefusalCode.BUSY, wait_s)
        held = self._keys.get(record.key)
        entry = held.slots.get(record.slot) if held is not None else None
        if entry is not None and entry.expires_at > now:
            if entry.record == record:
                return self._prolong(entry, now + remaining_s)
            if not supersedes(record, entry.record):
                return self._refuse(RefusalCode.STALE)
        group = entry.group if entry is not None else source_group(source)
        victims = self._make_room(record, held, entry, group)
        if victims is None:
            return self._refuse(RefusalCode.STORE_FULL)
        if not self._verify(record):
            return self._refuse(RefusalCode.BAD_SIGNATURE)
        # Only now: before, anybody could use up a writer's tokens with forged records.
        if limited and (wait_s := self._writers.take(record.writer, now)):
            return self._refuse(RefusalCode.BUSY, wait_s)
        self.counters.evicted += len(victims)
        for victim in victims:
            self._drop(victim)
        evicted = tuple(victim.record for victim in victims if not victim.record.deleted)
        return PutOutcome(change=self._store(record, now + remaining_s, entry, group), evicted=evicted)

    def get(self, key: bytes, now: float) -> list[Copy]:
        """Return the copies under a key that have not expired.

        Tombstones are among them: a reader needs them to overrule an older copy from another node.
        """
        held = self._keys.get(key)
        if held is None:
            return []
        return [Copy(entry.record, entry.expires_at - now) for entry in held.slots.values() if entry.expires_at > now]

    def find(self, key: bytes, writer: bytes, name: bytes, now: float) -> Copy | None:
        """Return the copy of one slot, tombstones included, or None."""
        held = self._keys.get(key)
        entry = held.slots.get((writer, name)) if held is not None else None
        if entry is None or entry.expires_at <= now:
            return None
        return Copy(entry.record, entry.expires_at - now)

    def holds(self, record: Record, now: float) -> bool:
        """Say whether this very record is held and alive."""
        copy = self.find(record.key, *record.slot, now)
        return copy is not None and copy.record == record

    def keys(self) -> list[bytes]:
        """Return the keys under which something is held."""
        return list(self._keys)

    def copies(self, now: float) -> Iterator[Copy]:
        """Yield all that is held and alive, as for a hand-over or the state directory; do not put meanwhile."""
        for held in self._keys.values():
            for entry in held.slots.values():
                if entry.expires_at > now:
                    yield Copy(entry.record, entry.expires_at - now)

    def digest(self, key: bytes) -> int:
        """Return the XOR of the record digests under a key, 0 for none; equal sets have equal digests.

        Call `expire` first where a record that ended this instant matters.
        """
        held = self._keys.get(key)
        return held.digest if held is not None else 0

    def drop(self, key: bytes) -> None:
        """Forget all copies under a key, as after a hand-over to nodes that are closer to it."""
        held = self._keys.get(key)
        for entry in list(held.slots.values()) if held is not None else ():
            self._drop(entry)

    def expire(self, now: float) -> list[Record]:
        """Drop what has ended; return the live records among it, for the subscribers of their keys."""
        ended: list[Record] = []
        while self._heap and self._heap[0][0] <= now:
            scheduled_at, _order, entry = heapq.heappop(self._heap)
            if not entry.held or scheduled_at != entry.scheduled_at:
                continue
            if entry.expires_at > now:
                self._schedule(entry)  # prolonged since
                continue
            self._drop(entry)
            self.counters.expired += 1
            if not entry.record.deleted:
                ended.append(entry.record)
        return ended

    def next_expiry(self) -> float:
        """Return when to call `expire` next, `math.inf` for never; it may find nothing to do then."""
        return self._heap[0][0] if self._heap else math.inf

    def _refuse(self, code: RefusalCode, retry_after_s: float = 0.0) -> PutOutcome:
        self.counters.refused[code] += 1
        return PutOutcome(refusal=code, retry_after_s=retry_after_s)

    def _prolong(self, entry: _Entry, expires_at: float) -> PutOutcome:
        self.counters.repeated += 1
        # The heap keeps the earlier time; `expire` then finds the entry alive and schedules it anew.
        entry.expires_at = max(entry.expires_at, expires_at)
        return PutOutcome()

    def _store(self, record: Record, expires_at: float, entry: _Entry | None, group: str) -> ChangeKind | None:
        self.counters.stored += 1
        was_live = False
        if entry is not None:
            was_live = not entry.record.deleted
            self._count(entry, -1)
            entry.load(record)
            entry.expires_at = expires_at
        else:
            entry = _Entry(record, expires_at, group)
            held = self._keys.setdefault(record.key, _Key())
            held.slots[record.slot] = entry
            self._entries += 1
            if record.writer not in self._config.pinned:
                self._crowds.add(group, entry)
                if held.crowds is not None:
                    held.crowds.add(group, entry)
        self._count(entry, 1)
        if expires_at < entry.scheduled_at:
            self._schedule(entry)
        if record.deleted:
            return "removed" if was_live else None
        return "updated" if was_live else "added"

    def _drop(self, entry: _Entry) -> None:
        record = entry.record
        self._count(entry, -1)
        self._entries -= 1
        entry.held = False
        held = self._keys[record.key]
        if record.writer not in self._config.pinned:
            self._crowds.discard(entry.group, entry)
            if held.crowds is not None:
                held.crowds.discard(entry.group, entry)
        del held.slots[record.slot]
        if not held.slots:
            del self._keys[record.key]

    def _count(self, entry: _Entry, sign: int) -> None:
        held = self._keys[entry.record.key]
        held.digest ^= entry.digest
        held.units += sign * entry.units
        held.size += sign * entry.size
        self._units += sign * entry.units
        self._size += sign * entry.size

    def _schedule(self, entry: _Entry) -> None:
        self._pushed += 1
        entry.scheduled_at = entry.expires_at
        heapq.heappush(self._heap, (entry.scheduled_at, self._pushed, entry))
        if len(self._heap) > 2 * self._entries + _HEAP_SLACK:
            self._heap = [item for item in self._heap if item[2].held and item[0] == item[2].scheduled_at]
            heapq.heapify(self._heap)

    def _make_room(self, record: Record, held: _Key | None, entry: _Entry | None, group: str) -> list[_Entry] | None:
        """Return the entries that must go before `record` fits, or None when it has to be refused."""
        config = self._config
        units = _units(record) - (entry.units if entry is not None else 0)
        size = _size(record) - (entry.size if entry is not None else 0)
        if units <= 0 and size <= 0:
            return []
        rank = 0 if record.writer in config.pinned else None
        victims: list[_Entry] = []
        if held is not None:
            if entry is None and self._writer_is_full(held, record.writer):
                return None
            over = _Need(
                units=held.units + units - config.records_per_key_max * _LIVE_UNITS,
                size=held.size + size - config.bytes_per_key_max,
            )
            if over.open:
                crowds = self._key_crowds(held)
                newcomers = crowds.size(group) if rank is None else rank
                if not over.meet(crowds, newcomers, entry, victims):
                    return None
        over = _Need(
            units=self._units + units - config.records_max * _LIVE_UNITS - sum(each.units for each in victims),
            size=self._size + size - config.bytes_max - sum(each.size for each in victims),
        )
        if over.open:
            newcomers = self._crowds.size(group) if rank is None else rank
            if not over.meet(self._crowds, newcomers, entry, victims):
                return None
        return victims

    def _writer_is_full(self, held: _Key, writer: bytes) -> bool:
        limit = self._config.writer_records_per_key_max
        return len(held.slots) >= limit and sum(slot[0] == writer for slot in held.slots) >= limit

    def _key_crowds(self, held: _Key) -> Crowds[_Entry]:
        """Return the groups of one key, kept only since the key was first full: most keys never are."""
        if held.crowds is None:
            held.crowds = Crowds()
            for entry in held.slots.values():
                if entry.record.writer not in self._config.pinned:
                    held.crowds.add(entry.group, entry)
        return held.crowds


class _Need:
    """What has to be freed, and the choice of who frees it."""

    __slots__ = ("size", "units")

    def __init__(self, *, units: int, size: int) -> None:
        self.units, self.size = units, size

    @property
    def open(self) -> bool:
        return self.units > 0 or self.size > 0

    def meet(self, crowds: Crowds[_Entry], newcomers: int, spared: _Entry | None, victims: list[_Entry]) -> bool:
        """Add to `victims` the newest members of the largest group until the need is met; say whether it is.

        The newcomer's group, of `newcomers` members so far, must not end larger than the group that gives way: else
        two groups would push each other out for ever, and the older records would not be safe.
        """
        largest, newest_first = crowds.newest_first()
        chosen = 0
        for entry in newest_first:
            if not self.open:
                return True
            if chosen == _EVICTIONS_MAX or newcomers + 1 > largest - chosen - 1:
                return False
            if entry is spared or entry in victims:
                continue
            victims.append(entry)
            chosen += 1
            self.units -= entry.units
            self.size -= entry.size
        return not self.open
