"""Values of an OpenDHT key as z2z writes and reads them. No I/O.

OpenDHT keeps any number of values under a key, each with a number of its own, for ten minutes after it was last put;
nobody can change or remove one. So what z2z puts is a signed record (as of mDHT, but for its size), each version a
value of its own: readers take the latest of a writer and name, which may say that it is removed. While a service lives
its exporter puts the same bytes again; after half of its lease a version with a later number, by which readers know
that they may believe it for another lease.
"""

import base64
import binascii
import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from mdht.records import (
    LEASE_MAX_S,
    LEASE_MIN_S,
    NAME_MAX,
    SEQ_MAX,
    WRITER_BYTES,
    Record,
    Slot,
    signed_bytes,
    supersedes,
)
from mdht.signing import SigningKey, verify
from z2z.errors import LocalProtocolError
from z2z.seal import ENVELOPE_MAX
from z2z.stores.base import Change, StoredValue

KEPT_S: Final = 600.0
"By OpenDHT, after a value was last put."
RENEW_MIN_S: Final = 30.0
"Between two versions of one value: each lies there for ten minutes."
FRAME_MAX: Final = ENVELOPE_MAX + 256
SLOTS_MAX: Final = 4_096
"Under one key: of more, those beyond are ignored. An importer holds as many."
_CONTEXT: Final = b"z2z opendht 1\0"
"Keeps a signature from being taken for that of a record of mDHT."
_VERIFIED_MAX: Final = 8_192
_DECODER: Final = msgspec.msgpack.Decoder(Record)


class JsonValue(msgspec.Struct, frozen=True):
    """A value as the proxy's REST interface has it; more fields may come."""

    data: str = ""
    id: str = ""
    expired: bool = False


def frame(signer: SigningKey, key: bytes, name: bytes, value: bytes, *, seq: int, lease_s: int, deleted: bool) -> bytes:
    """A signed record as bytes.

    Raises:
        LocalProtocolError: the value is too large.
    """
    if len(value) > ENVELOPE_MAX or len(name) > NAME_MAX:
        raise LocalProtocolError(f"a value of {len(value)} bytes; at most {ENVELOPE_MAX} can be stored")
    bare = Record(key, signer.public_key, name, seq, lease_s, deleted, value, b"")
    return msgspec.msgpack.encode(msgspec.structs.replace(bare, signature=signer.sign(_CONTEXT + signed_bytes(bare))))


def to_json(data: bytes) -> dict[str, str]:
    """What is posted: the number follows from the bytes, so that the same ones are one value."""
    number = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") or 1
    return {"data": base64.b64encode(data).decode(), "id": str(number)}


def believed_s(record: Record) -> float:
    """How long a version is believed after it was first seen, in seconds: until the next one is overdue."""
    return max(float(record.lease_s), 2.0 * RENEW_MIN_S)


def renew_s(lease_s: int) -> float:
    """After how long a value is put as another version."""
    return max(RENEW_MIN_S, lease_s / 2.0)


class _Seen:
    __slots__ = ("at", "record")

    def __init__(self, record: Record, at: float) -> None:
        self.record, self.at = record, at

    def remaining_s(self, now: float) -> float:
        return max(0.0, self.at + believed_s(self.record) - now)


class Slots:
    """What one reader has seen under one key.

    Args:
        key: 20 bytes.

    Attributes:
        counters: of what was ignored.
    """

    def __init__(self, key: bytes) -> None:
        self.counters: Counter[str] = Counter()
        self._key = key
        self._seen: dict[Slot, _Seen] = {}
        self._good: dict[bytes, Record] = {}

    def take(self, line: bytes | str, now: float) -> Change | None:
        """Act on one value of the proxy; what has changed by it, if anything has."""
        record = self._read(line)
        return None if record is None else self._take(record, now)

    def living(self, now: float) -> list[StoredValue]:
        """The values that live."""
        self._forget(now)
        found = [_stored(seen, now) for seen in self._seen.values() if not seen.record.deleted]
        return [value for value in found if value.remaining_s > 0.0]

    def snapshot(self, lines: Iterable[bytes | str], now: float) -> list[StoredValue]:
        """Act on all values of a key, and return those that live and are among them."""
        present = set()
        for line in lines:
            record = self._read(line)
            if record is not None:
                self._take(record, now)
                present.add(record.slot)
        return [value for value in self.living(now) if (value.writer, value.name) in present]

    def _take(self, record: Record, now: float) -> Change | None:
        self._forget(now)
        known = self._seen.get(record.slot)
        if known is not None and not supersedes(record, known.record):
            return None
        if known is None and len(self._seen) >= SLOTS_MAX:
            self.counters["too_many"] += 1
            return None
        seen = self._seen[record.slot] = _Seen(record, now)
        if record.deleted:
            return None if known is None or known.record.deleted else Change(kind="removed", stored=_stored(known, now))
        if known is not None and not known.record.deleted and known.record.value == record.value:
            return Change(kind="updated", stored=_stored(seen, now))  # believed for longer
        return Change(kind="added" if known is None or known.record.deleted else "updated", stored=_stored(seen, now))

    def _forget(self, now: float) -> None:
        """A version is remembered for as long as the store may show it again: an old one must not come back as new."""
        for slot in [slot for slot, seen in self._seen.items() if seen.at + believed_s(seen.record) + KEPT_S <= now]:
            del self._seen[slot]

    def _read(self, line: bytes | str) -> Record | None:
        try:
            value = msgspec.json.decode(line, type=JsonValue)
            if value.expired:
                return None  # another version may be there, and how long this one is believed is known
            data = base64.b64decode(value.data, validate=True)
        except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
            self.counters["not_values"] += 1
            return None
        digest = hashlib.sha256(data).digest()
        record = self._good.get(digest) or self._verified(data)
        if record is None:
            self.counters["not_ours"] += 1
            return None
        if len(self._good) >= _VERIFIED_MAX:
            del self._good[next(iter(self._good))]
        self._good[digest] = record
        return record

    def _verified(self, data: bytes) -> Record | None:
        if len(data) > FRAME_MAX:
            return None
        try:
            record: Any = _DECODER.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        lawful = (
            record.key == self._key
            and len(record.writer) == WRITER_BYTES
            and len(record.name) <= NAME_MAX
            and len(record.value) <= ENVELOPE_MAX
            and 0 <= record.seq <= SEQ_MAX
            and LEASE_MIN_S <= record.lease_s <= LEASE_MAX_S
        )
        return record if lawful and verify(record.writer, _CONTEXT + signed_bytes(record), record.signature) else None


class Versions:
    """What one writer has put: the numbers of its versions, and when the next one is due."""

    def __init__(self, signer: SigningKey) -> None:
        self._signer = signer
        self._put: dict[tuple[bytes, bytes], tuple[bytes, bytes, float]] = {}
        self._last_seq = 0

    def put(self, key: bytes, name: bytes, value: bytes, lease_s: float, now: float, wall_s: float) -> bytes:
        """The bytes to put: those of the last time, unless the value is another one, or it is time for another version.

        Args:
            key: 20 bytes.
            name: of the value.
            value: what to store.
            lease_s: how long it is to live.
            now: the time.
            wall_s: wall clock, by which numbers grow over restarts.

        Raises:
            LocalProtocolError: the value is too large.
        """
        last_value, data, made_at = self._put.get((key, name), (b"", b"", -math.inf))
        lease = min(max(math.ceil(lease_s), LEASE_MIN_S), LEASE_MAX_S)
        if not data or last_value != value or now >= made_at + renew_s(lease):
            data = frame(self._signer, key, name, value, seq=self._seq(wall_s), lease_s=lease, deleted=False)
            self._put[key, name] = (value, data, now)
        return data

    def remove(self, key: bytes, name: bytes, wall_s: float) -> bytes:
        """The bytes that say that a value is removed."""
        self._put.pop((key, name), None)
        return frame(self._signer, key, name, b"", seq=self._seq(wall_s), lease_s=math.ceil(KEPT_S), deleted=True)

    def _seq(self, wall_s: float) -> int:
        self._last_seq = max(self._last_seq + 1, int(wall_s * 1000))
        return self._last_seq


def _stored(seen: _Seen, now: float) -> StoredValue:
    record = seen.record
    return StoredValue(writer=record.writer, name=record.name, value=record.value, remaining_s=seen.remaining_s(now))
