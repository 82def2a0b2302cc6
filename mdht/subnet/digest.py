"""What a host holds, in 8 bytes for a heartbeat and 2,048 for a comparison (mDHT design, section 10).

The records fall into 256 buckets by their keys. A bucket is the XOR of its records' fingerprints, so that it costs
one hash to add or remove one, in any order. Whoever sees another root compares buckets, and then the keys of those
that differ.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Self

from mdht.records import Record
from mdht.subnet.errors import WireError
from mdht.subnet.messages import HASH_BYTES

BUCKETS: Final = 256
BUCKETS_BYTES: Final = BUCKETS * HASH_BYTES
_BUCKETS: Final = struct.Struct(f"!{BUCKETS}Q")
_SEQ: Final = struct.Struct("!Q")


class Digest:
    """Digest of a set of records. One of each slot, that is writer and name: remove the old before adding the new."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """That of some records."""
        digest = cls()
        for record in records:
            digest.add(record)
        return digest

    def add(self, record: Record) -> None:
        """The record is in the set from now on."""
        self._buckets[bucket_of(record.key)] ^= fingerprint(record)

    def remove(self, record: Record) -> None:
        """The record, which was in the set, is out of it."""
        self.add(record)  # XOR is its own inverse

    @property
    def root(self) -> bytes:
        """8 bytes; equal for equal sets."""
        return hashlib.sha1(self.buckets, usedforsecurity=False).digest()[:HASH_BYTES]

    @property
    def buckets(self) -> bytes:
        """All of it, 2,048 bytes."""
        return _BUCKETS.pack(*self._buckets)

    def differing(self, buckets: bytes) -> list[int]:
        """Numbers of the buckets in which somebody's digest is another one.

        Raises:
            WireError: these bytes are no digest.
        """
        if len(buckets) != BUCKETS_BYTES:
            raise WireError(f"{len(buckets)} bytes of digest, not {BUCKETS_BYTES}")
        return [at for at, other in enumerate(_BUCKETS.unpack(buckets)) if other != self._buckets[at]]


def bucket_of(key: bytes) -> int:
    """The number of a key's bucket. Keys of one node begin alike in the overlay's ring, their hashes do not."""
    return hashlib.sha1(key, usedforsecurity=False).digest()[0]


def fingerprint(record: Record) -> int:
    """64 bits that stand for a record: its slot and its sequence number.

    The name counts, as a writer may have several records of one key and number: without it two of them would cancel
    each other out. Only the name has no fixed size, so that no two records share bytes.
    """
    data = record.key + record.writer + record.name + _SEQ.pack(record.seq)
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:HASH_BYTES], "big")


def common(
    records: Iterable[Record], me: bytes, other: bytes, holders: Callable[[bytes], Sequence[bytes]]
) -> Iterator[Record]:
    """Those records that two hosts both should hold, which is what they compare where not everybody holds everything.

    Args:
        records: of one host, those of a key in a row where that is cheap.
        me: that host.
        other: the other one.
        holders: who should hold a key.
    """
    key, shared = None, False
    for record in records:
        if record.key != key:
            key = record.key
            named = holders(key)
            shared = me in named and other in named
        if shared:
            yield record
