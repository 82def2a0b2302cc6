"""What comes in: datagrams and streams, up to the part of the node that a message is for (RFC 5971 section 4.3)."""

from typing import Final

from netserv.signaling.gist.answering import Answering, distance_to
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons, far_end
from netserv.signaling.gist.complaints import Complaints, simple
from netserv.signaling.gist.effects import Caught
from netserv.signaling.gist.error_reception import ErrorReception
from netserv.signaling.gist.errors import ErrorCode, GistError
from netserv.signaling.gist.forwarding import forward, pass_on
from netserv.signaling.gist.messages import Confirm, Data, Error, MaHello, Message, Query, Response
from netserv.signaling.gist.querier import Querier
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.rate import TokenBucket
from netserv.signaling.gist.responder import Responder
from netserv.signaling.gist.responding import RespondingRow
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import RecvMessage, RoutingStatus, SendFailure, SiiHandle, TransferAttributes
from netserv.signaling.gist.tlv import HEADER_SIZE, wrong_length
from netserv.signaling.gist.validation import check_flow, check_nat
from netserv.signaling.gist.wire import MAGIC, CommonHeader, MessageType, decode, header_of

KEPT_FOR_PEERS: Final = 0.25
"Of the burst of candidates: a flood along the path leaves that to what is addressed to us."
_CONTEXT_FREE: Final = 0x80
_WITHOUT_NSLP: Final = (int(MessageType.ERROR), int(MessageType.MA_HELLO))


class Reception:
    """Takes packets and streams apart and hands the messages on."""

    __slots__ = (
        "_answering",
        "_associations",
        "_candidates",
        "_commons",
        "_complaints",
        "_errors",
        "_querier",
        "_responder",
    )

    def __init__(
        self,
        commons: Commons,
        associations: Associations,
        complaints: Complaints,
        answering: Answering,
        querier: Querier,
        responder: Responder,
        errors: ErrorReception,
        now: float,
    ) -> None:
        self._commons = commons
        self._associations = associations
        self._complaints = complaints
        self._answering = answering
        self._querier = querier
        self._responder = responder
        self._errors = errors
        self._candidates = TokenBucket(commons.config.queries_per_s, now)

    # Datagrams.

    def packet(self, packet: Caught, now: float) -> None:
        """Treat one datagram for the GIST port, in the order of section 4.3."""
        commons, payload = self._commons, packet.payload
        commons.counters.received += 1
        data = payload[len(MAGIC) :]
        along_flow = len(data) > 6 and data[6] & _CONTEXT_FREE
        if not self._candidates.take(now, KEPT_FOR_PEERS if along_flow else 0.0):
            commons.counters.candidates_dropped += 1
            return
        if not payload.startswith(MAGIC):
            commons.counters.no_magic += 1
            if packet.in_transit:
                pass_on(commons, packet)
            return
        if packet.in_transit and not along_flow:
            pass_on(commons, packet)
            return
        try:
            self._check_and_treat(packet, data, now)
        except GistError as error:
            commons.counters.malformed += 1
            self._complaints.about_packet(packet, error, now)

    def _check_and_treat(self, packet: Caught, data: bytes, now: float) -> None:
        header = header_of(data)
        if len(data) != HEADER_SIZE + 4 * header.length_words:
            raise wrong_length(data)
        hops = self._one_hop_less(header)
        if header.nslp_id not in self._commons.applications and header.kind not in _WITHOUT_NSLP:
            self._for_others(packet, header, hops, now)
            return
        message = decode(data, header=header, on_association=False)
        match message:
            case Query():
                application = self._commons.applications[message.nslp_id]
                self._answering.query(message, packet, application, hops, now)
            case Response():
                self._response(message, None, packet, now)
            case Confirm():
                self._answering.confirm(message, data, packet, None, now)
            case Data():
                self._data(message, packet, hops, now)
            case Error():
                self._errors.error(message, packet, None, now)
            case MaHello():
                self._commons.counters.wrong_encapsulation += 1
                error = simple("MA-Hello in a datagram", ErrorCode.INCORRECT_ENCAPSULATION)
                self._complaints.about_packet(packet, error, now)

    def _one_hop_less(self, header: CommonHeader) -> int:
        if header.hops == 0:
            self._commons.counters.hop_limit_exceeded += 1
            raise simple("it came with no GIST hop left", ErrorCode.HOP_LIMIT_EXCEEDED)
        return header.hops - 1

    def _for_others(self, packet: Caught, header: CommonHeader, hops: int, now: float) -> None:
        """Its NSLP is not here (section 4.3.4): it goes on, or has come to the wrong place."""
        if packet.in_transit:
            forward(self._commons, self._complaints, packet, hops, now)
            return
        self._commons.counters.unknown_nslp += 1
        text = f"NSLP {header.nslp_id} is not here"
        code = ErrorCode.ENDPOINT_FOUND if header.context_free else ErrorCode.UNKNOWN_NSLPID
        self._complaints.about_packet(packet, simple(text, code), now)

    def _response(self, response: Response, association: Association | None, packet: Caught | None, now: float) -> None:
        """Match a Response with its Query; one that nobody waits for is dropped in silence (section 4.4.6)."""
        commons, nat = self._commons, response.nat
        mri = response.mri.inverted().encode() if nat is None else nat.original_mri
        row = commons.table.get(mri, response.sid, response.nslp_id)
        if not isinstance(row, QueryingRow) or not row.is_mine(response.query_cookie):
            commons.counters.unexpected += 1
            return
        nli = response.nli
        if nli.peer_identity == commons.identity:
            commons.counters.own_queries_back += 1
            return
        if association is not None:
            if (association.peer_identity, association.peer_address) != (nli.peer_identity, nli.address):
                commons.counters.incorrectly_delivered += 1
                return
        elif packet is not None and response.source_is_signaller and packet.source[0] != nli.address and nat is None:
            # Section 7.2.1: a NAT that knows nothing of GIST is before the responder; this cannot come to anything.
            commons.counters.untranslated += 1
            self._querier.refused(row, SendFailure.NO_NEXT_NODE, now)
            return
        ip_ttl = 0 if packet is None else packet.ip_ttl
        self._querier.response(row, response, association, now, ip_ttl=ip_ttl)

    def _data(self, message: Data, packet: Caught, hops: int, now: float) -> None:
        """Deliver what came in a datagram, if it may have come this way (checks of section 4.3.2, in order)."""
        commons, nli = self._commons, message.nli
        if nli is None:
            raise AssertionError("the codec was asked for it")
        if message.q_mode:
            check_nat(commons, message, packet)
            check_flow(commons, message.mri, packet)
        if message.q_mode or message.explicitly_routed:
            sii = SiiHandle(nli.peer_identity, nli.address, packet.source[1], packet.interface)
            end = far_end(message.mri)
            commons.deliver(
                RecvMessage(
                    nslp_id=message.nslp_id,
                    sid=message.sid,
                    mri=message.mri,
                    data=message.nslp_data,
                    attributes=TransferAttributes(q_mode=message.q_mode),
                    sii=sii,
                    ip_ttl=packet.ip_ttl,
                    hops=hops,
                    interface=packet.interface,
                    to_flow_endpoint=commons.topology.is_own(end),
                    explicitly_routed=message.explicitly_routed,
                    state_validated=False,
                )
            )
            return
        row = self._row_for(message)
        if row is None or row.peer is None or row.peer.identity != nli.peer_identity or not self._takes(row, now):
            commons.counters.no_routing_state += 1
            error = simple("Data without routing state", ErrorCode.NO_ROUTING_STATE)
            self._complaints.about_packet(packet, error, now, nli=nli, nat=message.nat)
            return
        distance = distance_to(nli, packet)
        if distance and row.distance and distance != row.distance and isinstance(row, RespondingRow):
            # Section 7.1.2: the path between the peers is another one. Who looks after the row has to find out.
            row.distance = distance
            commons.set_status(row, RoutingStatus.TENTATIVE)
        self._deliver(row, message, hops, ip_ttl=packet.ip_ttl, association=None)

    # Associations.

    def stream(self, number: int, data: bytes, now: float) -> None:
        """Treat what came on an association."""
        association = self._associations.get(number)
        rest = data
        while association is not None and association.usable:
            try:
                messages = association.cutter.feed(rest)
            except GistError as error:
                # Nothing behind it can be found, so the connection is of no use.
                self._commons.counters.malformed += 1
                self._complaints.about_message(association, association.cutter.rest, error, now)
                self._associations.refuse(association, now)
                return
            if not messages:
                return
            for message in messages:
                if not association.usable:
                    return
                self._from_association(association, message, now)
            rest = b""  # what stood behind the last whole message is looked at again, for an error in it

    def _from_association(self, association: Association, data: bytes, now: float) -> None:
        try:
            header = header_of(data)
            if not association.confirmed and header.kind != MessageType.CONFIRM:
                # Section 5.1: the Confirm is first. Who does not know that is nobody to talk to.
                self._commons.counters.incorrectly_delivered += 1
                self._associations.refuse(association, now)
                return
            hops = self._one_hop_less(header)
            if header.nslp_id not in self._commons.applications and header.kind not in _WITHOUT_NSLP:
                self._commons.counters.unknown_nslp += 1
                raise simple(f"NSLP {header.nslp_id} is not here", ErrorCode.UNKNOWN_NSLPID)
            if header.context_free:
                self._commons.counters.wrong_encapsulation += 1
                raise simple("a Q-mode message on an association", ErrorCode.INCORRECT_ENCAPSULATION)
            message = decode(data, header=header, on_association=True)
        except GistError as error:
            self._commons.counters.malformed += 1
            self._complaints.about_message(association, data, error, now)
            if not association.confirmed:
                self._associations.refuse(association, now)
            return
        self._treat(association, message, data, hops, now)

    def _treat(self, association: Association, message: Message, data: bytes, hops: int, now: float) -> None:
        if isinstance(message, MaHello):
            if message.hello_id == 0 or message.wants_reply or association.probe_id:
                self._associations.hello(association, message, now)
            return
        self._associations.heard(association, now)
        match message:
            case Response():
                self._response(message, association, None, now)
            case Confirm():
                self._answering.confirm(message, data, None, association, now)
            case Data():
                self._association_data(association, message, data, hops, now)
            case Error():
                self._errors.error(message, None, association, now)
            case Query():
                raise AssertionError("its C flag was seen before")

    def _association_data(self, association: Association, message: Data, data: bytes, hops: int, now: float) -> None:
        commons = self._commons
        if message.explicitly_routed:
            end = far_end(message.mri)
            commons.deliver(
                RecvMessage(
                    nslp_id=message.nslp_id,
                    sid=message.sid,
                    mri=message.mri,
                    data=message.nslp_data,
                    attributes=TransferAttributes(reliable=True, secure=association.secure),
                    sii=SiiHandle(association.peer_identity, association.peer_address, 0, 0, association.number),
                    hops=hops,
                    to_flow_endpoint=commons.topology.is_own(end),
                    routability_checked=True,
                    explicitly_routed=True,
                    state_validated=False,
                )
            )
            return
        row = self._row_for(message)
        if row is None or row.peer is None:
            commons.counters.no_routing_state += 1
            error = simple("Data without routing state", ErrorCode.NO_ROUTING_STATE)
        elif row.association is not association:
            commons.counters.incorrectly_delivered += 1
            error = simple("Data of a session of another association", ErrorCode.INCORRECTLY_DELIVERED_MESSAGE)
        elif self._takes(row, now):
            self._deliver(row, message, hops, ip_ttl=0, association=association)
            return
        else:
            return
        self._complaints.about_message(association, data, error, now)

    # Both.

    def _row_for(self, message: Data) -> Row | None:
        return self._commons.table.get(message.mri.inverted().encode(), message.sid, message.nslp_id)

    def _takes(self, row: Row, now: float) -> bool:
        if isinstance(row, QueryingRow):
            self._querier.heard(row, now)
            return True
        return isinstance(row, RespondingRow) and self._responder.takes_data(row, now)

    def _deliver(self, row: Row, message: Data, hops: int, *, ip_ttl: int, association: Association | None) -> None:
        end = far_end(message.mri)
        self._commons.deliver(
            RecvMessage(
                nslp_id=message.nslp_id,
                # Equal to the message's, and shared by all that the NSLP keeps of the session.
                sid=row.sid,
                mri=row.mri.inverted(),
                data=message.nslp_data,
                attributes=TransferAttributes(
                    reliable=association is not None, secure=association is not None and association.secure
                ),
                sii=row.handle(),
                ip_ttl=ip_ttl,
                ip_distance=row.distance,
                hops=hops,
                interface=row.interface,
                to_flow_endpoint=self._commons.topology.is_own(end),
                routability_checked=True,
            )
        )
