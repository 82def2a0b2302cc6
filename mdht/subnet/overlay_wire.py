"""Datagrams between hosts of different subnets: a header of 32 bytes, fields, and a code that proves the shared key.

They share a port with those of the link (`wire`), from which their first four bytes tell them. The header: magic,
number of the body, flags, length of all fields, the overlay's tag, the subnet's tag, the host's name, the epoch of its
members. First come the fields of every datagram, then those of the body; see `framing` for both.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

from dhtboot.cookies import COOKIE_BYTES
from dhtboot.ids import ID_BYTES, id_bytes
from mdht.messages import Answer, Note, Question
from mdht.subnet.errors import WireError
from mdht.subnet.face_known import MARKS_BYTES_MAX
from mdht.subnet.face_messages import (
    NAMED_MAX,
    Asked,
    Carried,
    Contest,
    Contested,
    HostsChanged,
    HostsHeard,
    ItIs,
    Knock,
    Noted,
    Occupied,
    OverlayDatagram,
    Probe,
    Prove,
    Taken,
    Told,
    Trying,
    TryMe,
    TryThem,
    Welcome,
    WhoIs,
)
from mdht.subnet.framing import (
    DATAGRAM_MAX,
    Field,
    Keys,
    build,
    decode_fields,
    encode_fields,
    numbered,
    overlay_tag,
    split_fields,
)
from mdht.subnet.identity import TAG_BYTES
from mdht.subnet.messages import HID_BYTES, RING_BYTES, Reason, Standing
from mdht.subnet.overlay_packets import PacketForm
from mdht.subnet.reader import Reader
from mdht.subnet.values import ADDRESS, ENTRY, FLAG, IDENTITY, blob, exactly, one_of, packed, unsigned

MAGIC: Final = b"mDO1"
_HEADER: Final = struct.Struct("!4sBBH4s8s8sI")
_FIRST_OF_BODY: Final = 16
"Below that number there is room for more fields of every datagram."

_U32: Final = unsigned(4)
_U64: Final = unsigned(8)

HEAD: Final[dict[int, Field]] = numbered(
    ("identity", IDENTITY),
    ("held", unsigned(4)),
    ("entry", ENTRY),
    ("named", ENTRY, NAMED_MAX),
    ("cookie", exactly(COOKIE_BYTES)),
    ("marks", blob(MARKS_BYTES_MAX)),
    ("standing", one_of(Standing)),
)
"Fields of every datagram."


def _body(*fields: Any) -> dict[int, Field]:
    return numbered(*fields, first=_FIRST_OF_BODY)


BODIES: Final[dict[type[Any], tuple[int, dict[int, Field]]]] = {
    Carried: (1, _body(("packet", blob(DATAGRAM_MAX)), ("reply_to", ADDRESS))),
    Taken: (2, _body(("request_id", _U64))),
    WhoIs: (3, _body(("number", _U64), ("node_id", exactly(ID_BYTES)))),
    ItIs: (4, _body(("number", _U64))),
    Knock: (5, _body(("number", _U64))),
    Welcome: (6, _body(("number", _U64), ("ring_id", exactly(RING_BYTES)), ("alone", FLAG), ("seen", ADDRESS))),
    HostsChanged: (7, _body(("number", _U64), ("reason", one_of(Reason)))),
    Prove: (8, _body(("cookie", exactly(COOKIE_BYTES)))),
    HostsHeard: (9, _body(("number", _U64), ("before", exactly(ID_BYTES)))),
    Asked: (10, _body(("number", _U64), ("question", packed(Question)))),
    Told: (11, _body(("number", _U64), ("answer", packed(Answer)))),
    Noted: (12, _body(("note", packed(Note)))),
    Occupied: (13, _body()),
    Contest: (14, _body(("age_s", _U32))),
    Contested: (15, _body(("age_s", _U32), ("other_age_s", _U32))),
    TryMe: (16, _body(("number", _U64), ("address", ADDRESS))),
    Trying: (17, _body(("number", _U64), ("seen", ADDRESS))),
    TryThem: (18, _body(("number", _U64), ("address", ADDRESS))),
    Probe: (19, _body(("number", _U64), ("address", ADDRESS))),
}
"Numbers of bodies and fields are for ever: new ones are added at the end."

_BY_NUMBER: Final = {number: (kind, fields) for kind, (number, fields) in BODIES.items()}


def looks_like_overlay(data: bytes) -> bool:
    """Whether it is for an `OverlayCodec`, and not for that of the link."""
    return data[: len(MAGIC)] == MAGIC


class OverlayCodec:
    """Bytes of the datagrams between subnets of one overlay.

    Args:
        overlay: its name.
        packet_type: of the packets that are carried: a parametrised `Packet` of Chord or of Kademlia, with the
            questions, answers and notes of the layer above (see `dhtboot.overlay.packet_type`).
        keys: shared keys, the one to send with first; without one every datagram is believed.
    """

    def __init__(self, overlay: str, packet_type: Any, keys: Sequence[bytes] = ()) -> None:
        self._overlay = overlay
        self._tag = overlay_tag(overlay)
        self._packets = PacketForm(packet_type)
        self._keys = Keys(keys)

    def encode(self, datagram: OverlayDatagram) -> bytes:
        """The bytes of a datagram.

        Raises:
            ValueError: it is larger than 1,200 bytes, a value has a wrong size, or the packet is from another node.
        """
        body: Any = datagram.body
        kind = type(body)
        number, fields = BODIES[kind]
        if kind is Carried:
            packet = self._packets.encode(body.packet, self._sender(datagram))
            body = Carried(packet=packet, reply_to=body.reply_to)
        if len(datagram.tag) != TAG_BYTES or len(datagram.hid) != HID_BYTES:
            raise ValueError(f"a tag of {len(datagram.tag)} bytes, a host's name of {len(datagram.hid)}")
        told = encode_fields(HEAD, datagram) + encode_fields(fields, body)
        head = (self._keys.flag, len(told), self._tag, datagram.tag, datagram.hid, datagram.view_epoch)
        data = self._keys.signed(_HEADER.pack(MAGIC, number, *head) + told)
        if len(data) > DATAGRAM_MAX:
            raise ValueError(f"{kind.__name__} of {len(data)} bytes; a datagram holds {DATAGRAM_MAX}")
        return data

    def decode(self, data: bytes) -> OverlayDatagram:
        """What a datagram says.

        Raises:
            WireError: anything is wrong with the bytes, they are of another overlay or of an unknown body, or the
                sender does not have the key. Nothing else is raised.
        """
        if len(data) > DATAGRAM_MAX:
            raise WireError(f"{len(data)} bytes; a datagram holds {DATAGRAM_MAX}")
        reader = Reader(data)
        magic, number, flags, length, overlay, tag, hid, view_epoch = reader.take(_HEADER)
        if magic != MAGIC:
            raise WireError("not of this protocol")
        if overlay != self._tag:
            raise WireError("of another overlay")
        end = _HEADER.size + length
        told = reader.window(length)
        self._keys.check(data[:end], reader.rest(), flags)
        found = _BY_NUMBER.get(number)
        if found is None:
            raise WireError(f"no body has the number {number}")
        kind, fields = found
        split = split_fields(told)
        # One after the other, for a field of every datagram may have the name of one of a body.
        values = decode_fields(HEAD, split, OverlayDatagram.__name__)
        body = build(kind, decode_fields(fields, split, kind.__name__))
        head = {"held": None, **values, "tag": tag, "hid": hid, "view_epoch": view_epoch}
        datagram = build(OverlayDatagram, {**head, "body": body})
        if kind is not Carried:
            return datagram
        packet = self._packets.decode(body.packet, self._sender(datagram))
        return OverlayDatagram(**head, body=Carried(packet=packet, reply_to=body.reply_to))

    def _sender(self, datagram: OverlayDatagram) -> bytes:
        return id_bytes(datagram.identity.node_id(self._overlay))
