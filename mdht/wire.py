"""Copies of records as they travel, and how much room they take in a datagram."""

from typing import Final

import msgspec

from mdht.records import Copy

_COPY_OVERHEAD: Final = 154
"Fixed fields of a copy and the lengths of the others, at most."
_DECODER: Final = msgspec.msgpack.Decoder(Copy)


def known_copy(data: bytes) -> Copy:
    """The copy in bytes that this host has read before; others raise `msgspec.DecodeError`."""
    return _DECODER.decode(data)


def read_copy(data: bytes) -> Copy | None:
    """The copy that somebody has sent, its fields unchecked; None for anything else. Never raises."""
    try:
        return known_copy(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def aged(data: bytes, by_s: float) -> bytes:
    """A copy as somebody has sent it, with so much less life; whatever is no copy as it is."""
    copy = read_copy(data)
    if copy is None:
        return data
    return msgspec.msgpack.encode(copy.aged(min(by_s, max(0.0, copy.remaining_s))))


def copy_bytes(copy: Copy) -> int:
    """Upper bound of a copy's encoded size."""
    return _COPY_OVERHEAD + len(copy.record.name) + len(copy.record.value)


def page(copies: list[Copy], room: int) -> tuple[Copy, ...]:
    """The first copies that fit into `room` bytes."""
    end = 0
    for copy in copies:
        room -= copy_bytes(copy)
        if room < 0:
            break
        end += 1
    return tuple(copies[:end])
