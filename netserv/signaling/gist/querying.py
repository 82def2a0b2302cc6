"""The querying node as a state machine: who looks for the next node, and keeps the way to it (RFC 5971 section 6.2)."""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final

from netserv.signaling.gist.cookies import QUERY_COOKIE_SIZE
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.routing_state import Row


class State(Enum):
    """How far the way to the next node is known."""

    NEW = "new"
    AWAITING_RESPONSE = "awaiting_response"
    "Messages wait."
    ESTABLISHED = "established"
    AWAITING_REFRESH = "awaiting_refresh"
    "Messages go the known way meanwhile."
    ENDED = "ended"


class Input(Enum):
    """What can happen."""

    SEND = "send_request"
    SEND_UNSAFE = "send_request_when_bad"
    "The NSLP has said that the known way is wrong."
    NO_RESPONSE = "no_response"
    EXHAUSTED = "no_response_at_all"
    "No Query follows any more."
    EXPIRED = "expired"
    "The way that was known is not valid any more, and messages wait."
    RESPONSE = "response"
    REFRESH_DUE = "refresh_due"
    WANTS_ASSOCIATION = "wants_association"
    "A message waits that needs another association than there is."
    DATA = "data"
    NO_ROUTING_STATE = "no_routing_state"
    "The peer has forgotten us."
    NO_NEXT_NODE = "no_next_node"
    "The destination says that nobody is there: ICMP port unreachable, or Endpoint Found."
    REFUSED = "query_refused"
    "An Error about our Query, or no way to send it."
    ASSOCIATION_REFUSED = "connection_refused"
    ASSOCIATION_LOST = "connection_lost"
    INVALIDATED_BAD = "invalidated_bad"
    INVALIDATED_TENTATIVE = "invalidated_tentative"
    INACTIVE = "inactive"
    "No messages for the lifetime, or the NSLP wants it no more, or the row upstream is gone."
    DISPLACED = "displaced"
    "A Query along the flow has brought the same state by a better way (section 5.8.1.3)."


class Action(Enum):
    """What is done on a step."""

    NONE = "none"
    QUEUE = "queue"
    QUERY = "send_query"
    "The first of a handshake."
    REPEAT = "send_query_again"
    QUERY_SOON = "send_query_soon"
    "At a random time: many rows are in the same case."
    RESTART = "queue_and_send_query"
    ESTABLISH = "send_confirm_and_flush"
    TRANSMIT = "transmit"
    HEAR = "restart_inactive"
    GIVE_UP = "report_no_next_node"
    FAIL = "report_failure"
    END = "end"


_AWAITING, _ESTABLISHED, _REFRESHING, _ENDED = (
    State.AWAITING_RESPONSE,
    State.ESTABLISHED,
    State.AWAITING_REFRESH,
    State.ENDED,
)
TRANSITIONS: Final[Mapping[tuple[State, Input], tuple[State, Action]]] = {
    (State.NEW, Input.SEND): (_AWAITING, Action.RESTART),
    (_AWAITING, Input.SEND): (_AWAITING, Action.QUEUE),
    (_AWAITING, Input.NO_RESPONSE): (_AWAITING, Action.REPEAT),
    (_AWAITING, Input.EXHAUSTED): (_ENDED, Action.GIVE_UP),
    (_AWAITING, Input.RESPONSE): (_ESTABLISHED, Action.ESTABLISH),
    (_AWAITING, Input.DATA): (_AWAITING, Action.HEAR),
    # A Query is under way already, that is the restart.
    (_AWAITING, Input.NO_ROUTING_STATE): (_AWAITING, Action.NONE),
    (_AWAITING, Input.NO_NEXT_NODE): (_ENDED, Action.GIVE_UP),
    (_AWAITING, Input.REFUSED): (_ENDED, Action.FAIL),
    (_AWAITING, Input.ASSOCIATION_REFUSED): (_ENDED, Action.FAIL),
    (_AWAITING, Input.ASSOCIATION_LOST): (_AWAITING, Action.NONE),
    (_AWAITING, Input.INVALIDATED_BAD): (_AWAITING, Action.NONE),
    (_AWAITING, Input.INVALIDATED_TENTATIVE): (_AWAITING, Action.NONE),
    (_AWAITING, Input.INACTIVE): (_ENDED, Action.END),
    (_AWAITING, Input.DISPLACED): (_ENDED, Action.END),
    (_ESTABLISHED, Input.SEND): (_ESTABLISHED, Action.TRANSMIT),
    (_ESTABLISHED, Input.SEND_UNSAFE): (_AWAITING, Action.RESTART),
    (_ESTABLISHED, Input.RESPONSE): (_ESTABLISHED, Action.ESTABLISH),
    (_ESTABLISHED, Input.REFRESH_DUE): (_REFRESHING, Action.QUERY),
    (_ESTABLISHED, Input.WANTS_ASSOCIATION): (_REFRESHING, Action.QUERY),
    (_ESTABLISHED, Input.DATA): (_ESTABLISHED, Action.HEAR),
    (_ESTABLISHED, Input.NO_ROUTING_STATE): (_AWAITING, Action.QUERY),
    (_ESTABLISHED, Input.ASSOCIATION_REFUSED): (_ENDED, Action.FAIL),
    (_ESTABLISHED, Input.ASSOCIATION_LOST): (_REFRESHING, Action.QUERY_SOON),
    (_ESTABLISHED, Input.INVALIDATED_BAD): (_AWAITING, Action.QUERY),
    (_ESTABLISHED, Input.INVALIDATED_TENTATIVE): (_REFRESHING, Action.QUERY),
    (_ESTABLISHED, Input.INACTIVE): (_ENDED, Action.END),
    (_ESTABLISHED, Input.DISPLACED): (_ENDED, Action.END),
    # It answers a Query before the last: that one is settled, whatever the network says of it now.
    (_ESTABLISHED, Input.NO_NEXT_NODE): (_ESTABLISHED, Action.NONE),
    (_ESTABLISHED, Input.REFUSED): (_ESTABLISHED, Action.NONE),
    (_REFRESHING, Input.SEND): (_REFRESHING, Action.TRANSMIT),
    (_REFRESHING, Input.SEND_UNSAFE): (_AWAITING, Action.QUEUE),
    (_REFRESHING, Input.NO_RESPONSE): (_REFRESHING, Action.REPEAT),
    (_REFRESHING, Input.EXHAUSTED): (_ENDED, Action.GIVE_UP),
    (_REFRESHING, Input.EXPIRED): (_AWAITING, Action.QUERY),
    (_REFRESHING, Input.RESPONSE): (_ESTABLISHED, Action.ESTABLISH),
    # What it needs is offered with the next Query, after the Response to this one.
    (_REFRESHING, Input.WANTS_ASSOCIATION): (_REFRESHING, Action.NONE),
    (_REFRESHING, Input.DATA): (_REFRESHING, Action.HEAR),
    (_REFRESHING, Input.NO_ROUTING_STATE): (_AWAITING, Action.QUERY),
    (_REFRESHING, Input.NO_NEXT_NODE): (_ENDED, Action.GIVE_UP),
    (_REFRESHING, Input.REFUSED): (_ENDED, Action.FAIL),
    (_REFRESHING, Input.ASSOCIATION_REFUSED): (_ENDED, Action.FAIL),
    (_REFRESHING, Input.ASSOCIATION_LOST): (_REFRESHING, Action.QUERY_SOON),
    (_REFRESHING, Input.INVALIDATED_BAD): (_AWAITING, Action.QUERY),
    (_REFRESHING, Input.INVALIDATED_TENTATIVE): (_REFRESHING, Action.NONE),
    (_REFRESHING, Input.INACTIVE): (_ENDED, Action.END),
    (_REFRESHING, Input.DISPLACED): (_ENDED, Action.END),
}
"A pair that is not listed changes nothing and is counted."


class QueryingRow(Row):
    """Routing state that this node looks after.

    Attributes:
        cookies: those of the handshake that runs or was last, one behind the other: an answer to any of them counts.
        pause_s: how long the Query sent last is waited for.
        next_at: when the next Query is due, a refresh or a repetition, s.
        held: that Query could not be sent when it was due, and is no repetition.
        sent: Queries of this handshake.
        needs: 1 for messages that need an association, 2 for one with TLS; it stays, for what may come back.
        offered: what of that the handshake that runs asks for: messages that came after its first Query may need more.
        payload: of the NSLP, for the Queries of the next handshake.
        follows: there is, or was, a row upstream for the same session; it is not refreshed without that.
        hops: GIST hops of its Queries.
    """

    __slots__ = ("cookies", "follows", "held", "hops", "needs", "next_at", "offered", "pause_s", "payload", "sent")

    state: State

    def __init__(self, mri: Mri, sid: bytes, nslp_id: int, hops: int) -> None:
        super().__init__(mri, sid, nslp_id, State.NEW)
        self.cookies = b""
        self.pause_s = 0.0
        self.next_at = math.inf
        self.held = False
        self.sent = 0
        self.needs = 0
        self.offered = 0
        self.payload: bytes | None = None
        self.follows = False
        self.hops = hops

    def is_mine(self, cookie: bytes) -> bool:
        """Whether a Query-Cookie is one of the handshake that runs, or was last."""
        size, cookies = QUERY_COOKIE_SIZE, self.cookies
        if len(cookie) != size:
            return False
        # Mostly there was one Query.
        return cookies == cookie or any(cookies[at : at + size] == cookie for at in range(0, len(cookies), size))
