"""What lies under one key of a `kademlia` network: a set of signed records, in bytes.

A plain node of that package keeps one value per key, the one stored last, and hands it out unchanged for a week. Two
rules follow from that:

- A set says no remaining times, which would be wrong an hour later. The sequence number of a record is the time of its
  writing (microseconds since 1970), so its end is signed with it, and no node that copies it can make it live longer.
  In exchange, the clocks of the sites must agree to within minutes.
- A record is bound to the key that it lies under, so nobody can copy it to another one.

A set is at most `SET_MAX` bytes, as one datagram has to carry it. What does not fit goes to the next page: another key,
derived from the first.
"""

from collections.abc import Iterable
from hashlib import sha1
from typing import Final, TypeAlias

import msgspec

from mdht.records import KEY_BYTES, Record, Slot, Verifier, check, life_s, supersedes

SET_MAX: Final = 8_000
"Bytes of a set: the package refuses to send more than 8,192, with two ids and the name of the call."
PAGES_MAX: Final = 32
"Pages of one key: with typical records of 650 bytes, more than 350 services of all sites together."
AHEAD_MAX_S: Final = 600.0
"A record from further in the future is refused: by a clock that is wrong it could live for ever."

_MAGIC: Final = b"z2z set 1\0"
_ARRAY_HEAD: Final = 3
"Bytes that msgpack takes to say how many records follow, at most."
_MICROSECONDS: Final = 1_000_000

RecordSet: TypeAlias = tuple[Record, ...]
"Records of one key in the order of their slots, one for each: equal sets are equal tuples and equal bytes."


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A record without the key, which the one who asks for the set knows."""

    writer: bytes
    name: bytes
    seq: int
    lease_s: int
    deleted: bool
    value: bytes
    signature: bytes


_DECODER: Final = msgspec.msgpack.Decoder(tuple[_Wire, ...])


class SetReader:
    """Reads what others have stored, and counts the records in it that break the rules."""

    def __init__(self) -> None:
        self.refused = 0
        self._verify = Verifier()

    def __call__(self, data: object, key: bytes, now_s: float) -> RecordSet:
        """Return the records that are alive and in order.

        Args:
            data: whatever lies under the key; what is no set counts as an empty one.
            key: the 20-byte key.
            now_s: seconds since 1970.
        """
        good = []
        for record in decode(data, key):
            if check(record) is not None or written_s(record) > now_s + AHEAD_MAX_S:
                self.refused += 1
            elif remaining_s(record, now_s) > 0:  # an ended one is not worth the time of its signature
                if self._verify(record):
                    good.append(record)
                else:
                    self.refused += 1
        return merge(good)


def seq_at(now_s: float) -> int:
    """Return the sequence number of a record that is written now."""
    return max(int(now_s * _MICROSECONDS), 0)


def written_s(record: Record) -> float:
    """Return when a record was written, in seconds since 1970."""
    return record.seq / _MICROSECONDS


def remaining_s(record: Record, now_s: float) -> float:
    """Return the life that a record has left: never more than its lease, whatever the clocks say."""
    return min(written_s(record) + life_s(record) - now_s, life_s(record))


def encode(records: RecordSet) -> bytes:
    """Return the bytes of a set; equal sets have equal bytes."""
    return _MAGIC + msgspec.msgpack.encode([_wire(record) for record in records])


def decode(data: object, key: bytes) -> RecordSet:
    """Return the records that bytes say, none of them checked; whatever is no set is an empty one.

    Of one slot there may be several: which one wins is to be decided among those with a good signature.
    """
    if not isinstance(data, bytes) or not is_set(data) or len(data) > SET_MAX or len(key) != KEY_BYTES:
        return ()
    try:
        wires = _DECODER.decode(data[len(_MAGIC) :])
    except (msgspec.MsgspecError, ValueError, RecursionError):  # ValueError: a text in it is not UTF-8
        return ()
    return tuple(Record(key, w.writer, w.name, w.seq, w.lease_s, w.deleted, w.value, w.signature) for w in wires)


def is_set(data: object) -> bool:
    """Say whether a value claims to be a set, and not the value of another program."""
    return isinstance(data, bytes) and data.startswith(_MAGIC)


def merge(*parts: Iterable[Record]) -> RecordSet:
    """Join records of one key: the winner of each slot stays (`records.supersedes`), however often and in any order."""
    winners: dict[Slot, Record] = {}
    for part in parts:
        for record in part:
            known = winners.get(record.slot)
            if known is None or supersedes(record, known):
                winners[record.slot] = record
    return _ordered(winners)


def absorb(held: RecordSet, more: Iterable[Record]) -> RecordSet:
    """Return a set with as much of `more` as fits; what is held stays, so that nobody can push others out.

    Args:
        held: a set that fits.
        more: records of the same key. A newer version that does not fit leaves the older one in place.
    """
    winners = {record.slot: record for record in held}
    size = size_of(held)
    for record in merge(more):
        known = winners.get(record.slot)
        if known is not None and not supersedes(record, known):
            continue
        grown = size + _size(record) - (0 if known is None else _size(known))
        if grown <= SET_MAX:
            winners[record.slot], size = record, grown
    return _ordered(winners)


def alive(records: Iterable[Record], now_s: float) -> RecordSet:
    """Return those whose life is not over, in the same order."""
    return tuple(record for record in records if remaining_s(record, now_s) > 0)


def size_of(records: Iterable[Record]) -> int:
    """Return the bytes that a set takes, or up to two more."""
    return len(_MAGIC) + _ARRAY_HEAD + sum(map(_size, records))


def page_key(key: bytes, page: int) -> bytes:
    """Return the key of one page; page 0 lies under the key itself."""
    if page == 0:
        return key
    return sha1(b"z2z page" + key + page.to_bytes(2), usedforsecurity=False).digest()


def _ordered(winners: dict[Slot, Record]) -> RecordSet:
    return tuple(winners[slot] for slot in sorted(winners))


def _wire(record: Record) -> _Wire:
    return _Wire(record.writer, record.name, record.seq, record.lease_s, record.deleted, record.value, record.signature)


def _size(record: Record) -> int:
    return len(msgspec.msgpack.encode(_wire(record)))
