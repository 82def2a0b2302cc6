"""Runs the responding machines: what Queries and Confirms do to routing state (RFC 5971 section 6.3)."""

import math
from typing import Any, NamedTuple

from netserv.signaling.gist import backlog
from netserv.signaling.gist.addresses import GIST_PORT, Endpoint
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.commons import IP_TTL, Commons
from netserv.signaling.gist.cookies import CookieFacts
from netserv.signaling.gist.effects import SendDatagram
from netserv.signaling.gist.messages import Confirm
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.outbox import Outbox
from netserv.signaling.gist.responding import TRANSITIONS, Action, Input, RespondingRow, State
from netserv.signaling.gist.service import NotificationKind, RoutingStatus, SendFailure, SendMessage
from netserv.signaling.gist.transmission import Transmission


class Reply(NamedTuple):
    """A Response that is ready, and how it goes."""

    payload: bytes
    "With the magic number; empty where it goes on an association, which loses nothing."
    to: Endpoint
    source_port: int


class Proof(NamedTuple):
    """A Confirm whose cookie is valid, with the association that it came on."""

    confirm: Confirm
    facts: CookieFacts
    association: Association | None
    address: bytes
    "Of the peer, as it is reached from here."


class Responder:
    """Keeps the rows that peers look after."""

    __slots__ = ("_commons", "_outbox", "_transmission", "half_open")

    def __init__(self, commons: Commons, outbox: Outbox, transmission: Transmission) -> None:
        self._commons = commons
        self._outbox = outbox
        self._transmission = transmission
        self.half_open = 0

    # From the network.

    def asked(self, row: RespondingRow, reply: Reply, now: float, *, known: bool) -> None:
        """A Query has come for a row; the reply is what it gets.

        Args:
            row: the flow's.
            reply: that is ready.
            now: the time, s.
            known: nothing is new in it, and the reply wants no Confirm.
        """
        self._step(row, Input.QUERY_OF_KNOWN if known else Input.QUERY, now, reply)

    def asked_first(self, mri: Mri, sid: bytes, nslp_id: int, reply: Reply, now: float) -> None:
        """Keep state for a Query before its Confirm (case 2 of section 6.3), where the settings want that."""
        commons = self._commons
        if self.half_open >= commons.config.half_open_max or len(commons.table) >= commons.config.sessions_max:
            commons.counters.rows_refused += 1
            return
        row = RespondingRow(mri, sid, nslp_id)
        row.expires_at = now + commons.validity_s()
        commons.table.add(row)
        self._step(row, Input.QUERY, now, reply)

    def proved(self, mri: Mri, row: RespondingRow | None, proof: Proof, now: float) -> RespondingRow | None:
        """A valid Confirm has come; return its row, None where there is no room for one.

        Args:
            mri: of the row: towards the peer.
            row: None: there is none yet.
            proof: the Confirm, and what is known by it.
            now: the time, s.
        """
        if row is None:
            if len(self._commons.table) >= self._commons.config.sessions_max:
                self._commons.counters.rows_refused += 1
                return None
            row = RespondingRow(mri, proof.confirm.sid, proof.confirm.nslp_id)
            self._commons.table.add(row)
            self._step(row, Input.CONFIRM, now, proof)
            return row
        fresh = row.state is State.AWAITING_CONFIRM or proof.facts.stamp > row.stamp
        if not fresh:
            self._commons.counters.old_confirms += 1
        self._step(row, Input.CONFIRM if fresh else Input.CONFIRM_AGAIN, now, proof)
        return row if fresh else None

    def takes_data(self, row: RespondingRow, now: float) -> bool:
        """Data have come from the peer; False: they are to be rejected, since no Confirm was here."""
        return self._step(row, Input.DATA, now) is Action.DELIVER

    def forgotten(self, row: RespondingRow, now: float) -> None:
        """The peer has no routing state for us (section 4.4.6: delete, and report)."""
        self._step(row, Input.NO_ROUTING_STATE, now)

    def lost(self, row: RespondingRow, now: float) -> None:
        """The association of the row is gone; the querying node has to make a new one."""
        self._step(row, Input.ASSOCIATION_LOST, now)

    # From the NSLP.

    def send(self, row: RespondingRow, message: SendMessage, now: float) -> None:
        """Send towards the querying node."""
        if row.status is RoutingStatus.BAD and row.peer is not None:
            self._commons.report(message, SendFailure.NO_STATE)
        else:
            self._step(row, Input.SEND, now, message)

    def set_lifetime(self, row: RespondingRow, lifetime_s: float, now: float) -> None:
        """Only 0 means something here: this side does not refresh, and at 0 it is not interested (B.5)."""
        row.lifetime_s = lifetime_s
        self._settle(row, now)

    # Time.

    def woken(self, row: RespondingRow, now: float) -> None:
        """Its earliest deadline has come."""
        backlog.drop_late(self._commons, row, now)
        if row.expires_at <= now:
            self._step(row, Input.EXPIRED, now)
        elif row.next_at <= now:
            spent = row.pause_s >= self._commons.config.longest_timeout_s
            self._step(row, Input.EXHAUSTED if spent else Input.NO_CONFIRM, now)
        self._settle(row, now)

    def _settle(self, row: RespondingRow, now: float) -> None:
        if row.state is State.ENDED:
            return
        if row.lifetime_s <= 0.0 and row.queue is None:
            self._step(row, Input.RELEASED, now)
        else:
            self._commons.timers.set(row, min(row.expires_at, row.next_at, backlog.first_deadline(row)))

    # The machine.

    def _step(self, row: RespondingRow, event: Input, now: float, subject: Any = None) -> Action:
        """One step of the table; the subject is what its action is about: a message, a reply, a proof."""
        step = TRANSITIONS.get((row.state, event))
        if step is None:
            self._commons.counters.out_of_turn += 1
            return Action.NONE
        before = row.state
        row.state, action = step
        self.half_open += (row.state is State.AWAITING_CONFIRM) - (before is State.AWAITING_CONFIRM)
        match action:
            case Action.RESPOND | Action.REFRESH:
                self._respond(row, subject, now, again=action is Action.RESPOND)
            case Action.RESPOND_AGAIN:
                self._respond_again(row, now)
            case Action.INSTALL:
                self._install(row, subject, now)
            case Action.QUEUE | Action.TRANSMIT:
                self._take_message(row, subject, now, queue=action is Action.QUEUE)
            case Action.DOUBT:
                self._commons.set_status(row, RoutingStatus.TENTATIVE)
            case Action.REPORT | Action.END:
                self._end(row, tell=action is Action.REPORT)
            case Action.NONE | Action.DELIVER | Action.REJECT:
                pass
        self._settle(row, now)
        return action

    def _respond(self, row: RespondingRow, reply: Reply, now: float, *, again: bool) -> None:
        """Send a Response; `again`, and in D-mode: until the Confirm is here (rules 1 and 5)."""
        if again:
            row.pending = reply if reply.payload else None
            row.pause_s = self._commons.config.first_timeout_s
            row.next_at = now + row.pause_s if reply.payload else math.inf
        else:
            row.pending, row.next_at = None, math.inf
            row.stamp = stamp_of(now)
            row.expires_at = now + self._commons.validity_s()
            self._commons.counters.refreshes_answered += 1
            self._commons.set_status(row, RoutingStatus.GOOD)
        if reply.payload:
            self._commons.out.append(SendDatagram(reply.payload, reply.to, reply.source_port, IP_TTL))

    def _respond_again(self, row: RespondingRow, now: float) -> None:
        if row.pending is None:
            return
        row.pause_s = min(2.0 * row.pause_s, self._commons.config.longest_timeout_s)
        row.next_at = now + row.pause_s
        if self._outbox.may_send(now, answer=True):
            payload, to, source_port = row.pending
            self._commons.out.append(SendDatagram(payload, to, source_port, IP_TTL))

    def _install(self, row: RespondingRow, proof: Proof, now: float) -> None:
        """Let the row lead to the peer that has proved itself (rules 2 and 8)."""
        commons, facts, confirm = self._commons, proof.facts, proof.confirm
        identity, old = confirm.nli.peer_identity, row.peer
        if old is None or not old.is_at(identity, proof.address) or old.port != facts.port:
            if old is not None:
                commons.counters.route_changes += 1
                commons.notify(row, NotificationKind.ROUTE_DELETION, sii=row.handle())
                commons.peers.release(old)
                row.status = RoutingStatus.TENTATIVE  # so that the new peer is news
            old = row.peer = commons.peers.hold(identity, proof.address, facts.port)
        old.interface = row.interface = facts.interface
        old.distance = row.distance = facts.distance
        row.stamp = facts.stamp
        row.pending, row.next_at = None, math.inf
        row.expires_at = now + commons.validity_s()
        if row.association is not proof.association and row.association is not None:
            row.association.rows.pop(row, None)
        row.association = proof.association
        if proof.association is not None:
            proof.association.rows[row] = None
            row.had_association = True
        commons.counters.handshakes_as_responder += 1
        commons.set_status(row, RoutingStatus.GOOD)
        self._transmission.flush(row, GIST_PORT, now)

    def _take_message(self, row: RespondingRow, message: SendMessage, now: float, *, queue: bool) -> None:
        waits = not queue and self._transmission.waits(row, message)
        if waits and not row.had_association:
            # Connections are made from the other end, which does not know that we want one.
            attributes = message.attributes
            failure = SendFailure.TRANSPORT if attributes.reliable else SendFailure.TOO_LARGE
            self._commons.report(message, SendFailure.SECURITY if attributes.secure else failure)
        elif waits or queue or (row.queue is not None and message.attributes.reliable):
            backlog.put(self._commons, row, message, now)
        else:
            self._transmission.send(row, message, GIST_PORT, now)

    def _end(self, row: RespondingRow, *, tell: bool) -> None:
        backlog.fail(self._commons, row, SendFailure.TRANSPORT)
        self._commons.end(row, tell=tell)


def stamp_of(now: float) -> int:
    """A time as it goes into cookies."""
    return int(now * 1e6) & 0xFFFF_FFFF_FFFF_FFFF
