"""The records of a host as its siblings see them: versions that can be compared, bytes that can be sent and merged."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from mdht.record_table import RecordTable
from mdht.records import Copy, Record, life_s, merge
from mdht.subnet.messages import HASH_BYTES, Have
from mdht.wire import copy_bytes, read_copy

FIELD_BYTES: Final = 3
"What the wire puts before each record of a message."
RECORDS_MAX: Final = 1_000
"Of one key (section 8)."
COPIES_MAX: Final = 4 * RECORDS_MAX
"Of one key, as a table keeps four tombstones in the place of one record; whoever sends more has the rest ignored."


Versioned = tuple[bytes, bytes, int]
"Writer, the name by which he keeps several records of a key apart, sequence number."


class Version(msgspec.Struct, frozen=True):
    """Which records somebody holds of a key."""

    stamp: bytes
    newest: int
    "Largest sequence number."
    records: int
    size: int
    "Bytes that all of them take in a message, at most."
    only: tuple[bytes, bytes] | None
    "Writer and name, where there is one record."


class Holdings(Protocol):
    """The record store behind a lookup."""

    def version(self, key: bytes, now: float) -> Version | None:
        """What is held of a key and lives, tombstones included: they overrule older copies elsewhere."""

    def records(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """The same records, as they are sent."""

    def merged(self, key: bytes, found: Iterable[bytes]) -> tuple[bytes, ...]:
        """What remains of records that several hosts sent: lawful ones of this key, one for each slot. Never raises."""


def stamp(slots: Iterable[Versioned]) -> bytes:
    """Hash over (writer, name, sequence number), which is equal for equal versions in any order.

    The design has it over writer and number alone. With the names, since a writer with two records at numbers 1 and 2
    would otherwise have the same stamp as with these at 2 and 1.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for writer, name, seq in sorted(slots):
        for part in (writer, name, seq.to_bytes(8, "big")):
            digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()[:HASH_BYTES]


def version_of(slots: Sequence[Versioned], size: int) -> Version | None:
    """The version that these records make up, which take so many bytes without what a message puts before each."""
    if not slots:
        return None
    only = slots[0][:2] if len(slots) == 1 else None
    return Version(stamp(slots), max(slot[2] for slot in slots), len(slots), FIELD_BYTES * len(slots) + size, only)


def have_of(qid: bytes, key: bytes, version: Version) -> Have:
    """The answer that somebody holds this version of a key."""
    return Have(
        qid=qid,
        key=key,
        stamp=version.stamp,
        newest=version.newest,
        records=version.records,
        size=version.size,
    )


def covers(have: Have, mine: Version) -> bool:
    """Whether somebody else's answer makes mine superfluous.

    It does when both hold the same, or when both hold one record of one writer and mine is not the newer one. That
    theirs is of the same writer is seen from the stamp: only the one that this writer's record has at that number fits.
    """
    if have.stamp == mine.stamp:
        return True
    if mine.only is None or not mine.newest <= have.newest < 1 << 64:
        return False
    return have.stamp == stamp([(*mine.only, have.newest)])


class TableHoldings:
    """The holdings of a `RecordTable`; what is sent are its copies in msgpack.

    Args:
        table: where the records are.
        verify: says whether a record has lawful fields and its writer's signature.
    """

    def __init__(self, table: RecordTable, verify: Callable[[Record], bool]) -> None:
        self._table = table
        self._verify = verify

    def version(self, key: bytes, now: float) -> Version | None:
        """See `Holdings`."""
        copies = self._table.get(key, now)
        slots = [(*copy.record.slot, copy.record.seq) for copy in copies]
        return version_of(slots, sum(copy_bytes(copy) for copy in copies))

    def records(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """See `Holdings`."""
        return tuple([msgspec.msgpack.encode(copy) for copy in self._table.get(key, now)])

    def merged(self, key: bytes, found: Iterable[bytes]) -> tuple[bytes, ...]:
        """See `Holdings`."""
        slots: dict[tuple[bytes, bytes], Copy] = {}
        for data in found:
            copy = self._read(key, data)
            if copy is None:
                continue
            slot = copy.record.slot
            if slot in slots:
                slots[slot] = merge(slots[slot], copy)
            elif len(slots) < COPIES_MAX:
                slots[slot] = copy
        return tuple([msgspec.msgpack.encode(copy) for copy in slots.values()])

    def _read(self, key: bytes, data: bytes) -> Copy | None:
        copy = read_copy(data)
        if copy is None:
            return None
        record, remaining_s = copy.record, copy.remaining_s
        if record.key != key or not 0.0 < remaining_s < math.inf or not self._verify(record):
            return None
        return Copy(record, min(remaining_s, life_s(record)))
