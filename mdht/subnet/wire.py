"""Datagrams of a link: a header of 36 bytes, the fields of one message, and a code that proves the shared key.

Each field is a byte that names it, two of length, and its value; a field that is repeated stands there several times,
in order. Fields that a receiver does not know are skipped, so that later versions can add some.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dhtboot.ids import ID_BYTES
from mdht.subnet.errors import WireError
from mdht.subnet.identity import TAG_BYTES, overlay_bytes
from mdht.subnet.messages import (
    HASH_BYTES,
    HID_BYTES,
    HOSTS_MAX,
    NEIGHBOURS_MAX,
    QID_BYTES,
    RING_BYTES,
    Ack,
    AckStatus,
    Ask,
    Bye,
    Fetch,
    Have,
    Hello,
    Here,
    HostSet,
    Inventory,
    Message,
    Nack,
    NodeState,
    Note,
    Ping,
    PingRequest,
    Pong,
    Put,
    Range,
    Reason,
    State,
    Suspect,
    Value,
    View,
    Want,
    WhoHas,
)
from mdht.subnet.reader import Reader
from mdht.subnet.values import (
    ADDRESS,
    ADDRESSES_MAX,
    ENTRY,
    FLAG,
    IDENTITY,
    MEMBER,
    NEIGHBOUR,
    Form,
    blob,
    exactly,
    flags,
    one_of,
    unsigned,
)

DATAGRAM_MAX: Final = 1200
MAGIC: Final = b"mDH1"
MAC_BYTES: Final = 16
KEYS_MAX: Final = 2
"The present key and the former one, while it is being replaced."
RECORD_MAX: Final = 1130
FILTER_BYTES: Final = 1024
PREFIXES_MAX: Final = 40
PREFIX_BYTES: Final = 8
_HEADER: Final = struct.Struct("!4sBBH4s8s8sII")
_FIELD: Final = struct.Struct("!BH")
_KEYED: Final = 1
"Flag: a code follows the body."

U8, U16, U32, U64 = unsigned(1), unsigned(2), unsigned(4), unsigned(8)
HID, HASH, QID, TAG, KEY = exactly(HID_BYTES), exactly(HASH_BYTES), exactly(QID_BYTES), exactly(TAG_BYTES), exactly(20)


class Field(msgspec.Struct, frozen=True):
    """One field of a message: its name here, its number on the wire, its form."""

    name: str
    number: int
    form: Form[Any]
    most: int = 1
    "How often it may stand there; above 1 it is a tuple."


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What every datagram says about its sender."""

    subnet_tag: bytes
    hid: bytes
    incarnation: int
    "Grows with each start of the host, and when it refutes a suspicion."
    seq: int
    "Grows with each datagram of one incarnation."


def _fields(*fields: tuple[str, Form[Any]] | tuple[str, Form[Any], int]) -> tuple[Field, ...]:
    return tuple(Field(field[0], number, *field[1:]) for number, field in enumerate(fields, start=1))


BODIES: Final[dict[type[Any], tuple[int, tuple[Field, ...]]]] = {
    Hello: (
        1,
        _fields(
            ("want", flags(Want)),
            ("addresses", ADDRESS, ADDRESSES_MAX),
            ("overlay_hash", exactly(ID_BYTES)),
            ("key_id", blob(8)),
        ),
    ),
    Here: (
        2,
        _fields(
            ("state", one_of(State)),
            ("addresses", ADDRESS, ADDRESSES_MAX),
            ("load", U16),
            ("size", U16),
            ("heard", U16),
            ("view_epoch", U32),
            ("view_hash", HASH),
            ("node_state_hash", HASH),
            ("data_root", HASH),
            ("last_put", U32),
            ("identity", IDENTITY),
            ("founded_s", U32),
        ),
    ),
    Bye: (3, _fields(("handed_over", FLAG))),
    Suspect: (4, _fields(("target", HID), ("incarnation", U32), ("silent_ds", U16))),
    NodeState: (
        5,
        _fields(
            ("ring_id", exactly(RING_BYTES)),
            ("epoch", U32),
            ("neighbours", NEIGHBOUR, NEIGHBOURS_MAX),
            ("changed", ENTRY),
            ("author", HID),
            ("turn", U32),
        ),
    ),
    WhoHas: (6, _fields(("qid", QID), ("key", KEY), ("ask", flags(Ask)), ("hops", U8))),
    Have: (
        7,
        _fields(("qid", QID), ("key", KEY), ("stamp", HASH), ("newest", U64), ("records", U16), ("size", U32)),
    ),
    Note: (8, _fields(("key", KEY), ("stamp", HASH), ("wanted", U8), ("holders", HID, HOSTS_MAX))),
    Range: (9, _fields(("low", KEY), ("high", KEY), ("receiver", ENTRY), ("transfer", exactly(8)))),
    Inventory: (
        10,
        _fields(
            ("generation", U32),
            ("part", U8),
            ("filter", blob(FILTER_BYTES)),
            ("prefixes", exactly(PREFIX_BYTES), PREFIXES_MAX),
        ),
    ),
    Ping: (11, _fields(("nonce", exactly(8)))),
    Pong: (12, _fields(("nonce", exactly(8)))),
    PingRequest: (13, _fields(("nonce", exactly(8)), ("target", HID))),
    View: (14, _fields(("epoch", U32), ("members", MEMBER, DATAGRAM_MAX), ("answer", FLAG))),
    Put: (15, _fields(("qid", QID), ("record", blob(RECORD_MAX)), ("done", U8))),
    Ack: (16, _fields(("qid", QID), ("status", one_of(AckStatus)))),
    Fetch: (17, _fields(("qid", QID), ("key", KEY))),
    Value: (18, _fields(("qid", QID), ("key", KEY), ("records", blob(RECORD_MAX), DATAGRAM_MAX))),
    Nack: (19, _fields(("qid", QID), ("key", KEY))),
    HostSet: (20, _fields(("entry", ENTRY), ("reason", one_of(Reason)))),
}
"Numbers of messages and fields are for ever: new ones are added at the end."

_BY_NUMBER: Final = {number: (kind, fields) for kind, (number, fields) in BODIES.items()}


class LinkCodec:
    """Bytes of the datagrams of one overlay.

    Args:
        overlay: its name.
        keys: shared keys, the one to send with first; without one every datagram is believed.

    Attributes:
        strange: datagrams of other overlays and unknown messages: neither is anybody's fault.
    """

    def __init__(self, overlay: str, keys: Sequence[bytes] = ()) -> None:
        if len(keys) > KEYS_MAX:
            raise ValueError(f"{len(keys)} keys, at most {KEYS_MAX} are accepted at a time")
        self._tag = hashlib.sha1(overlay_bytes(overlay), usedforsecurity=False).digest()[:4]
        self._keys = tuple(keys)
        self.strange = 0

    def encode(self, header: Header, message: Message) -> bytes:
        """The datagram of a message.

        Raises:
            ValueError: it is larger than 1,200 bytes, or a value has a wrong size.
        """
        number, fields = BODIES[type(message)]
        body = b"".join([_encode_field(field, getattr(message, field.name)) for field in fields])
        keyed = _KEYED if self._keys else 0
        head = (header.subnet_tag, header.hid, header.incarnation, header.seq)
        data = _HEADER.pack(MAGIC, number, keyed, len(body), self._tag, *head) + body
        if self._keys:
            data += _mac(self._keys[0], data)
        if len(data) > DATAGRAM_MAX:
            raise ValueError(f"{type(message).__name__} of {len(data)} bytes; a datagram holds {DATAGRAM_MAX}")
        return data

    def decode(self, data: bytes) -> tuple[Header, Message] | None:
        """Sender and message of a datagram; None, counted, for one of another overlay or of an unknown message.

        Raises:
            WireError: anything is wrong with the bytes, or the sender does not have the key. Nothing else is raised.
        """
        if len(data) > DATAGRAM_MAX:
            raise WireError(f"{len(data)} bytes; a datagram holds {DATAGRAM_MAX}")
        reader = Reader(data)
        magic, number, marks, length, overlay, tag, hid, incarnation, seq = reader.take(_HEADER)
        if magic != MAGIC:
            raise WireError("not of this protocol")
        if overlay != self._tag:
            self.strange += 1
            return None
        body = reader.window(length)
        self._check_key(data[: _HEADER.size + length], reader.rest(), marks)
        found = _BY_NUMBER.get(number)
        if found is None:
            self.strange += 1
            return None
        kind, fields = found
        return Header(subnet_tag=tag, hid=hid, incarnation=incarnation, seq=seq), _decode_body(kind, fields, body)

    def _check_key(self, signed: bytes, code: bytes, marks: int) -> None:
        if len(code) != (MAC_BYTES if marks & _KEYED else 0):
            raise WireError(f"{len(code)} bytes behind the body")
        if not self._keys:
            if code:
                raise WireError("proves a shared key, and none is configured here")
        elif not any(hmac.compare_digest(code, _mac(key, signed)) for key in self._keys):
            raise WireError("does not prove the shared key")


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:MAC_BYTES]


def _encode_field(field: Field, value: Any) -> bytes:
    if field.most == 1:
        return b"" if value is None else _with_head(field, value)
    return b"".join([_with_head(field, one) for one in value[: field.most]])


def _with_head(field: Field, value: Any) -> bytes:
    data = field.form.encode(value)
    return _FIELD.pack(field.number, len(data)) + data


def _decode_body(kind: type[Any], fields: tuple[Field, ...], body: Reader) -> Any:
    found: dict[str, Any] = {field.name: [] for field in fields if field.most > 1}
    while len(body):
        number, length = body.take(_FIELD)
        window = body.window(length)
        if not 1 <= number <= len(fields):
            continue
        field = fields[number - 1]
        value = field.form.decode(window)
        window.close()
        if field.most == 1:
            if field.name in found:
                raise WireError(f"{field.name} twice in {kind.__name__}")
            found[field.name] = value
        elif len(found[field.name]) < field.most:
            found[field.name].append(value)
        else:
            raise WireError(f"more than {field.most} {field.name} in {kind.__name__}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
    except TypeError as error:  # a field without default is missing
        raise WireError(str(error)) from error
