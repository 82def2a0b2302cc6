"""Runs the messaging associations: opens, re-uses, keeps, closes them (RFC 5971 sections 4.4.3, 4.4.5, 6.4)."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from netserv.signaling.gist.addresses import Endpoint, PackedAddress
from netserv.signaling.gist.association import TRANSITIONS, Action, Association, Input, State
from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.effects import CloseAssociation, OpenAssociation, SendOnAssociation
from netserv.signaling.gist.messages import MaHello, Message
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import NotificationKind, SendFailure, SendMessage
from netserv.signaling.gist.wire import StreamCutter, encode

SETUP_S: Final = 30.0
"For connecting, and until the Confirm; what a Response says of ports is good for so long (section 5.7.1)."
PROBE_AFTER_S: Final = 1.0
"Messages under way for so long are asked after with an MA-Hello."
PROBE_ANSWER_S: Final = 30.0
"A peer that does not answer an MA-Hello for so long is gone; TCP would find out after minutes."
UNDER_WAY_MAX: Final = 4_096
"Messages on one association that the peer is not known to have; more are refused, which is the back pressure."
UNDER_WAY_PROBE: Final = 512
"So many are asked after at once."
MUTE_S: Final = 0.25
"A connection that ends so soon, and on which the peer has said nothing, counts as refused."
PER_PEER_MAX: Final = 4
"Associations with one peer that are found for re-use: two securities, each opened by either side."

Origin = tuple[Row | None, SendMessage]
"Whose message it is."
Lost = Callable[[Row, bool, float], None]
"Called for each row of an association that is gone: the row, whether it never was there, and the time."


class Associations:
    """All associations of a node.

    Args:
        commons: what the parts share.
        lost: tells the routing machines.
    """

    __slots__ = ("_by_number", "_by_peer", "_commons", "_half_open", "_lost", "_next")

    def __init__(self, commons: Commons, lost: Lost) -> None:
        self._commons = commons
        self._lost = lost
        self._by_number: dict[int, Association] = {}
        self._by_peer: dict[tuple[bytes, PackedAddress], list[Association]] = {}
        # Those that others opened and on which no valid Confirm has come, the oldest first.
        self._half_open: dict[int, Association] = {}
        self._next = 1

    def get(self, number: int) -> Association | None:
        """The association of that number, unless it has ended."""
        return self._by_number.get(number)

    def all(self) -> list[Association]:
        """Every one that has not ended."""
        return list(self._by_number.values())

    def with_peer(self, identity: bytes, address: PackedAddress, *, secure: bool) -> Association | None:
        """One to re-use: identity and address are both the peer's (section 4.4.3); TLS before TCP, the older first."""
        found = self._by_peer.get((identity, address), ())
        fitting = [association for association in found if association.secure or not secure]
        return max(fitting, key=lambda association: association.secure, default=None)

    # Being made.

    def open(
        self, identity: bytes, address: PackedAddress, port: int, *, secure: bool, peer_hold_s: float, now: float
    ) -> Association | None:
        """Begin to connect to a peer; None over the limit."""
        if len(self._by_number) >= self._commons.config.associations_max:
            self._commons.counters.associations_refused += 1
            return None
        association = self._new(self._next, secure=secure, ours=True, now=now)
        self._next += 2
        self.name_peer(association, identity, address, peer_hold_s, now)
        self._commons.out.append(OpenAssociation(association=association.number, to=(address, port), secure=secure))
        association.deadline = now + SETUP_S
        self._schedule(association)
        return association

    def accepted(self, number: int, _peer: Endpoint, *, secure: bool, now: float) -> None:
        """Somebody has connected; whoever it is, a Confirm has to say."""
        limit = self._commons.config
        if len(self._half_open) >= limit.half_open_max:
            # A peer sends its Confirm at once (section 4.4.1): the oldest is most likely none.
            self._commons.counters.associations_unconfirmed += 1
            self._step(next(iter(self._half_open.values())), Input.NO_CONFIRM, now)
        if number in self._by_number or len(self._by_number) >= limit.associations_max:
            self._commons.counters.associations_refused += 1
            self._commons.out.append(CloseAssociation(number))
            return
        association = self._half_open[number] = self._new(number, secure=secure, ours=False, now=now)
        self._step(association, Input.CONNECTED, now)
        association.deadline = now + SETUP_S
        self._schedule(association)

    def opened(self, number: int, now: float) -> None:
        """An association that we opened is there."""
        association = self._by_number.get(number)
        if association is not None:
            self._step(association, Input.CONNECTED, now)

    def name_peer(
        self, association: Association, identity: bytes, address: PackedAddress, hold_s: float, now: float
    ) -> None:
        """The peer's NLI and hold time, of the first handshake on the association."""
        if not association.ours and not association.confirmed:
            del self._half_open[association.number]
            association.deadline = math.inf
        association.confirmed = True
        association.peer_identity, association.peer_address = identity, address
        association.peer_hold_s = max(1.0, hold_s)
        same = self._by_peer.setdefault((identity, address), [])
        if len(same) < PER_PEER_MAX:
            same.append(association)
        if association.state is State.CONNECTED:
            association.hello_at = now + self._hello_pause(association)
        self._schedule(association)

    def _new(self, number: int, *, secure: bool, ours: bool, now: float) -> Association:
        cutter = StreamCutter(self._commons.config.stream_message_max)
        association = Association(number, secure=secure, ours=ours, cutter=cutter, now=now)
        self._by_number[number] = association
        return association

    # What goes over it.

    def send(
        self,
        association: Association,
        message: Message,
        now: float,
        *,
        of: Origin | None = None,
    ) -> bool:
        """Send a message, or keep it until the connection is there; False: refused, over a limit.

        Args:
            association: one that has not ended.
            message: of any kind.
            now: the time, s.
            of: the NSLP's message and its row if it has one, where somebody wants to hear of a failure.
        """
        if of is not None:
            waiting = len(of[1].data) if association.state is State.AWAITING_CONNECTION else 0
            if (
                len(association.under_way) >= UNDER_WAY_MAX
                or self._commons.queued_bytes + waiting > self._commons.config.queue_bytes_max
            ):
                self._commons.counters.queue_refused += 1
                return False
            association.under_way.append(of)
            if association.probe_at == math.inf:
                association.probe_at = now + PROBE_AFTER_S
        self._step(association, Input.RAW_DATA, now, encode(message))
        if len(association.under_way) >= UNDER_WAY_PROBE and not association.probe_id:
            self._probe(association, now)
        self._schedule(association)
        return True

    def not_taken(self, association: Association, row: Row) -> None:
        """The peer has refused messages of a session: those that it is not known to have count as lost."""
        failing = [entry for entry in association.under_way if entry[0] is row]
        if association.probe_id:
            covered = list(association.under_way)[: association.probe_covers]
            association.probe_covers -= sum(entry[0] is row for entry in covered)
        association.under_way = deque(entry for entry in association.under_way if entry[0] is not row)
        self._fail(failing)

    def heard(self, association: Association, now: float) -> None:
        """A message other than MA-Hello has come."""
        self._step(association, Input.MESSAGE, now)

    def hello(self, association: Association, hello: MaHello, now: float) -> None:
        """An MA-Hello has come."""
        self._step(association, Input.HELLO, now, hello)

    def closed(self, number: int, now: float) -> None:
        """The connection is gone, or was never had."""
        association = self._by_number.get(number)
        if association is not None:
            connecting = association.state is State.AWAITING_CONNECTION
            self._step(association, Input.CONNECT_FAILED if connecting else Input.FAILED, now)

    def refuse(self, association: Association, now: float) -> None:
        """Close what began without a valid Confirm, or went wrong in its stream."""
        self._commons.out.append(CloseAssociation(association.number))
        self._step(association, Input.NO_CONFIRM if not association.confirmed else Input.FAILED, now)

    # Time.

    def woken(self, association: Association, now: float) -> None:
        """Its earliest deadline has come."""
        if association.deadline <= now:
            association.deadline = math.inf
            self._commons.counters.associations_unconfirmed += not association.confirmed
            self._commons.out.append(CloseAssociation(association.number))
            connecting = association.state is State.AWAITING_CONNECTION
            self._step(association, Input.CONNECT_FAILED if connecting else Input.NO_CONFIRM, now)
        elif association.probe_until <= now:
            self._commons.out.append(CloseAssociation(association.number))
            self._step(association, Input.FAILED, now)
        elif association.state is State.IDLE and association.heard_at + self._commons.config.hold_time_s <= now:
            self._step(association, Input.NO_HELLO, now)
        elif association.state is State.CONNECTED:
            if association.probe_at <= now and not association.probe_id:
                self._probe(association, now)
            if association.hello_at <= now:
                needed = association.rows or association.under_way
                self._step(association, Input.HELLO_DUE if needed else Input.NOT_NEEDED, now)
        self._schedule(association)

    def _schedule(self, association: Association) -> None:
        match association.state:
            case State.AWAITING_CONNECTION:
                at = association.deadline
            case State.CONNECTED:
                at = min(association.deadline, association.hello_at, association.probe_until)
                if not association.probe_id:
                    at = min(at, association.probe_at)
            case State.IDLE:
                at = min(association.heard_at + self._commons.config.hold_time_s, association.probe_until)
            case _:
                self._commons.timers.cancel(association)
                return
        self._commons.timers.set(association, at)

    # The machine.

    def _step(self, association: Association, event: Input, now: float, subject: Any = None) -> None:
        """One step of the table; the subject is what its action is about: bytes, or an MA-Hello."""
        step = TRANSITIONS.get((association.state, event))
        if step is None:
            self._commons.counters.out_of_turn += 1
            return
        association.state, action = step
        match action:
            case Action.TRANSMIT | Action.QUEUE:
                self._transmit(association, subject, now, wait=action is Action.QUEUE)
            case Action.FLUSH:
                self._flush(association, now)
            case Action.HEAR:
                association.heard_at, association.answered = now, True
            case Action.ANSWER:
                self._answer(association, subject, now)
            case Action.SEND_HELLO:
                self._send_hello(association, now)
            case Action.LISTEN:
                association.hello_at = math.inf
            case Action.CLOSE:
                self._commons.out.append(CloseAssociation(association.number))
                self._end(association, now, refused=False)
            case Action.REPORT:
                # Who takes connections and ends them at once without a word is not to be connected to again at once.
                mute = not association.answered and now - association.heard_at < MUTE_S
                self._end(association, now, refused=association.ours and mute)
            case Action.NONE:
                pass
        self._schedule(association)

    def _transmit(self, association: Association, data: bytes, now: float, *, wait: bool) -> None:
        if wait:
            association.backlog.append(data)
            association.backlog_bytes += len(data)
            self._commons.queued_bytes += len(data)
            return
        self._commons.out.append(SendOnAssociation(association.number, data))
        association.hello_at = now + self._hello_pause(association)

    def _flush(self, association: Association, now: float) -> None:
        self._commons.queued_bytes -= association.backlog_bytes
        if association.backlog:
            self._commons.out.append(SendOnAssociation(association.number, b"".join(association.backlog)))
        association.backlog, association.backlog_bytes = [], 0
        association.deadline = math.inf
        association.heard_at = now
        association.hello_at = now + self._hello_pause(association)

    def _hello_pause(self, association: Association) -> float:
        """At random in a half to three quarters of the peer's hold time (section 4.4.5)."""
        hold_s = min(association.peer_hold_s, self._commons.config.hold_time_s * 10.0)
        return hold_s * self._commons.rng.uniform(0.5, 0.75)

    def _send_hello(self, association: Association, now: float) -> None:
        silent = now - association.heard_at >= self._commons.config.hold_time_s
        if (silent or association.under_way) and not association.probe_id:
            self._probe(association, now)
            return
        self._commons.counters.hellos_sent += 1
        self._transmit(association, encode(MaHello()), now, wait=False)

    def _probe(self, association: Association, now: float) -> None:
        """Ask the peer whether it is there; its answer says that it has all that was sent before."""
        association.probe_id = self._commons.rng.randrange(1, 1 << 32)
        association.probe_covers = len(association.under_way)
        association.probe_until = now + PROBE_ANSWER_S
        self._commons.counters.hellos_sent += 1
        self._transmit(association, encode(MaHello(wants_reply=True, hello_id=association.probe_id)), now, wait=False)

    def _answer(self, association: Association, hello: MaHello, now: float) -> None:
        association.heard_at, association.answered = now, True
        if hello.wants_reply:
            answer = encode(MaHello(hello_id=hello.hello_id))
            self._commons.counters.hellos_sent += 1
            if association.state is State.IDLE:
                # Not over `_transmit`: an answer does not say that we want to keep it.
                self._commons.out.append(SendOnAssociation(association.number, answer))
            else:
                self._transmit(association, answer, now, wait=False)
        elif hello.hello_id and hello.hello_id == association.probe_id:
            for _ in range(association.probe_covers):
                association.under_way.popleft()
            association.probe_id = association.probe_covers = 0
            association.probe_until = math.inf
            association.probe_at = now + PROBE_AFTER_S if association.under_way else math.inf

    # The end.

    def _end(self, association: Association, now: float, *, refused: bool) -> None:
        """Forget it, and say so to everybody who counted on it."""
        del self._by_number[association.number]
        self._half_open.pop(association.number, None)
        same = self._by_peer.get((association.peer_identity, association.peer_address))
        if same is not None and association in same:
            same.remove(association)
            if not same:
                del self._by_peer[(association.peer_identity, association.peer_address)]
        self._commons.queued_bytes -= association.backlog_bytes
        association.backlog, association.backlog_bytes = [], 0
        self._fail(list(association.under_way))
        association.under_way.clear()
        rows, association.rows = association.rows, {}
        for row in rows:
            row.association = None
            self._lost(row, refused, now)

    def _fail(self, under_way: list[Origin]) -> None:
        """Report messages that may not have arrived, and tell each session that it has lost some (section 4.1.2)."""
        told: set[Row] = set()
        for row, message in under_way:
            self._commons.report(message, SendFailure.TRANSPORT)
            if row is not None and row not in told:
                told.add(row)
                self._commons.notify(row, NotificationKind.COMMUNICATION_FAILURE, sii=row.handle())

    def close_all(self) -> None:
        """Close everything, for the end of the node."""
        for association in self._by_number.values():
            self._commons.out.append(CloseAssociation(association.number))
            self._commons.timers.cancel(association)
        self._by_number.clear()
        self._by_peer.clear()
        self._half_open.clear()
