"""The calls of NSLPs: which row, or which other way, serves them (RFC 5971 section 4.3.3, appendix B)."""

from collections.abc import Collection
from typing import Final

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.commons import Commons, far_end, q_mode_destination
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.objects.opaque import check_sid, check_words
from netserv.signaling.gist.outbox import Outbox, fits_d_mode
from netserv.signaling.gist.querier import Querier
from netserv.signaling.gist.querier_handshake import PAYLOAD_MAX
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.responder import Responder
from netserv.signaling.gist.responding import RespondingRow
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import (
    LastBy,
    NotificationKind,
    RoutingStatus,
    SendFailure,
    SendMessage,
    TransferAttributes,
)
from netserv.signaling.gist.tlv import ObjectType
from netserv.signaling.gist.transmission import Transmission

LOOKED_AGAIN_MAX: Final = 1_000
"""Rows whose Query goes out at once when routes change; the next refresh of the others, which is due within three
quarters of their lifetime, finds what has changed. All at once would be more than the rate of datagrams allows."""


class Requests:
    """What NSLPs ask for."""

    __slots__ = ("_commons", "_outbox", "_querier", "_responder", "_transmission")

    def __init__(
        self,
        commons: Commons,
        outbox: Outbox,
        transmission: Transmission,
        querier: Querier,
        responder: Responder,
    ) -> None:
        self._commons = commons
        self._outbox = outbox
        self._transmission = transmission
        self._querier = querier
        self._responder = responder

    def send(self, message: SendMessage, now: float) -> None:
        """Send a message, or report why not (B.1)."""
        _check(message)
        if message.hops == 0:
            self._commons.report(message, SendFailure.HOPS)
            return
        if message.sii is not None:
            self._transmission.send_explicitly(message, message.sii, now)
            return
        end = far_end(message.mri)
        if self._commons.topology.is_own(end):
            # Section 4.3.3, and 4.3.4: behind the end of the flow is nobody.
            self._commons.report(message, SendFailure.OWN_DESTINATION)
            self._last_node(message, LastBy.ENDPOINT)
            return
        row = self._commons.table.get(message.mri.encode(), message.sid, message.nslp_id)
        attributes = message.attributes
        guaranteed = attributes.reliable or attributes.secure
        if not guaranteed and (attributes.q_mode or (row is None and attributes.no_state)):
            self._send_along_flow(message, now)
        elif isinstance(row, QueryingRow):
            self._querier.send(row, message, now)
        elif isinstance(row, RespondingRow):
            self._responder.send(row, message, now)
        else:
            self._send_first(message, now)

    def set_lifetime(self, nslp_id: int, mri: Mri, sid: bytes | None, lifetime_s: float, now: float) -> None:
        """Say how long state is wanted (B.5)."""
        if not lifetime_s >= 0.0:
            raise LocalProtocolError("a lifetime is 0 or more")
        for row in self._rows(nslp_id, mri, sid):
            if isinstance(row, QueryingRow):
                self._querier.set_lifetime(row, lifetime_s, now)
            elif isinstance(row, RespondingRow):
                self._responder.set_lifetime(row, lifetime_s, now)

    def invalidate(
        self,
        nslp_id: int | None,
        mri: Mri,
        status: RoutingStatus,
        *,
        payload: bytes | None,
        urgent: bool,
        now: float,
    ) -> None:
        """Say that state may be wrong (B.6)."""
        if status is RoutingStatus.GOOD:
            raise LocalProtocolError("only a handshake makes routing state good again")
        if payload is not None:
            check_words(payload, ObjectType.NSLP_DATA)
            if len(payload) > PAYLOAD_MAX:
                raise LocalProtocolError(f"a payload for Queries has {PAYLOAD_MAX} bytes at most")
        self._commons.ends.forget(mri.encode())
        for row in self._rows(nslp_id, mri, None):
            if isinstance(row, QueryingRow):
                # Section 7.1.3: at once too where the way here is known to be right.
                upstream = self._commons.table.opposite(row)
                at_once = urgent or (upstream is not None and upstream.status is RoutingStatus.GOOD)
                self._querier.invalidate(row, status, payload=payload, now_already=at_once, now=now)
            else:
                self._commons.set_status(row, status, tell=False)

    def routes_changed(self, destinations: Collection[PackedAddress], now: float) -> None:
        """Look for the next node again, where the way to the end of a flow is another one (section 7.1.2)."""
        if not destinations:
            return
        looked = 0
        for row in self._commons.table:
            if not isinstance(row, QueryingRow) or far_end(row.mri) not in destinations:
                continue
            looked += 1
            if looked > LOOKED_AGAIN_MAX:
                self._commons.set_status(row, RoutingStatus.TENTATIVE)
                continue
            self._querier.invalidate(row, RoutingStatus.TENTATIVE, payload=None, now_already=True, now=now)

    def _rows(self, nslp_id: int | None, mri: Mri, sid: bytes | None) -> list[Row]:
        key = mri.encode()
        if sid is not None and nslp_id is not None:
            row = self._commons.table.get(key, sid, nslp_id)
            return [] if row is None else [row]
        return [row for row in self._commons.table.of_flow(key) if nslp_id in (None, row.nslp_id)]

    def _send_first(self, message: SendMessage, now: float) -> None:
        """There is no row: look for the next node, if that can be done in this direction."""
        commons = self._commons
        destination = q_mode_destination(message.mri, upstream=commons.config.upstream_queries)
        last_by = commons.ends.known(message.mri.encode(), message.nslp_id, now)
        if destination is None:
            commons.report(message, SendFailure.NO_STATE)
        elif commons.topology.outgoing(destination) is None:
            commons.report(message, SendFailure.UNREACHABLE)
        elif last_by is not None:
            commons.report(message, SendFailure.NO_NEXT_NODE)
            self._last_node(message, last_by)
        elif message.attributes.secure and not commons.stacks.can_secure():
            commons.report(message, SendFailure.SECURITY)
        elif len(commons.table) >= commons.config.sessions_max:
            commons.counters.rows_refused += 1
            commons.report(message, SendFailure.RATE_LIMITED)
        else:
            self._querier.begin(message, now)

    def _send_along_flow(self, message: SendMessage, now: float) -> None:
        """Q-mode Data: whoever is next takes it, and nobody keeps state."""
        commons = self._commons
        destination = q_mode_destination(message.mri, upstream=commons.config.upstream_queries)
        way = None if destination is None else commons.topology.outgoing(destination)
        if destination is None:
            commons.report(message, SendFailure.NO_STATE)
        elif way is None:
            commons.report(message, SendFailure.UNREACHABLE)
        elif not fits_d_mode(self._transmission.size_in_datagram(message), way):
            commons.report(message, SendFailure.TOO_LARGE)
        elif not self._outbox.may_send(now):
            commons.report(message, SendFailure.RATE_LIMITED)
        else:
            ip_ttl = self._outbox.ip_ttl(message, message.mri.direction, q_mode=True)
            self._outbox.along_flow(self._outbox.data(message, way, q_mode=True), ip_ttl)
            commons.report(message, None, TransferAttributes(q_mode=True, no_state=True))

    def _last_node(self, message: SendMessage, last_by: LastBy) -> None:
        self._commons.counters.last_node += 1
        self._commons.notify_flow(
            message.nslp_id, message.sid, message.mri, NotificationKind.LAST_NODE, last_by=last_by
        )


def _check(message: SendMessage) -> None:
    """See that a message can be written, before anything is changed for it.

    Raises:
        LocalProtocolError: it cannot.
    """
    check_sid(message.sid)
    check_words(message.data, ObjectType.NSLP_DATA)
    if not 0 <= message.hops <= 255:
        raise LocalProtocolError("GIST hops are 0 to 255")
    if message.ip_ttl is not None and not 1 <= message.ip_ttl <= 255:
        raise LocalProtocolError("an IP TTL is 1 to 255")
    if message.timeout_s is not None and not message.timeout_s > 0.0:
        raise LocalProtocolError("a timeout is over 0")
