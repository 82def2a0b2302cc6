"""Runs the querying machines: Queries, what answers them, and the messages of their rows (RFC 5971 section 6.2)."""

from typing import Any

from netserv.signaling.gist import backlog
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import Commons, q_mode_destination
from netserv.signaling.gist.ends import BARE_QUERIES
from netserv.signaling.gist.messages import Response
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.querier_handshake import Handshake
from netserv.signaling.gist.querying import TRANSITIONS, Action, Input, QueryingRow, State
from netserv.signaling.gist.service import (
    LastBy,
    NotificationKind,
    RoutingStatus,
    SendFailure,
    SendMessage,
)
from netserv.signaling.gist.transmission import Transmission


class Querier:
    """Looks for next nodes, and keeps the ways to them."""

    __slots__ = ("_associations", "_commons", "_handshake", "_transmission")

    def __init__(
        self, commons: Commons, outbox: Outbox, associations: Associations, transmission: Transmission
    ) -> None:
        self._commons = commons
        self._associations = associations
        self._transmission = transmission
        self._handshake = Handshake(commons, outbox, associations)

    # From the NSLP.

    def begin(self, message: SendMessage, now: float) -> None:
        """Look for the next node, for a message that wants to go there; there is no row for it."""
        row = QueryingRow(message.mri, message.sid, message.nslp_id, message.hops)
        row.lifetime_s = self._commons.config.inactive_s
        row.inactive_at = now + row.lifetime_s
        self._commons.table.add(row)
        self._note_needs(row, message)
        self._step(row, Input.SEND, now, message)

    def send(self, row: QueryingRow, message: SendMessage, now: float) -> None:
        """Send by a row that is there."""
        row.inactive_at = now + row.lifetime_s
        self._note_needs(row, message)
        if row.status is RoutingStatus.BAD and row.peer is not None and row.state is not State.AWAITING_RESPONSE:
            self._step(row, Input.SEND_UNSAFE, now, message)
            return
        self._step(row, Input.SEND, now, message)
        if row.status is RoutingStatus.TENTATIVE and row.state is State.ESTABLISHED:
            self._step(row, Input.INVALIDATED_TENTATIVE, now)

    def set_lifetime(self, row: QueryingRow, lifetime_s: float, now: float) -> None:
        """How long the row is kept without messages; at 0 it ends, as soon as nothing waits in it."""
        row.lifetime_s = lifetime_s
        row.inactive_at = now + lifetime_s
        self._settle(row, now)

    def invalidate(
        self, row: QueryingRow, status: RoutingStatus, *, payload: bytes | None, now_already: bool, now: float
    ) -> None:
        """The NSLP doubts the way: look again, at once or with the next message (section 7.1.3)."""
        if payload is not None:
            row.payload = payload
        self._commons.set_status(row, status, tell=False)
        if now_already:
            bad = status is RoutingStatus.BAD
            self._step(row, Input.INVALIDATED_BAD if bad else Input.INVALIDATED_TENTATIVE, now)

    # From the network.

    def response(
        self, row: QueryingRow, response: Response, association: Association | None, now: float, *, ip_ttl: int
    ) -> None:
        """A Response with one of our cookies has come.

        Args:
            row: the Query's.
            response: the message.
            association: on which it came.
            now: the time, s.
            ip_ttl: of the datagram; 0 on an association.
        """
        if row.state is State.ENDED:
            return
        failure = self._handshake.take(row, response, association, now, ip_ttl=ip_ttl)
        if failure is not None:
            # No association can be had: the way is known all the same, for what needs none.
            backlog.fail(self._commons, row, failure, self._transmission.needs_association)
            row.needs = row.offered = 0
            self._handshake.take(row, response, None, now, ip_ttl=ip_ttl)
        self._step(row, Input.RESPONSE, now, response)

    def heard(self, row: QueryingRow, now: float) -> None:
        """Data have come from the peer."""
        self._step(row, Input.DATA, now)

    def forgotten(self, row: QueryingRow, now: float) -> None:
        """The peer has no routing state for us."""
        self._step(row, Input.NO_ROUTING_STATE, now)

    def nobody(self, row: QueryingRow, last_by: LastBy, now: float) -> None:
        """There is no node of that NSLP up to the destination."""
        self._step(row, Input.NO_NEXT_NODE, now, last_by)

    def refused(self, row: QueryingRow, failure: SendFailure, now: float) -> None:
        """An Error about our Query says that it leads nowhere."""
        self._step(row, Input.REFUSED, now, failure)

    def lost(self, row: QueryingRow, refused: bool, now: float) -> None:
        """The association of the row is gone, or was not had."""
        self._step(row, Input.ASSOCIATION_REFUSED if refused else Input.ASSOCIATION_LOST, now, SendFailure.TRANSPORT)

    def displaced(self, row: QueryingRow, now: float) -> list[SendMessage]:
        """A responding row takes the place of this one; what waits in it is for that."""
        waiting = []
        while row.queue is not None:
            waiting.append(backlog.pop(self._commons, row))
        self._step(row, Input.DISPLACED, now)
        return waiting

    # Time.

    def woken(self, row: QueryingRow, now: float) -> None:
        """Its earliest deadline has come."""
        late = backlog.drop_late(self._commons, row, now)
        if row.inactive_at <= now and row.queue is None:
            self._step(row, Input.INACTIVE, now)
        elif row.state is State.ESTABLISHED:
            if row.next_at <= now:
                self._step(row, Input.REFRESH_DUE if self._is_wanted(row) else Input.INACTIVE, now)
        elif row.state is State.AWAITING_REFRESH and row.expires_at <= now:
            self._step(row, Input.EXHAUSTED if row.queue is None else Input.EXPIRED, now, LastBy.TIMEOUT)
        elif late and row.queue is None and row.peer is None:
            self._step(row, Input.EXHAUSTED, now, LastBy.TIMEOUT)
        elif row.next_at <= now:
            if row.held:
                self._query(row, now)
            else:
                self._step(row, Input.EXHAUSTED if self._is_spent(row, now) else Input.NO_RESPONSE, now, LastBy.TIMEOUT)
        self._settle(row, now)

    def _is_spent(self, row: QueryingRow, now: float) -> bool:
        """Whether enough Queries were sent."""
        commons = self._commons
        if row.pause_s >= commons.config.longest_timeout_s:
            return True
        first_search = row.peer is None and row.sent >= BARE_QUERIES
        return first_search and commons.ends.is_bare(q_mode_destination(row.mri, upstream=True), now)

    def _is_wanted(self, row: QueryingRow) -> bool:
        """Section 4.4.4: no refresh once the state upstream has expired, so that the route can heal there."""
        return not row.follows or self._commons.table.opposite(row) is not None

    def _settle(self, row: QueryingRow, now: float) -> None:
        if row.state is State.ENDED:
            return
        if row.inactive_at <= now and row.queue is None:
            self._step(row, Input.INACTIVE, now)
            return
        at = min(row.next_at, row.inactive_at if row.queue is None else backlog.first_deadline(row))
        if row.state is State.AWAITING_REFRESH:
            at = min(at, row.expires_at)
        self._commons.timers.set(row, at)

    # The machine.

    def _step(self, row: QueryingRow, event: Input, now: float, subject: Any = None) -> None:
        """One step of the table; the subject is what its action is about: a message, a Response, a reason."""
        step = TRANSITIONS.get((row.state, event))
        if step is None:
            self._commons.counters.out_of_turn += 1
            return
        row.state, action = step
        match action:
            case Action.QUEUE | Action.TRANSMIT | Action.RESTART:
                self._take_message(row, action, subject, now)
            case Action.QUERY:
                if event is Input.NO_ROUTING_STATE:
                    self._commons.counters.restarts += 1
                    self._commons.set_status(row, RoutingStatus.BAD)
                self._first_query(row, now)
            case Action.REPEAT:
                row.pause_s = min(2.0 * row.pause_s, self._commons.config.longest_timeout_s)
                self._commons.counters.queries_repeated += 1
                self._query(row, now)
            case Action.QUERY_SOON:
                self._query_soon(row, now)
            case Action.ESTABLISH:
                self._establish(row, subject, now)
            case Action.HEAR:
                row.inactive_at = now + row.lifetime_s
            case Action.GIVE_UP:
                self._give_up(row, subject, now)
            case Action.FAIL:
                self._end(row, subject)
            case Action.END:
                self._end(row, SendFailure.NO_STATE)
            case Action.NONE:
                pass
        self._settle(row, now)

    def _take_message(self, row: QueryingRow, action: Action, message: SendMessage, now: float) -> None:
        if action is Action.RESTART:
            backlog.put(self._commons, row, message, now)
            self._first_query(row, now)
        elif action is Action.QUEUE:
            backlog.put(self._commons, row, message, now)
        elif self._transmission.waits(row, message) or (row.queue is not None and message.attributes.reliable):
            if backlog.put(self._commons, row, message, now):
                self._step(row, Input.WANTS_ASSOCIATION, now)
        else:
            self._transmission.send(row, message, self._commons.config.port, now)

    def _establish(self, row: QueryingRow, response: Response, now: float) -> None:
        self._handshake.settle(row, response, now)
        self._transmission.flush(row, self._commons.config.port, now)
        if row.queue is not None:
            self._step(row, Input.WANTS_ASSOCIATION, now)

    def _note_needs(self, row: QueryingRow, message: SendMessage) -> None:
        if self._transmission.needs_association(message):
            row.needs = max(row.needs, 2 if message.attributes.secure else 1)

    def _first_query(self, row: QueryingRow, now: float) -> None:
        self._begin(row)
        self._query(row, now)

    def _begin(self, row: QueryingRow) -> None:
        row.cookies = b""
        row.sent = 0
        row.offered = row.needs
        row.pause_s = self._commons.config.first_timeout_s

    def _query_soon(self, row: QueryingRow, now: float) -> None:
        self._commons.counters.restarts += 1
        self._commons.set_status(row, RoutingStatus.TENTATIVE)
        self._begin(row)
        # Four seconds for as many Queries as may leave in one.
        spread_s = 0.0 if row.queue else 4.0 * len(self._commons.table) / self._commons.config.datagrams_per_s
        row.held, row.next_at = True, now + self._commons.rng.uniform(0.0, spread_s)

    def _query(self, row: QueryingRow, now: float) -> None:
        failure = self._handshake.query(row, now)
        if failure is not None:
            self._step(row, Input.REFUSED, now, failure)

    # The end.

    def _give_up(self, row: QueryingRow, last_by: LastBy, now: float) -> None:
        host = q_mode_destination(row.mri, upstream=True)
        self._commons.ends.note(row.flow, row.nslp_id, host, last_by, now)
        self._commons.counters.last_node += 1
        self._commons.notify(row, NotificationKind.LAST_NODE, last_by=last_by)
        self._end(row, SendFailure.NO_NEXT_NODE)

    def _end(self, row: QueryingRow, failure: SendFailure) -> None:
        """Take the row out; what waits in it has failed."""
        backlog.fail(self._commons, row, failure)
        self._commons.end(row, tell=failure is not SendFailure.NO_STATE)
