"""Messaging associations in captured TCP traffic: segments put in order and cut into messages.

Everything is bounded, since a capture may hold any number of connections, and be made up.
"""

from collections import OrderedDict
from collections.abc import Collection
from typing import Final, TypeAlias

import msgspec

from netserv.signaling.gist.addresses import Endpoint
from netserv.signaling.gist.errors import GistError
from netserv.signaling.gist.header import CommonHeader, MessageType
from netserv.signaling.gist.stream import MESSAGE_MAX, StreamCutter
from netserv.signaling.gist.tlv import HEADER_SIZE
from netserv.signaling.pcap_io import Packet

WAYS_MAX: Final = 2_048
"Directions of associations that are followed at a time; the one that was silent longest is given up first."
WAITING_MAX: Final = 65_536
"Bytes behind a gap, a direction; over that the missing segment will not come: the largest usual window."
WAITING_SEGMENTS_MAX: Final = 512
"Of them: each is looked at when another comes."

_HALF: Final = 1 << 31
_TLS: Final = b"\x16\x03"
_FIRST: Final = frozenset({MessageType.CONFIRM, MessageType.MA_HELLO})
_RESERVED: Final = 0x1F

_Way: TypeAlias = tuple[Endpoint, Endpoint]


class Found(msgspec.Struct, frozen=True):
    """What a segment has brought to light."""

    source: Endpoint
    destination: Endpoint
    data: bytes
    "A message; or the beginning of one, where there is a note."
    note: str | None = None
    "Why it is none."


class _Stream:
    """One direction of an association."""

    def __init__(self, at: int) -> None:
        self.at = at
        "Sequence number that comes next."
        self.waiting: dict[int, bytes] = {}
        "By sequence number, what has come too early."
        self.cutter = StreamCutter()
        self.unreadable = False


class AssociationsSeen:
    """All associations of a capture.

    Args:
        ports: TCP ports of associations; none: a connection whose first message is a Confirm or an MA-Hello is one.
    """

    def __init__(self, ports: Collection[int] = ()) -> None:
        self._ports = frozenset(ports)
        self._streams: OrderedDict[_Way, _Stream] = OrderedDict()
        self._known: OrderedDict[_Way, None] = OrderedDict()
        "Directions of connections that are associations."

    def segment(self, packet: Packet) -> list[Found]:
        """Take the next TCP segment of the capture."""
        way = (packet.source, packet.destination)
        found = self._forget(way) if packet.opens or packet.breaks else []
        if packet.breaks:
            return found + self._forget(way[::-1])
        stream = self._streams.get(way) or self._begun(way, packet)
        if stream is not None:
            self._streams.move_to_end(way)
            found += self._taken(way, stream, packet.sequence + packet.opens & 0xFFFF_FFFF, packet.payload)
            if packet.ends:
                found += self._forget(way)
        return found

    def finish(self) -> list[Found]:
        """Say what was in the middle of coming when the capture ended."""
        return [one for way in list(self._streams) for one in self._forget(way)]

    def _begun(self, way: _Way, packet: Packet) -> _Stream | None:
        sure = way in self._known or not self._ports.isdisjoint((way[0][1], way[1][1]))
        if not packet.payload and not (packet.opens and sure):
            return None
        if not sure and (self._ports or not _opens_association(packet.payload)):
            return None
        if (way in self._known or not self._ports) and not packet.opens and not _begins_message(packet.payload):
            return None  # an association, but in the middle of a message: the capture has a gap
        for one in (way, way[::-1]):
            self._known[one] = None
            self._known.move_to_end(one)
        stream = self._streams[way] = _Stream(packet.sequence + packet.opens & 0xFFFF_FFFF)
        while len(self._streams) > WAYS_MAX:
            self._streams.popitem(last=False)
        while len(self._known) > 2 * WAYS_MAX:
            self._known.popitem(last=False)
        return stream

    def _taken(self, way: _Way, stream: _Stream, sequence: int, data: bytes) -> list[Found]:
        if stream.unreadable or not data:
            return []
        if data.startswith(_TLS) and not stream.cutter.rest and sequence == stream.at:
            stream.unreadable = True
            return [Found(*way, b"", "TLS: what is inside cannot be read")]
        stream.waiting[sequence] = max(data, stream.waiting.get(sequence, b""), key=len)
        found: list[Found] = []
        try:
            while (piece := _next_piece(stream)) is not None:
                found += [Found(*way, message) for message in stream.cutter.feed(piece)]
                stream.cutter.feed(b"")  # raises where what follows the messages is none
        except GistError as error:
            found.append(Found(*way, stream.cutter.rest[:MESSAGE_MAX], str(error)))
            del self._streams[way]
            return found
        waiting = stream.waiting.values()
        if len(waiting) > WAITING_SEGMENTS_MAX or sum(map(len, waiting)) > WAITING_MAX:
            found.append(Found(*way, stream.cutter.rest, "segments are missing in the capture"))
            del self._streams[way]
        return found

    def _forget(self, way: _Way) -> list[Found]:
        stream = self._streams.pop(way, None)
        if stream is None or not (stream.waiting or stream.cutter.rest):
            return []
        why = "segments are missing in the capture" if stream.waiting else "the stream ends in the middle of it"
        return [Found(*way, stream.cutter.rest, why)]


def _next_piece(stream: _Stream) -> bytes | None:
    """What continues the stream of what has come; repeated bytes are left out."""
    for sequence in list(stream.waiting):
        ahead = (sequence - stream.at + _HALF) % (2 * _HALF) - _HALF
        if ahead > 0:
            continue
        piece = stream.waiting.pop(sequence)[-ahead:] if ahead else stream.waiting.pop(sequence)
        if piece:
            stream.at = (stream.at + len(piece)) % (2 * _HALF)
            return piece
    return None


def _begins_message(data: bytes) -> bool:
    try:
        return HEADER_SIZE + 4 * CommonHeader.decode(data).length_words <= MESSAGE_MAX
    except GistError:
        return False


def _opens_association(data: bytes) -> bool:
    # Of any other protocol's segments one in some hundred million looks like this.
    if not _begins_message(data) or data[7] & _RESERVED:
        return False
    header = CommonHeader.decode(data)
    if header.kind == MessageType.MA_HELLO and (header.nslp_id or header.length_words != 2):
        return False
    return header.kind in _FIRST and header.source_is_signaller
