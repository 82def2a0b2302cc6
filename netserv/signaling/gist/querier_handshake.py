"""The querying side's part of a handshake: Query out, Response in, association and Confirm (RFC 5971 section 4.4.1)."""

from typing import Final

from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons, q_mode_destination
from netserv.signaling.gist.cookies import query_cookie
from netserv.signaling.gist.effects import Outgoing
from netserv.signaling.gist.messages import Confirm, Query, Response
from netserv.signaling.gist.objects.mri import Direction
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.service import (
    NotificationKind,
    RecvMessage,
    RoutingStatus,
    SendFailure,
    TransferAttributes,
)

HELD_BACK_S: Final = 0.1
"A Query over the rate limit is tried again after so long, and up to twice that."
COOKIES_MAX: Final = 8
"Of one handshake; seven Queries are the most of any profile."
VALIDITY_MAX_S: Final = 86_400.0
PAYLOAD_MAX: Final = 256
"Bytes of NSLP data in a Query, so that it stays under 512 with everything else that can be in it."
_SECURE: Final = 2


class Handshake:
    """Makes Queries and Confirms, and takes Responses."""

    __slots__ = ("_associations", "_commons", "_outbox")

    def __init__(self, commons: Commons, outbox: Outbox, associations: Associations) -> None:
        self._commons = commons
        self._outbox = outbox
        self._associations = associations

    def query(self, row: QueryingRow, now: float) -> SendFailure | None:
        """Send a Query with a new cookie, or hold it back; the failure if there is no way to send one."""
        commons = self._commons
        way = self._way(row)
        if way is None:
            return SendFailure.UNREACHABLE
        if self._must_wait(row) or not self._outbox.may_send(now):
            row.held, row.next_at = True, now + HELD_BACK_S * commons.rng.uniform(1.0, 2.0)
            return None
        cookie = query_cookie(commons.rng)
        row.cookies = (row.cookies + cookie)[-COOKIES_MAX * len(cookie) :]
        direction = row.mri.direction
        ip_ttl = self._outbox.ip_ttl(None, direction, q_mode=True)
        downstream = direction is Direction.DOWNSTREAM
        proposal, configuration = commons.stacks.offer(secure=row.offered == _SECURE) if row.offered else (None, None)
        self._outbox.along_flow(
            Query(
                nslp_id=row.nslp_id,
                hops=row.hops,
                # Section 5.8.1.2: the flow's source first, our own for every other repetition.
                source_is_signaller=commons.config.own_source or not downstream or row.sent % 2 == 1,
                mri=row.mri,
                sid=row.sid,
                nli=commons.own_nli(way, ip_ttl if downstream else row.distance),
                query_cookie=cookie,
                stack_proposal=proposal,
                stack_configuration=configuration,
                nslp_data=row.payload,
            ),
            ip_ttl,
        )
        commons.counters.queries_sent += 1
        row.sent += 1
        row.held, row.next_at = False, now + row.pause_s
        return None

    def take(
        self,
        row: QueryingRow,
        response: Response,
        came_on: Association | None,
        now: float,
        *,
        ip_ttl: int,
    ) -> SendFailure | None:
        """Take over what a Response says, and send the Confirm; the failure if no association can be had.

        The row's machine steps after it. Everything here can be done again with the same Response.
        """
        commons = self._commons
        nli = response.nli
        association: Association | None = None
        opened = False
        if row.offered:
            found = self._association(row, response, came_on, now)
            if isinstance(found, SendFailure):
                return found
            association, opened = found
        self._name_peer(row, nli)
        self._use(row, association)
        downstream = row.mri.direction is Direction.DOWNSTREAM
        if downstream:
            row.distance = nli.ip_ttl
        elif nli.ip_ttl and ip_ttl:
            row.distance = max(0, nli.ip_ttl - ip_ttl)
        if row.peer is not None:
            row.peer.distance = row.distance
        if response.wants_confirm:
            self._confirm(row, response, association, opened, now)
        commons.counters.handshakes_as_querier += 1
        return None

    def settle(self, row: QueryingRow, response: Response, now: float) -> None:
        """Start the timers of an established row, and tell its NSLP (rule 4 of section 6.2)."""
        commons = self._commons
        validity_s = min(VALIDITY_MAX_S, max(1.0, response.nli.validity_ms / 1000.0))
        row.expires_at = now + validity_s
        row.next_at = now + validity_s * commons.rng.uniform(0.5, 0.75)
        row.held = False
        row.payload = None
        if not row.follows:
            row.follows = commons.table.opposite(row) is not None
        commons.set_status(row, RoutingStatus.GOOD)
        if response.nslp_data is not None:
            row.inactive_at = now + row.lifetime_s
            association = row.association
            commons.deliver(
                RecvMessage(
                    nslp_id=row.nslp_id,
                    sid=row.sid,
                    mri=response.mri,
                    data=response.nslp_data,
                    attributes=TransferAttributes(secure=association is not None and association.secure),
                    sii=row.handle(),
                    ip_distance=row.distance,
                    hops=max(0, response.hops - 1),
                    interface=row.interface,
                    routability_checked=True,
                )
            )

    def _way(self, row: QueryingRow) -> Outgoing | None:
        destination = q_mode_destination(row.mri, upstream=True)
        return None if destination is None else self._commons.topology.outgoing(destination)

    def _must_wait(self, row: QueryingRow) -> bool:
        """Section 4.4.5: no other association for a session while messages on the one it has may be under way."""
        old = row.association
        return old is not None and row.offered == _SECURE and not old.secure and bool(old.under_way)

    def _association(
        self, row: QueryingRow, response: Response, came_on: Association | None, now: float
    ) -> tuple[Association, bool] | SendFailure:
        """The one to use and whether it is new: on which the Response came, else one with that peer, else a new one."""
        nli, secure = response.nli, row.offered == _SECURE
        refusal = SendFailure.SECURITY if secure else SendFailure.TRANSPORT
        if came_on is not None:
            return (came_on, False) if came_on.secure or not secure else refusal
        peer = row.peer
        old = row.association
        same = peer is not None and peer.is_at(nli.peer_identity, nli.address)
        if old is not None and same and (old.secure or not secure):
            return old, False
        known = self._associations.with_peer(nli.peer_identity, nli.address, secure=secure)
        if known is not None:
            return known, False
        if response.stack_proposal is None or response.stack_configuration is None:
            return refusal
        choice = self._commons.stacks.choose(response.stack_proposal, response.stack_configuration, secure=secure)
        if choice is None:
            return refusal
        new = self._associations.open(
            nli.peer_identity,
            nli.address,
            choice.port,
            secure=choice.secure,
            peer_hold_s=response.stack_configuration.hold_time_ms / 1000.0,
            now=now,
        )
        return SendFailure.RATE_LIMITED if new is None else (new, True)

    def _name_peer(self, row: QueryingRow, nli: Nli) -> None:
        commons, old = self._commons, row.peer
        if old is not None and old.is_at(nli.peer_identity, nli.address):
            return
        if old is not None:
            commons.counters.route_changes += 1
            commons.notify(row, NotificationKind.ROUTE_DELETION, sii=row.handle())
            commons.peers.release(old)
            row.status = RoutingStatus.TENTATIVE  # so that the new peer is news
        row.peer = commons.peers.hold(nli.peer_identity, nli.address, GIST_PORT)
        way = commons.topology.outgoing(nli.address)
        row.peer.interface = row.interface = 0 if way is None else way.interface

    def _use(self, row: QueryingRow, association: Association | None) -> None:
        if row.association is not association:
            if row.association is not None:
                row.association.rows.pop(row, None)
            row.association = association
        if association is not None:
            association.rows[row] = None
            row.had_association = True

    def _confirm(
        self, row: QueryingRow, response: Response, association: Association | None, opened: bool, now: float
    ) -> None:
        commons = self._commons
        way = self._way(row)
        if way is None:
            return
        direction = row.mri.direction
        ip_ttl = self._outbox.ip_ttl(None, direction, q_mode=False)
        confirm = Confirm(
            nslp_id=row.nslp_id,
            mri=row.mri,
            sid=row.sid,
            nli=commons.own_nli(way, ip_ttl if direction is Direction.DOWNSTREAM else row.distance),
            responder_cookie=response.responder_cookie,
            stack_proposal=response.stack_proposal if association is not None else None,
            stack_configuration=commons.stacks.hold if opened else None,
        )
        if association is not None:
            self._associations.send(association, confirm, now)
        elif self._outbox.may_send(now):
            self._outbox.datagram(confirm, (response.nli.address, GIST_PORT), commons.config.port, ip_ttl)
