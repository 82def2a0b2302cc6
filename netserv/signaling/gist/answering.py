"""What is done with Queries and Confirms: to peer or not, and the proof in a Confirm (RFC 5971 section 4.4.1)."""

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.association import State as AssociationState
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import IP_TTL, Commons, far_end
from netserv.signaling.gist.complaints import Complaints, simple
from netserv.signaling.gist.cookies import CookieFacts
from netserv.signaling.gist.effects import Caught, Outgoing, SendDatagram
from netserv.signaling.gist.errors import ErrorCode, GistError, TypeFault, ValueFault
from netserv.signaling.gist.forwarding import forward, pass_on
from netserv.signaling.gist.messages import Confirm, Query, Response
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.querier import Querier
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.responder import Proof, Reply, Responder, stamp_of
from netserv.signaling.gist.responding import RespondingRow, State
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import (
    Application,
    RecvMessage,
    RoutingStatus,
    SendMessage,
    SiiHandle,
    TransferAttributes,
)
from netserv.signaling.gist.tlv import ObjectType, wrong_type
from netserv.signaling.gist.validation import check_query
from netserv.signaling.gist.wire import MAGIC, encode, mri_from

DATAGRAM_MAX = 512 + len(MAGIC)
ANSWER_RATIO_MAX = 3
"No Response has more than so many times the bytes of its Query: its address may be somebody else's."
_ALONG_FLOW = TransferAttributes(q_mode=True)


class Answering:
    """The responding side of handshakes; it keeps nothing itself."""

    __slots__ = ("_associations", "_commons", "_complaints", "_outbox", "_querier", "_responder")

    def __init__(
        self,
        commons: Commons,
        outbox: Outbox,
        associations: Associations,
        complaints: Complaints,
        querier: Querier,
        responder: Responder,
    ) -> None:
        self._commons = commons
        self._outbox = outbox
        self._associations = associations
        self._complaints = complaints
        self._querier = querier
        self._responder = responder

    # Queries.

    def query(self, query: Query, packet: Caught, application: Application, hops: int, now: float) -> None:
        """Answer a Query, or send it on."""
        commons, nli = self._commons, query.nli
        if nli.peer_identity == commons.identity:
            commons.counters.own_queries_back += 1
            return
        try:
            check_query(commons, query, packet)
        except GistError as error:
            legacy_nat = error.subcode == TypeFault.UNTRANSLATED and error.code is ErrorCode.OBJECT_TYPE_ERROR
            self._complaints.about_packet(packet, error, now, nli=nli, nat=query.nat, to_source=legacy_nat)
            return
        mri = query.mri.inverted()
        row = commons.table.get(mri.encode(), query.sid, query.nslp_id)
        distance = distance_to(nli, packet)
        end = far_end(query.mri)
        if query.mri.direction is Direction.DOWNSTREAM and end != packet.destination[0]:
            # Section 5.8.1.2: a Query goes where its flow goes. This one is none, or a router has changed it.
            self._misdirected(query, packet, now)
            return
        final = not packet.in_transit or commons.topology.is_own(end)
        peering = application.peering(_asking(query, packet, hops, distance, to_endpoint=final), now)
        full = row is None and len(commons.table) >= commons.config.sessions_max
        if full:
            commons.counters.rows_refused += 1
        if not final and (full or not peering.peer):
            forward(commons, self._complaints, packet, hops, now, peering.payload)
            return
        way = commons.topology.outgoing(nli.address)
        if full or way is None or not self._outbox.may_send(now, answer=True):
            return
        commons.counters.queries_answered += 1
        self._answer(query, packet, row, distance, peering.payload, way, now)

    def _misdirected(self, query: Query, packet: Caught, now: float) -> None:
        if packet.in_transit:
            pass_on(self._commons, packet)
            return
        self._commons.counters.wrong_encapsulation += 1
        error = simple("it was not sent to the end of its flow", ErrorCode.INCORRECT_ENCAPSULATION)
        self._complaints.about_packet(packet, error, now, nli=query.nli, nat=query.nat)

    def _answer(
        self,
        query: Query,
        packet: Caught,
        row: Row | None,
        distance: int,
        payload: bytes | None,
        way: Outgoing,
        now: float,
    ) -> None:
        reuse = self._association_for(query, row)
        known = isinstance(row, RespondingRow) and _is_known(row, query, packet, reuse)
        offer = query.stack_proposal is not None and reuse is None and not known
        proposal, configuration = (
            (self._commons.stacks.proposal, self._commons.stacks.configuration) if offer else (None, None)
        )
        downstream = query.mri.direction is Direction.DOWNSTREAM
        mri = query.mri.inverted() if row is None else row.mri

        def response(data: bytes | None) -> Response:
            return Response(
                nslp_id=query.nslp_id,
                wants_confirm=not known,
                mri=mri,
                sid=query.sid,
                nli=self._commons.own_nli(way, distance if downstream else IP_TTL),
                query_cookie=query.query_cookie,
                responder_cookie=cookie,
                stack_proposal=proposal,
                stack_configuration=configuration,
                nslp_data=data,
                nat=query.nat,
            )

        cookie = None if known else self._cookie(query, packet, distance, now, proposal_sent=proposal is not None)
        if reuse is not None:
            self._associations.send(reuse, response(payload), now)
            reply = Reply(b"", (query.nli.address, packet.source[1]), packet.destination[1])
        else:
            bytes_out = MAGIC + encode(response(payload))
            if payload is not None and len(bytes_out) > min(DATAGRAM_MAX, ANSWER_RATIO_MAX * len(packet.payload)):
                self._commons.counters.payloads_left_out += 1
                bytes_out = MAGIC + encode(response(None))
            reply = Reply(bytes_out, (query.nli.address, packet.source[1]), packet.destination[1])
        if isinstance(row, RespondingRow):
            if known:
                row.distance = distance
            elif row.interface != packet.interface and row.status is RoutingStatus.GOOD:
                # Section 7.1.2: another way between the same peers, until the Confirm says that it holds.
                self._commons.set_status(row, RoutingStatus.TENTATIVE)
            self._responder.asked(row, reply, now, known=known)
        elif not self._commons.config.delayed_state and row is None:
            self._responder.asked_first(mri, query.sid, query.nslp_id, reply, now)
        elif reply.payload:
            self._commons.out.append(SendDatagram(reply.payload, reply.to, reply.source_port, IP_TTL))

    def _association_for(self, query: Query, row: Row | None) -> Association | None:
        """One to re-use for the rest of the handshake (sections 4.4.3, 5.7.1).

        That of the session first: its messages may be under way on it, and two would not keep their order.
        """
        if query.stack_proposal is None:
            return None
        nli = query.nli
        old = None if row is None else row.association
        candidates = [old] + [
            self._associations.with_peer(nli.peer_identity, nli.address, secure=secure) for secure in (True, False)
        ]
        for found in candidates:
            if (
                found is not None
                and (found.peer_identity, found.peer_address) == (nli.peer_identity, nli.address)
                and found.state is not AssociationState.AWAITING_CONNECTION
                and self._commons.stacks.may_reuse(query.stack_proposal, secure=found.secure)
            ):
                return found
        return None

    def _cookie(self, query: Query, packet: Caught, distance: int, now: float, *, proposal_sent: bool) -> bytes:
        nli, nat = query.nli, query.nat
        facts = CookieFacts(
            packet.interface,
            packet.source[1],
            distance,
            stamp_of(now),
            proposal_sent,
            None if nat is None else query.mri.encode(),
            None if nat is None else nli.address,
        )
        return self._commons.cookies.issue(
            facts,
            identity=nli.peer_identity,
            address=nli.address,
            mri=query.mri.encode() if nat is None else nat.original_mri,
            sid=query.sid,
            nslp_id=query.nslp_id,
            now=now,
        )

    # Confirms.

    def confirm(
        self, confirm: Confirm, data: bytes, packet: Caught | None, association: Association | None, now: float
    ) -> None:
        """Make or renew routing state by a Confirm, if it proves that its sender got a Response of ours.

        Args:
            confirm: the message.
            data: its bytes.
            packet: in D-mode.
            association: in C-mode.
            now: the time, s.
        """
        facts = self._facts(confirm, data, packet, association, now)
        if facts is None:
            return
        address = confirm.nli.address if facts.translated_address is None else facts.translated_address
        if packet is not None:
            if confirm.source_is_signaller and packet.source[0] != address:
                self._commons.counters.untranslated += 1
                return
        elif association is not None and not self._accept(association, confirm, facts, address, data, now):
            return
        queried = confirm.mri if facts.translated_mri is None else mri_from(facts.translated_mri)
        mri = queried.inverted()
        row = self._commons.table.get(mri.encode(), confirm.sid, confirm.nslp_id)
        waiting: list[SendMessage] = []
        if isinstance(row, QueryingRow):
            # Section 5.8.1.3: what came along the flow is right; against it, only where there is nothing better.
            if queried.direction is Direction.UPSTREAM:
                self._commons.counters.old_confirms += 1
                return
            waiting = self._querier.displaced(row, now)
            row = None
        responding = row if isinstance(row, RespondingRow) else None
        proof = Proof(confirm, facts, association, address)
        installed = self._responder.proved(mri, responding, proof, now)
        if installed is not None:
            for message in waiting:
                self._responder.send(installed, message, now)
        if installed is not None and confirm.nslp_data is not None:
            self._deliver(installed, confirm, packet)

    def _facts(
        self, confirm: Confirm, data: bytes, packet: Caught | None, association: Association | None, now: float
    ) -> CookieFacts | None:
        """What the cookie says, if it is ours; else the Confirm is dropped, and an association that it began."""
        commons = self._commons
        if confirm.responder_cookie is None:
            # Section 6.1 rule 3: we ask for a cookie always, so the handshake was not with us as we are now.
            commons.counters.no_routing_state += 1
            error = simple("a Confirm without Responder-Cookie", ErrorCode.NO_ROUTING_STATE)
            self._complain(packet, association, data, error, confirm.nli, now)
            facts = None
        else:
            facts = commons.cookies.check(
                confirm.responder_cookie,
                identity=confirm.nli.peer_identity,
                address=confirm.nli.address,
                mri=confirm.mri.encode(),
                sid=confirm.sid,
                nslp_id=confirm.nslp_id,
                now=now,
            )
            if facts is None:
                commons.counters.bad_cookies += 1
                if commons.config.cookie_errors:
                    error = simple("invalid cookie", ErrorCode.OBJECT_VALUE_ERROR, ValueFault.COOKIE)
                    self._complain(packet, association, data, error, confirm.nli, now)
        if facts is None and association is not None and not association.confirmed:
            self._associations.refuse(association, now)
        return facts

    def _accept(
        self,
        association: Association,
        confirm: Confirm,
        facts: CookieFacts,
        address: PackedAddress,
        data: bytes,
        now: float,
    ) -> bool:
        """Whether a Confirm is good on that association; the first one says whose it is."""
        commons = self._commons
        first = not association.confirmed
        if (first or facts.proposal_sent) and confirm.stack_proposal != commons.stacks.proposal:
            commons.counters.bad_cookies += 1
            if first:
                self._associations.refuse(association, now)
            return False
        if first:
            if confirm.stack_configuration is None:
                name = ObjectType.STACK_CONFIGURATION
                error = wrong_type("the first Confirm on an association tells the hold time", TypeFault.MISSING, name)
                self._complaints.about_message(association, data, error, now)
                self._associations.refuse(association, now)
                return False
            hold_s = confirm.stack_configuration.hold_time_ms / 1000.0
            self._associations.name_peer(association, confirm.nli.peer_identity, address, hold_s, now)
        elif (association.peer_identity, association.peer_address) != (confirm.nli.peer_identity, address):
            commons.counters.incorrectly_delivered += 1
            error = simple("this association is another node's", ErrorCode.INCORRECTLY_DELIVERED_MESSAGE)
            self._complaints.about_message(association, data, error, now)
            return False
        return True

    def _complain(
        self,
        packet: Caught | None,
        association: Association | None,
        data: bytes,
        error: GistError,
        nli: Nli,
        now: float,
    ) -> None:
        if association is not None:
            self._complaints.about_message(association, data, error, now)
        elif packet is not None:
            self._complaints.about_packet(packet, error, now, nli=nli)

    def _deliver(self, row: Row, confirm: Confirm, packet: Caught | None) -> None:
        association = row.association
        self._commons.deliver(
            RecvMessage(
                nslp_id=confirm.nslp_id,
                sid=confirm.sid,
                mri=row.mri.inverted(),
                data=confirm.nslp_data or b"",
                attributes=TransferAttributes(
                    reliable=association is not None, secure=association is not None and association.secure
                ),
                sii=row.handle(),
                ip_ttl=0 if packet is None else packet.ip_ttl,
                ip_distance=row.distance,
                hops=max(0, confirm.hops - 1),
                interface=row.interface,
                routability_checked=True,
            )
        )


def distance_to(nli: Nli, packet: Caught) -> int:
    """IP hops that a message along the flow has come; 0 where that is not known (section 4.3.2)."""
    return max(0, nli.ip_ttl - packet.ip_ttl) if nli.ip_ttl else 0


def _is_known(row: RespondingRow, query: Query, packet: Caught, reuse: Association | None) -> bool:
    """Whether a Query only says again what the row has: then no Confirm is needed (section 6.3, case 1)."""
    peer = row.peer
    return (
        row.state is not State.AWAITING_CONFIRM
        and peer is not None
        and peer.is_at(query.nli.peer_identity, query.nli.address)
        and peer.port == packet.source[1]
        and row.interface == packet.interface
        and row.association is reuse
        and (query.stack_proposal is None) == (reuse is None)
    )


def _asking(query: Query, packet: Caught, hops: int, distance: int, *, to_endpoint: bool) -> RecvMessage:
    """What an NSLP is asked about peering with."""
    return RecvMessage(
        nslp_id=query.nslp_id,
        sid=query.sid,
        mri=query.mri,
        data=query.nslp_data or b"",
        attributes=_ALONG_FLOW,
        sii=SiiHandle(query.nli.peer_identity, query.nli.address, packet.source[1], packet.interface),
        ip_ttl=packet.ip_ttl,
        ip_distance=distance,
        hops=hops,
        interface=packet.interface,
        to_flow_endpoint=to_endpoint,
        state_validated=False,
    )
