"""The messaging association as a state machine: what a connection to a peer is in (RFC 5971 section 6.4, figure 9)."""

import math
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.rate import TokenBucket
from netserv.signaling.gist.service import SendMessage
from netserv.signaling.gist.timers import Timed
from netserv.signaling.gist.wire import StreamCutter

if TYPE_CHECKING:
    from netserv.signaling.gist.routing_state import Row


class State(Enum):
    """Where a connection is in its life."""

    AWAITING_CONNECTION = "awaiting_connection"
    CONNECTED = "connected"
    IDLE = "idle"
    "We need it no more; the peer may."
    ENDED = "ended"


class Input(Enum):
    """What can happen to it."""

    RAW_DATA = "raw_data"
    "A message is to be sent."
    CONNECTED = "connection_open"
    CONNECT_FAILED = "connect_failed"
    MESSAGE = "message"
    "One has come, of any kind but MA-Hello."
    HELLO = "hello"
    HELLO_DUE = "hello_due"
    NOT_NEEDED = "not_needed"
    "No routing state leads over it any more."
    NO_HELLO = "no_hello"
    "Nothing has come for the hold time that we announced."
    NO_CONFIRM = "no_confirm"
    "Whoever connected has not shown a valid Confirm in time, or has shown a wrong one."
    FAILED = "failed"


class Action(Enum):
    """What is done on a step."""

    NONE = "none"
    QUEUE = "queue"
    FLUSH = "flush"
    "Send what waited."
    TRANSMIT = "transmit"
    HEAR = "hear"
    "Note the time."
    ANSWER = "answer"
    "Note the time, and send an MA-Hello if one is asked for."
    SEND_HELLO = "send_hello"
    LISTEN = "listen"
    "Send no more Hellos; wait for the peer's."
    CLOSE = "close"
    REPORT = "report_failure"
    "To the rows that lead over it and to the NSLPs whose messages were under way."


TRANSITIONS: Final[Mapping[tuple[State, Input], tuple[State, Action]]] = {
    (State.AWAITING_CONNECTION, Input.RAW_DATA): (State.AWAITING_CONNECTION, Action.QUEUE),
    (State.AWAITING_CONNECTION, Input.CONNECTED): (State.CONNECTED, Action.FLUSH),
    (State.AWAITING_CONNECTION, Input.CONNECT_FAILED): (State.ENDED, Action.REPORT),
    (State.CONNECTED, Input.RAW_DATA): (State.CONNECTED, Action.TRANSMIT),
    (State.CONNECTED, Input.MESSAGE): (State.CONNECTED, Action.HEAR),
    (State.CONNECTED, Input.HELLO): (State.CONNECTED, Action.ANSWER),
    (State.CONNECTED, Input.HELLO_DUE): (State.CONNECTED, Action.SEND_HELLO),
    (State.CONNECTED, Input.NOT_NEEDED): (State.IDLE, Action.LISTEN),
    (State.CONNECTED, Input.NO_CONFIRM): (State.ENDED, Action.CLOSE),
    (State.CONNECTED, Input.FAILED): (State.ENDED, Action.REPORT),
    (State.IDLE, Input.RAW_DATA): (State.CONNECTED, Action.TRANSMIT),
    (State.IDLE, Input.MESSAGE): (State.CONNECTED, Action.HEAR),
    (State.IDLE, Input.HELLO): (State.IDLE, Action.ANSWER),
    (State.IDLE, Input.NO_HELLO): (State.ENDED, Action.CLOSE),
    (State.IDLE, Input.FAILED): (State.ENDED, Action.REPORT),
}
"A pair that is not listed changes nothing and is counted."


class Association(Timed):
    """One connection.

    Attributes:
        number: by which the driver knows it; ours are odd, those that others opened even.
        secure: TLS.
        ours: we opened it.
        state: only `associations.py` assigns it.
        peer_identity: with `peer_address` from the peer's NLI; empty before a Confirm told it.
        answered: the peer has sent something on it.
        confirmed: a valid Confirm has gone over it.
        rows: those that lead over it, in the order in which they came.
        backlog: encoded messages that wait for the connection.
        under_way: messages that the peer is not known to have, oldest first, each with its row if it has one.
        errors: how many Errors may be sent on it; None before the first.
        probe_id: Hello-ID that a reply is awaited for; 0 for none.
        probe_covers: how many of `under_way` are known to be there once it has come.
        probe_until: the peer counts as gone then, s.
        heard_at: when something came last, s.
        deadline: of connecting, or of the Confirm, s.
        peer_hold_s: the peer keeps it for so long without hearing from us.
    """

    __slots__ = (
        "answered",
        "backlog",
        "backlog_bytes",
        "confirmed",
        "cutter",
        "deadline",
        "errors",
        "heard_at",
        "hello_at",
        "number",
        "ours",
        "peer_address",
        "peer_hold_s",
        "peer_identity",
        "probe_at",
        "probe_covers",
        "probe_id",
        "probe_until",
        "rows",
        "secure",
        "state",
        "under_way",
    )

    def __init__(self, number: int, *, secure: bool, ours: bool, cutter: StreamCutter, now: float) -> None:
        super().__init__()
        self.number = number
        self.secure = secure
        self.ours = ours
        self.state = State.AWAITING_CONNECTION
        self.peer_identity = b""
        self.peer_address: PackedAddress = b""
        self.peer_hold_s = math.inf
        self.answered = False
        self.confirmed = False
        self.rows: dict[Row, None] = {}
        self.backlog: list[bytes] = []
        self.backlog_bytes = 0
        self.under_way: deque[tuple[Row | None, SendMessage]] = deque()
        self.probe_id = 0
        self.probe_covers = 0
        self.probe_at = math.inf
        self.probe_until = math.inf
        self.hello_at = math.inf
        self.heard_at = now
        self.deadline = math.inf
        self.cutter = cutter
        self.errors: TokenBucket | None = None

    @property
    def usable(self) -> bool:
        """Messages may be given to it."""
        return self.state is not State.ENDED
