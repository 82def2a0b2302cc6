"""Datagrams of a link: a header of 36 bytes, the fields of one message, and a code that proves the shared key."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dhtboot.ids import ID_BYTES
from mdht.signing import SigningKey
from mdht.subnet.errors import WireError
from mdht.subnet.framing import (
    DATAGRAM_MAX,
    KEYS_MAX,
    Field,
    Keys,
    build,
    decode_fields,
    encode_fields,
    numbered,
    overlay_tag,
    split_fields,
)
from mdht.subnet.host_keys import SIGNATURE_BYTES, Proof, is_signed, key_part, proof_in, sign
from mdht.subnet.identity import TAG_BYTES
from mdht.subnet.messages import (
    COPIES_MAX,
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
    Changed,
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
    Subscribe,
    Suspect,
    Value,
    View,
    Want,
    WhoHas,
)
from mdht.subnet.reader import Reader
from mdht.subnet.sync_messages import COMPARED_MAX, Compare, Differ, KeyList, ListKeys
from mdht.subnet.values import (
    ADDRESS,
    ADDRESSES_MAX,
    BUCKET,
    ENTRY,
    FLAG,
    IDENTITY,
    LISTED_KEY,
    MEMBER,
    NEIGHBOUR,
    POLICY,
    blob,
    exactly,
    flags,
    one_of,
    unsigned,
)

__all__ = ["BODIES", "DATAGRAM_MAX", "KEYS_MAX", "MAGIC", "Header", "LinkCodec"]

MAGIC: Final = b"mDH1"
RECORD_MAX: Final = 1130
FILTER_BYTES: Final = 1024
PREFIXES_MAX: Final = 40
PREFIX_BYTES: Final = 8
_HEADER: Final = struct.Struct("!4sBBH4s8s8sII")
_TO_ALL: Final = 2
"Flag beside that of the keys: the datagram is meant for all hosts of the link."

U8, U16, U32, U64 = unsigned(1), unsigned(2), unsigned(4), unsigned(8)
HID, HASH, QID, TAG, KEY = exactly(HID_BYTES), exactly(HASH_BYTES), exactly(QID_BYTES), exactly(TAG_BYTES), exactly(20)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What every datagram says about its sender."""

    subnet_tag: bytes
    hid: bytes
    incarnation: int
    "Grows with each start of the host, and when it refutes a suspicion."
    seq: int
    "Grows with each datagram of one incarnation."
    to_all: bool = False
    "Whether it is meant for all hosts of the link, though this one may be a copy that came by unicast."


class Opened(msgspec.Struct, frozen=True):
    """What a datagram says."""

    header: Header
    message: Message
    proof: Proof | None
    "Of the sender's own key, not verified; None of a host that does not sign."


BODIES: Final[dict[type[Any], tuple[int, dict[int, Field]]]] = {
    Hello: (
        1,
        numbered(
            ("want", flags(Want)),
            ("addresses", ADDRESS, ADDRESSES_MAX),
            ("overlay_hash", exactly(ID_BYTES)),
            ("key_id", blob(8)),
        ),
    ),
    Here: (
        2,
        numbered(
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
            ("policy", POLICY),
            ("unheard", HID, COPIES_MAX),
            ("mapped", ADDRESS),
            ("unlisted", FLAG),
        ),
    ),
    Bye: (3, numbered(("handed_over", FLAG))),
    Suspect: (4, numbered(("target", HID), ("incarnation", U32), ("silent_ds", U16))),
    NodeState: (
        5,
        numbered(
            ("ring_id", exactly(RING_BYTES)),
            ("epoch", U32),
            ("neighbours", NEIGHBOUR, NEIGHBOURS_MAX),
            ("changed", ENTRY),
            ("author", HID),
            ("turn", U32),
            ("client", FLAG),
        ),
    ),
    WhoHas: (6, numbered(("qid", QID), ("key", KEY), ("ask", flags(Ask)), ("hops", U8))),
    Have: (
        7,
        numbered(("qid", QID), ("key", KEY), ("stamp", HASH), ("newest", U64), ("records", U16), ("size", U32)),
    ),
    Note: (8, numbered(("key", KEY), ("stamp", HASH), ("wanted", U8), ("holders", HID, HOSTS_MAX))),
    Range: (9, numbered(("low", KEY), ("high", KEY), ("receiver", ENTRY), ("transfer", exactly(8)))),
    Inventory: (
        10,
        numbered(
            ("generation", U32),
            ("part", U8),
            ("filter", blob(FILTER_BYTES)),
            ("prefixes", exactly(PREFIX_BYTES), PREFIXES_MAX),
        ),
    ),
    Ping: (11, numbered(("nonce", exactly(8)))),
    Pong: (12, numbered(("nonce", exactly(8)), ("state", one_of(State)))),
    PingRequest: (13, numbered(("nonce", exactly(8)), ("target", HID))),
    View: (14, numbered(("epoch", U32), ("members", MEMBER, DATAGRAM_MAX), ("answer", FLAG))),
    Put: (15, numbered(("qid", QID), ("record", blob(RECORD_MAX)), ("done", U8))),
    Ack: (16, numbered(("qid", QID), ("status", one_of(AckStatus)))),
    Fetch: (17, numbered(("qid", QID), ("key", KEY), ("cached", FLAG))),
    Value: (18, numbered(("qid", QID), ("key", KEY), ("records", blob(RECORD_MAX), DATAGRAM_MAX))),
    Nack: (19, numbered(("qid", QID), ("key", KEY))),
    HostSet: (20, numbered(("entry", ENTRY), ("reason", one_of(Reason)))),
    Compare: (21, numbered(("qid", QID), ("common", FLAG), ("buckets", BUCKET, COMPARED_MAX))),
    Differ: (22, numbered(("qid", QID), ("compared", U8), ("buckets", blob(COMPARED_MAX)))),
    ListKeys: (23, numbered(("qid", QID), ("common", FLAG), ("first", U8), ("last", U8), ("after", blob(ID_BYTES)))),
    KeyList: (
        24,
        numbered(
            ("qid", QID),
            ("entries", LISTED_KEY, DATAGRAM_MAX),
            ("first", U8),
            ("after", blob(ID_BYTES)),
            ("more", FLAG),
        ),
    ),
    Subscribe: (
        25,
        numbered(("key", KEY), ("node_id", KEY), ("hid", HID), ("address", ADDRESS), ("lease_s", U16), ("via", HID)),
    ),
    Changed: (26, numbered(("record", blob(RECORD_MAX)))),
}
"Numbers of messages and fields are for ever: new ones are added at the end."

_BY_NUMBER: Final = {number: (kind, fields) for kind, (number, fields) in BODIES.items()}


class LinkCodec:
    """Bytes of the datagrams of one overlay.

    Args:
        overlay: its name.
        keys: shared keys, the one to send with first; without one every datagram is believed.
        signer: the host's own key, which signs what is to be signed; None for a host that signs nothing.

    Attributes:
        strange: datagrams of other overlays and unknown messages: neither is anybody's fault.
    """

    def __init__(self, overlay: str, keys: Sequence[bytes] = (), signer: SigningKey | None = None) -> None:
        self._tag = overlay_tag(overlay)
        self._keys = Keys(keys)
        self._signer = signer
        self.strange = 0

    def encode(self, header: Header, message: Message) -> bytes:
        """The datagram of a message.

        Raises:
            ValueError: it is larger than 1,200 bytes, or a value has a wrong size.
        """
        number, fields = BODIES[type(message)]
        body = encode_fields(fields, message)
        head = (header.subnet_tag, header.hid, header.incarnation, header.seq)
        marks = self._keys.flag | (_TO_ALL if header.to_all else 0)
        signer = self._signer if is_signed(message) else None
        size = len(body)
        if signer is not None:
            body += key_part(signer)
            size = len(body) + SIGNATURE_BYTES
        data = _HEADER.pack(MAGIC, number, marks, size, self._tag, *head) + body
        data = self._keys.signed(data if signer is None else data + sign(signer, data))
        if len(data) > DATAGRAM_MAX:
            raise ValueError(f"{type(message).__name__} of {len(data)} bytes; a datagram holds {DATAGRAM_MAX}")
        return data

    def decode(self, data: bytes) -> tuple[Header, Message] | None:
        """Sender and message of a datagram; None, counted, for one of another overlay or of an unknown message.

        Raises:
            WireError: anything is wrong with the bytes, or the sender does not have the key. Nothing else is raised.
        """
        opened = self.open(data)
        return None if opened is None else (opened.header, opened.message)

    def open(self, data: bytes) -> Opened | None:
        """The same, with the proof that the sender is who he says; whoever wants that must verify it.

        Raises:
            WireError: as above.
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
        body, end = reader.window(length), _HEADER.size + length
        self._keys.check(data[:end], reader.rest(), marks)
        found = _BY_NUMBER.get(number)
        if found is None:
            self.strange += 1
            return None
        kind, fields = found
        split = split_fields(body)
        proof = proof_in(split, data[:end])
        message: Message = build(kind, decode_fields(fields, split, kind.__name__))
        to_all = bool(marks & _TO_ALL)
        return Opened(Header(subnet_tag=tag, hid=hid, incarnation=incarnation, seq=seq, to_all=to_all), message, proof)
