"""What two hosts of a link say over a TCP connection: records that are too many for a datagram.

A conversation is one transfer. Whoever was called speaks first, and then it is one of these:

    Greeting <-    Fetching ->    Records <- (one frame or more)
    Greeting <-    Sending ->     Records -> (one frame or more)    Statuses <-

A frame has a header of 14 bytes (magic, number of the body, flags, length of the fields, the overlay's tag), fields,
and a code that proves the shared key; see `framing` for both. The code covers the frame and the code of the frame
before it, whoever said that. So it holds at one place of one connection only: all depend on the number that the
greeting brings, which is new to whoever was called, and from the second frame on on the transfer's number, which is new
to the caller.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mdht.subnet.errors import WireError
from mdht.subnet.framing import (
    MAC_BYTES,
    Field,
    Keys,
    build,
    code_bytes,
    decode_fields,
    encode_fields,
    numbered,
    overlay_tag,
    split_fields,
)
from mdht.subnet.holdings import COPIES_MAX, FIELD_BYTES
from mdht.subnet.identity import TAG_BYTES
from mdht.subnet.messages import HID_BYTES, QID_BYTES, AckStatus
from mdht.subnet.reader import Reader
from mdht.subnet.values import FLAG, blob, exactly, one_of

MAGIC: Final = b"mDB1"
NONCE_BYTES: Final = 16
FRAME_MAX: Final = 65_536
"""Bytes of a frame: so much is kept of somebody who has not proved the key yet. It takes 2 s at 300 kbit/s, and the
signatures of its records are checked in 10 ms."""
TRANSFER_BYTES_MAX: Final = 1_703_936
"Of its records: 1 MiB of names and values, and 157 bytes around each."
_HEADER: Final = struct.Struct("!4sBBI4s")
_MORE_BYTES: Final = 4
PAGE_BYTES: Final = FRAME_MAX - _HEADER.size - MAC_BYTES - _MORE_BYTES
"Room for records in a frame."

_HID, _QID, _TAG = exactly(HID_BYTES), exactly(QID_BYTES), exactly(TAG_BYTES)


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """Who was called; the first that is said."""

    nonce: bytes
    "16 bytes, drawn for this connection."
    hid: bytes


class Fetching(msgspec.Struct, frozen=True, kw_only=True):
    """Give me your records of this key."""

    subnet_tag: bytes
    hid: bytes
    qid: bytes
    "8 bytes, drawn for this transfer."
    key: bytes
    cached: bool | None = None
    "As in `Fetch`."


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """Take these records, which follow."""

    subnet_tag: bytes
    hid: bytes
    qid: bytes
    "8 bytes, drawn for this transfer."


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """Some records of a transfer."""

    records: tuple[bytes, ...]
    more: bool
    "Whether others follow."


class Statuses(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each record that was sent, in their order."""

    statuses: tuple[AckStatus, ...]


Said = Greeting | Fetching | Sending | Records | Statuses

BODIES: Final[dict[type[Any], tuple[int, dict[int, Field]]]] = {
    Greeting: (1, numbered(("nonce", exactly(NONCE_BYTES)), ("hid", _HID))),
    Fetching: (2, numbered(("subnet_tag", _TAG), ("hid", _HID), ("qid", _QID), ("key", exactly(20)), ("cached", FLAG))),
    Sending: (3, numbered(("subnet_tag", _TAG), ("hid", _HID), ("qid", _QID))),
    Records: (4, numbered(("more", FLAG), ("records", blob(PAGE_BYTES), COPIES_MAX))),
    Statuses: (5, numbered(("statuses", one_of(AckStatus), COPIES_MAX))),
}
"Numbers of bodies and fields are for ever: new ones are added at the end."

_BY_NUMBER: Final = {number: (kind, fields) for kind, (number, fields) in BODIES.items()}


def pages(records: Sequence[bytes]) -> list[Records]:
    """The frames of a transfer's records, at least one.

    Raises:
        ValueError: they are more than a transfer may have, or one does not fit a frame.
    """
    total = sum(map(len, records))
    if len(records) > COPIES_MAX or total > TRANSFER_BYTES_MAX:
        raise ValueError(f"{len(records)} records of {total} bytes are more than one transfer may have")
    found: list[Records] = []
    page: list[bytes] = []
    room = PAGE_BYTES
    for record in records:
        needed = FIELD_BYTES + len(record)
        if needed > PAGE_BYTES:
            raise ValueError(f"a record of {len(record)} bytes does not fit a frame")
        if needed > room:
            found.append(Records(records=tuple(page), more=True))
            page, room = [], PAGE_BYTES
        page.append(record)
        room -= needed
    return [*found, Records(records=tuple(page), more=False)]


class Gauge:
    """Measures what one transfer brings."""

    def __init__(self) -> None:
        self._records = self._bytes = 0

    def add(self, page: Records) -> None:
        """Count a frame.

        Raises:
            WireError: the transfer is larger than any may be, or the frame holds nothing and promises more.
        """
        self._records += len(page.records)
        self._bytes += sum(map(len, page.records))
        if self._records > COPIES_MAX or self._bytes > TRANSFER_BYTES_MAX:
            raise WireError(f"{self._records} records of {self._bytes} bytes are more than one transfer may have")
        if page.more and not page.records:
            raise WireError("a frame without records promises more")


class BulkCodec:
    """Bytes of one connection, of both who speak on it.

    Args:
        overlay: its name.
        keys: shared keys, the one to speak with first; without one every frame is believed.
    """

    def __init__(self, overlay: str, keys: Sequence[bytes] = ()) -> None:
        self._tag = overlay_tag(overlay)
        self._keys = Keys(keys)
        self._before = b""
        self._buffer = bytearray()

    def encode(self, said: Said) -> bytes:
        """The frame of what is said next.

        Raises:
            ValueError: it is larger than a frame may be, or a value has a wrong size.
        """
        number, fields = BODIES[type(said)]
        body = encode_fields(fields, said)
        frame = _HEADER.pack(MAGIC, number, self._keys.flag, len(body), self._tag) + body
        covered = frame + self._before
        code = self._keys.signed(covered)[len(covered) :]
        if len(frame) + len(code) > FRAME_MAX:
            raise ValueError(f"{type(said).__name__} of {len(frame)} bytes; a frame holds {FRAME_MAX}")
        self._before = code
        return frame + code

    def feed(self, data: bytes) -> None:
        """Take what has arrived; call `next_said` until there is nothing, before more is fed."""
        self._buffer += data

    def next_said(self) -> Said | None:
        """What the other one says next; None as long as it has not arrived.

        Raises:
            WireError: anything is wrong with the bytes, they are of another overlay, or the other one does not have the
                key. Nothing else is raised. The connection is of no use any more.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        magic, number, flags, length, overlay = _HEADER.unpack_from(self._buffer)
        if magic != MAGIC:
            raise WireError("not of this protocol")
        if overlay != self._tag:
            raise WireError("of another overlay")
        end = _HEADER.size + length
        size = end + code_bytes(flags)
        if size > FRAME_MAX:
            raise WireError(f"{size} bytes; a frame holds {FRAME_MAX}")
        if len(self._buffer) < size:
            return None
        frame, code = bytes(self._buffer[:end]), bytes(self._buffer[end:size])
        del self._buffer[:size]
        self._keys.check(frame + self._before, code, flags)
        self._before = code
        return self._decode(number, Reader(frame, _HEADER.size))

    def _decode(self, number: int, body: Reader) -> Said:
        found = _BY_NUMBER.get(number)
        if found is None:
            raise WireError(f"no body has the number {number}")
        kind, fields = found
        said: Said = build(kind, decode_fields(fields, split_fields(body), kind.__name__))
        return said
