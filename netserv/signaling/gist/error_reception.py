"""What others say of our messages: Errors (RFC 5971 sections 4.4.6, 5.6), and ICMP port unreachable (thesis 6.1.1)."""

from collections.abc import Mapping
from typing import Final

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons, q_mode_destination
from netserv.signaling.gist.effects import Caught
from netserv.signaling.gist.errors import ErrorCode, GistError
from netserv.signaling.gist.messages import Error
from netserv.signaling.gist.querier import Querier
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.responder import Responder
from netserv.signaling.gist.responding import RespondingRow
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import LastBy, SendFailure
from netserv.signaling.gist.tlv import ObjectType, find
from netserv.signaling.gist.wire import MAGIC, MessageType, header_of

_FORGOTTEN: Final = (ErrorCode.NO_ROUTING_STATE, ErrorCode.INCORRECTLY_DELIVERED_MESSAGE)
"The peer has no row for what it got, or another one: the handshake is to be done again."
_OF_QUERIES: Final[Mapping[int, SendFailure]] = {
    ErrorCode.HOP_LIMIT_EXCEEDED: SendFailure.HOPS,
    ErrorCode.MESSAGE_TOO_LARGE: SendFailure.TOO_LARGE,
    ErrorCode.UNKNOWN_NSLPID: SendFailure.NO_STATE,
    ErrorCode.INVALID_IP_TTL: SendFailure.NO_NEXT_NODE,
    ErrorCode.MRI_VALIDATION_FAILURE: SendFailure.NO_NEXT_NODE,
    ErrorCode.OBJECT_TYPE_ERROR: SendFailure.NO_NEXT_NODE,
    ErrorCode.OBJECT_VALUE_ERROR: SendFailure.NO_NEXT_NODE,
    ErrorCode.INCORRECT_ENCAPSULATION: SendFailure.NO_NEXT_NODE,
}


class ErrorReception:
    """Acts on what is heard of our messages; nothing of it is ever answered."""

    __slots__ = ("_associations", "_commons", "_querier", "_responder")

    def __init__(self, commons: Commons, associations: Associations, querier: Querier, responder: Responder) -> None:
        self._commons = commons
        self._associations = associations
        self._querier = querier
        self._responder = responder

    def error(self, message: Error, packet: Caught | None, association: Association | None, now: float) -> None:
        """Act on an Error message.

        Only who knows the session can say something of it: the SID is random, and in D-mode what would end
        established state has to come from the peer's address.
        """
        commons, error = self._commons, message.error
        commons.counters.errors_received += 1
        # Section 7.2.3: where a NAT translated our message, the Error quotes what that made of the MRI.
        mri = error.mri if message.nat is None else message.nat.original_mri
        if error.sid is None or mri is None:
            commons.counters.unexpected += 1
            return
        try:
            header = header_of(error.original_header)
        except GistError:
            commons.counters.unexpected += 1
            return
        row = commons.table.get(mri, error.sid, header.nslp_id)
        if row is None:
            commons.counters.unexpected += 1
        elif error.code in _FORGOTTEN:
            self._forgotten(row, packet, association, now)
        elif isinstance(row, QueryingRow) and header.kind == MessageType.QUERY:
            self._of_query(row, error.code, now)
        elif isinstance(row, QueryingRow) and header.kind == MessageType.CONFIRM:
            # Whatever it did not like: without a Confirm there is no state at the peer.
            self._querier.forgotten(row, now)

    def _forgotten(self, row: Row, packet: Caught | None, association: Association | None, now: float) -> None:
        """A peer that has no state of that session: look for it anew, or let it go (section 4.4.6)."""
        if association is not None:
            from_peer = association is row.association
        else:
            from_peer = packet is not None and row.peer is not None and packet.source[0] == row.peer.address
        if not from_peer:
            self._commons.counters.unexpected += 1
            return
        if association is not None:
            self._associations.not_taken(association, row)
        if isinstance(row, QueryingRow):
            self._querier.forgotten(row, now)
        elif isinstance(row, RespondingRow):
            self._responder.forgotten(row, now)

    def _of_query(self, row: QueryingRow, code: int, now: float) -> None:
        if code == ErrorCode.ENDPOINT_FOUND:
            self._querier.nobody(row, LastBy.ENDPOINT, now)
        elif code in _OF_QUERIES:
            self._querier.refused(row, _OF_QUERIES[code], now)

    def unreachable(self, destination: PackedAddress, quoted: bytes, now: float) -> None:
        """A destination has no program on the GIST port: our Query has found nobody on its way.

        Args:
            destination: of the datagram that it is about.
            quoted: the beginning of the UDP payload, as far as the ICMP message has it. It has to reach to the
                Query-Cookie, by which it is told from one that somebody has made up.
            now: the time, s.
        """
        commons = self._commons
        data = quoted[len(MAGIC) :]
        mri, sid, cookie = (find(data, kind) for kind in (ObjectType.MRI, ObjectType.SID, ObjectType.QUERY_COOKIE))
        if not quoted.startswith(MAGIC) or mri is None or sid is None or cookie is None:
            commons.counters.unexpected += 1
            return
        row = commons.table.get(mri[4:], sid[4:], int.from_bytes(data[4:6], "big"))
        if (
            not isinstance(row, QueryingRow)
            or q_mode_destination(row.mri, upstream=True) != destination
            or not row.is_mine(cookie[4:])
        ):
            commons.counters.unexpected += 1
            return
        self._querier.nobody(row, LastBy.ICMP, now)
