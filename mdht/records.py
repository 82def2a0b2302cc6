"""Records: what lives under a key, and how two copies of the same truth become one (mDHT design, section 8)."""

import functools
import operator
import struct
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha1, sha256
from typing import Final, Self, TypeAlias

import msgspec

from mdht.errors import LocalProtocolError, RefusalCode
from mdht.signing import SigningKey, verify

KEY_BYTES: Final = 20
WRITER_BYTES: Final = 32
"An Ed25519 public key."
SIGNATURE_BYTES: Final = 64
NAME_MAX: Final = 64
VALUE_MAX: Final = 720
"""Bytes of one record's value: with 220 bytes of its other fields, and what a host of one subnet tells one of another
with each datagram, it fits 1,200 bytes."""
SEQ_MAX: Final = 2**64 - 1
LEASE_MIN_S: Final = 1
LEASE_MAX_S: Final = 7 * 86_400
TOMBSTONE_EXTRA_S: Final = 600
"A tombstone outlives the copies it must suppress: the last of them ends after one lease, plus slow peers and clocks."
VERIFIED_MAX: Final = 8_192
"Remembered verifications, 32 bytes each: more than one node reads of other nodes between two refreshes."

_SIGNED_HEAD: Final = struct.Struct("!14s20s32sQI?BH")
_SIGNED_CONTEXT: Final = b"mdht record 1\0"
"Keeps a record's signature from being taken for that of any other kind of message, or of a later format."

Slot: TypeAlias = tuple[bytes, bytes]
"Writer, and the name by which he keeps several records of a key apart."


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One signed value under a key. Its slot is (writer, name): the newest sequence number of a slot wins."""

    key: bytes
    "20 bytes."
    writer: bytes
    "Ed25519 public key; only its owner can replace or remove the record."
    name: bytes
    "Sub-name by which one writer keeps several records under a key; up to 64 bytes."
    seq: int
    "Grows with every change by the writer; unsigned 64 bits."
    lease_s: int
    "Lifetime that the writer asked for, in seconds from its put; copying never extends it."
    deleted: bool
    "A tombstone: the slot is empty since this sequence number."
    value: bytes
    signature: bytes
    "Ed25519 over all fields above."

    @property
    def slot(self) -> Slot:
        """Writer and name: under one key a record replaces another one of its slot."""
        return self.writer, self.name

    @classmethod
    def signed(
        cls,
        *,
        key: bytes,
        writer: SigningKey,
        name: bytes = b"",
        seq: int,
        lease_s: int,
        deleted: bool = False,
        value: bytes = b"",
    ) -> Self:
        """Return the record with its signature.

        Raises:
            LocalProtocolError: a field breaks the limits that every node checks.
        """
        draft = cls(key, writer.public_key, name, seq, lease_s, deleted, value, bytes(SIGNATURE_BYTES))
        if (code := check(draft)) is not None:
            raise LocalProtocolError(
                f"no node would store this record ({code.name}): key {len(key)} of {KEY_BYTES} B, name {len(name)} of "
                f"at most {NAME_MAX} B, value {len(value)} of at most {VALUE_MAX} B (none when deleted), lease "
                f"{lease_s} s within {LEASE_MIN_S}..{LEASE_MAX_S} s, sequence number {seq} within 64 bits"
            )
        return cls(key, writer.public_key, name, seq, lease_s, deleted, value, writer.sign(signed_bytes(draft)))


class Copy(msgspec.Struct, frozen=True, array_like=True):
    """A record as one node holds it now."""

    record: Record
    remaining_s: float
    "Seconds of life left, never more than `life_s(record)`."

    def aged(self, by_s: float) -> "Copy":
        """The same after so many seconds; its life may be over."""
        return Copy(self.record, self.remaining_s - by_s)


def signed_bytes(record: Record) -> bytes:
    """Return what a record's signature covers: every field, each in one place, so that no two records share bytes.

    The record must have passed `check`, which bounds what the fixed-size fields here can hold.
    """
    name, value = record.name, record.value
    head = _SIGNED_HEAD.pack(
        _SIGNED_CONTEXT,
        record.key,
        record.writer,
        record.seq,
        record.lease_s,
        record.deleted,
        len(name),
        len(value),
    )
    return head + name + value


def check(record: Record) -> RefusalCode | None:
    """Say why no node may store this record whatever its signature, or None when its fields are in order."""
    value = record.value
    if (
        len(record.key) != KEY_BYTES
        or len(record.writer) != WRITER_BYTES
        or len(record.signature) != SIGNATURE_BYTES
        or not 0 <= record.seq <= SEQ_MAX
        or record.lease_s < LEASE_MIN_S
        or (record.deleted and value)
    ):
        return RefusalCode.MALFORMED
    if len(value) > VALUE_MAX or len(record.name) > NAME_MAX or record.lease_s > LEASE_MAX_S:
        return RefusalCode.TOO_LARGE
    return None


def lawful(record: Record) -> bool:
    """Whether its fields are in order; its signature, which takes most of the time of a check, is not looked at."""
    return check(record) is None


def life_s(record: Record) -> float:
    """Return the longest time in seconds that any node keeps this record."""
    return record.lease_s + TOMBSTONE_EXTRA_S if record.deleted else record.lease_s


def supersedes(new: Record, old: Record) -> bool:
    """Say whether `new` wins over `old` in their slot: a strict total order, the same at every node."""
    if new.seq != old.seq:
        return new.seq > old.seq
    return _tie_rank(new) > _tie_rank(old)


def merge(a: Copy, b: Copy) -> Copy:
    """Join two copies of one slot.

    Commutative, associative and idempotent over copies whose remaining time is within their life, so that nodes
    which exchange copies in any order, any number of times, end with the same.
    """
    if a.record == b.record:
        remaining_s = max(a.remaining_s, b.remaining_s)
        return Copy(a.record, min(remaining_s, life_s(a.record)))
    winner = a if supersedes(a.record, b.record) else b
    return Copy(winner.record, min(winner.remaining_s, life_s(winner.record)))


def digest(record: Record) -> int:
    """Return 64 bits that stand for this very record when two nodes compare what they hold.

    They tell honest records apart; no trust is built on them (`Verifier` uses a full hash).
    """
    return int.from_bytes(sha1(signed_bytes(record) + record.signature, usedforsecurity=False).digest()[:8])


def set_digest(records: Iterable[Record]) -> int:
    """Return the XOR of the digests: the same for the same set in any order."""
    return functools.reduce(operator.xor, map(digest, records), 0)


def _tie_rank(record: Record) -> tuple[bool, bytes, int, bytes, bytes]:
    # A writer that signs two records with one number breaks the rules; the order settles it alike at all nodes. The
    # value comes last for the writer that found two values of one SHA-1.
    sha = sha1(record.value, usedforsecurity=False).digest()
    return record.deleted, sha, record.lease_s, record.signature, record.value


class Verifier:
    """Checks signatures once (180 us each) and remembers the good ones, for storing and for reading alike."""

    def __init__(self, verified_max: int = VERIFIED_MAX) -> None:
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._verified_max = verified_max

    def __call__(self, record: Record) -> bool:
        """Say whether the record has lawful fields and its writer's signature; never raises."""
        if check(record) is not None:
            return False
        data = signed_bytes(record)
        fingerprint = sha256(data + record.signature).digest()
        if fingerprint in self._verified:
            self._verified.move_to_end(fingerprint)
            return True
        if not verify(record.writer, data, record.signature):
            return False
        self._verified[fingerprint] = None
        if len(self._verified) > self._verified_max:
            self._verified.popitem(last=False)
        return True
