"""Error messages: sent about what peers send, within limits, and never about an Error (RFC 5971 section 5.6)."""

import struct
from contextlib import suppress
from typing import Final

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.effects import Caught
from netserv.signaling.gist.errors import ErrorCode, FormatError, GistError, InfoType
from netserv.signaling.gist.messages import Error
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli, decode_nli
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.rate import TokenBucket
from netserv.signaling.gist.tlv import ObjectType, find
from netserv.signaling.gist.wire import MAGIC, MessageType, encode, error_about

AMPLIFICATION_MAX: Final = 3
"No answer has more than so many times the bytes of what it answers: the address may be somebody else's."

ON_ASSOCIATION: Final = 20.0
"On an association may be so many times more Errors a second than in datagrams: the peer is where it says."

_SOURCE_FLAG: Final = 0x80
_TYPE: Final = 0x7F


class Complaints:
    """Sends Errors; none of them makes state or is sent again."""

    __slots__ = ("_associations", "_commons", "_outbox")

    def __init__(self, commons: Commons, outbox: Outbox, associations: Associations) -> None:
        self._commons = commons
        self._outbox = outbox
        self._associations = associations

    def about_packet(
        self,
        packet: Caught,
        error: GistError,
        now: float,
        *,
        nli: Nli | None = None,
        nat: NatTraversal | None = None,
        to_source: bool = False,
    ) -> None:
        """Answer a datagram with an Error, at the address in its NLI, else at its source if that is the sender's.

        Args:
            packet: with the magic number.
            error: what was found.
            now: the time, s.
            nli: the message's, if it could be read.
            nat: the message's, which goes with every answer (section 7.2.3).
            to_source: send to the source of the packet: its NLI has another address than it came from.
        """
        data = packet.payload[len(MAGIC) :]
        if _is_error(data):
            return
        to = packet.source[0] if to_source else _address_to_answer(packet, data, nli)
        way = None if to is None else self._commons.topology.outgoing(to)
        if to is None or way is None or len(to) != len(way.address):
            self._commons.counters.errors_held_back += 1
            return
        about = error_about(data, error, d_mode=True, q_mode=_is_context_free(data))
        message = Error(nli=self._commons.own_nli(way, 0), error=about, nat=nat)
        size = len(MAGIC) + len(encode(message))
        if (
            size > AMPLIFICATION_MAX * len(packet.payload)
            or not self._commons.error_limits.take(to, now)
            or not self._outbox.may_send(now, answer=True)
        ):
            self._commons.counters.errors_held_back += 1
            return
        self._commons.counters.errors_sent += 1
        self._outbox.datagram(message, (to, packet.source[1]), packet.destination[1])

    def about_message(self, association: Association, data: bytes, error: GistError, now: float) -> None:
        """Answer a message on an association with an Error on it."""
        if _is_error(data) or not association.usable:
            return
        if association.errors is None:
            association.errors = TokenBucket(ON_ASSOCIATION * self._commons.config.errors_per_s, now)
        if not association.errors.take(now):
            # The peer may not believe that what was refused has arrived, and so it is told by the connection's end.
            self._commons.counters.errors_held_back += 1
            self._associations.refuse(association, now)
            return
        self._commons.counters.errors_sent += 1
        self._associations.send(association, Error(error=error_about(data, error, d_mode=False)), now)


def too_large(mtu: int) -> GistError:
    """For a message that the next link does not take."""
    info = ((int(InfoType.MTU), struct.pack("!HH", min(mtu, 0xFFFF), 0)),)
    return GistError(f"larger than the {mtu} bytes of the next link", code=ErrorCode.MESSAGE_TOO_LARGE, info=info)


def simple(text: str, code: ErrorCode, subcode: int = 0) -> GistError:
    """An error without additional information."""
    return GistError(text, code=code, subcode=subcode)


def _is_error(data: bytes) -> bool:
    return len(data) > 6 and data[6] & _TYPE == MessageType.ERROR


def _is_context_free(data: bytes) -> bool:
    return len(data) > 6 and data[6] > _TYPE


def _address_to_answer(packet: Caught, data: bytes, nli: Nli | None) -> PackedAddress | None:
    if nli is not None:
        return nli.address
    with suppress(FormatError):
        return decode_nli((find(data, ObjectType.NLI) or b"")[4:]).address
    return packet.source[0] if len(data) > 7 and data[7] & _SOURCE_FLAG else None
