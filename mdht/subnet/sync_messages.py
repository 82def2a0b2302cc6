"""What hosts say to compare what they hold, and what a newcomer asks: all by unicast, each within one datagram.

The keys of a host fall into the 256 buckets of its digest. A comparison is `Compare`, `Differ`, and for each bucket
that differs pages of `ListKeys` and `KeyList`; a newcomer asks for all pages of all buckets. What differs then goes by
FETCH and PUT. Sizes are those of the bodies with three bytes before each field.
"""

from typing import Final

import msgspec

COMPARED_MAX: Final = 86
"Buckets in one `Compare`: 12 bytes each make 1,032, and three of them cover all 256."
PAGE_BYTES: Final = 1_050
"Of the entries of one `KeyList`; with header, code and the other fields that is 1,130 at most."
LAST_BUCKET: Final = 255


class BucketHash(msgspec.Struct, frozen=True):
    """One bucket of a digest."""

    number: int
    hash: bytes
    "8 bytes."


class KeyEntry(msgspec.Struct, frozen=True):
    """A key that somebody holds, and what he knows of it."""

    key: bytes
    hash: bytes
    "8 bytes: XOR of the fingerprints of its records."
    wanted: int = 0
    "Replicas, where something is known beyond the rank; else 0, and no holders."
    holders: tuple[bytes, ...] = ()


class Compare(msgspec.Struct, frozen=True, kw_only=True):
    """Which of these buckets are different at yours?"""

    qid: bytes
    common: bool
    "Only records that both of us should hold count."
    buckets: tuple[BucketHash, ...]


class Differ(msgspec.Struct, frozen=True, kw_only=True):
    """These are."""

    qid: bytes
    compared: int
    "How many of the buckets, from the first on, were looked at; at least one."
    buckets: bytes
    "Numbers of those that differ, a byte each."


class ListKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys do you hold in these buckets?"""

    qid: bytes
    common: bool
    first: int
    last: int
    after: bytes = b""
    "The last key that the asker knows of the first bucket; empty for none."


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of them: by bucket, and by key within one."""

    qid: bytes
    entries: tuple[KeyEntry, ...]
    first: int = 0
    "Where the next page begins, with `after`."
    after: bytes = b""
    more: bool = False
    "Whether there is one."


SyncMessage = Compare | Differ | ListKeys | KeyList
