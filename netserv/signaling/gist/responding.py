"""The responding node as a state machine: who is found as the next node (RFC 5971 section 6.3, figure 8)."""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Final

from netserv.signaling.gist.addresses import Endpoint
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.routing_state import Row


class State(Enum):
    """How far the way back to the querying node is known."""

    NEW = "new"
    AWAITING_CONFIRM = "awaiting_confirm"
    "Only where state is kept before the Confirm (`GistConfig.delayed_state` false)."
    ESTABLISHED = "established"
    AWAITING_REFRESH = "awaiting_refresh"
    "A Query wants a change, which a Confirm has to prove; messages go the known way meanwhile."
    ENDED = "ended"


class Input(Enum):
    """What can happen."""

    QUERY = "query"
    "One whose Response needs a Confirm."
    QUERY_OF_KNOWN = "query_without_change"
    "From the same peer, by the same interface, for the same association: nothing is to be proved."
    CONFIRM = "confirm"
    "With a valid cookie of a handshake later than the one that the row is from."
    CONFIRM_AGAIN = "confirm_again"
    "Of the same handshake, or an older one."
    NO_CONFIRM = "no_confirm"
    EXHAUSTED = "no_confirm_at_all"
    DATA = "data"
    SEND = "send_request"
    NO_ROUTING_STATE = "no_routing_state"
    "The peer has forgotten us."
    ASSOCIATION_LOST = "connection_lost"
    EXPIRED = "expired"
    RELEASED = "released"
    "The NSLP wants it no more."


class Action(Enum):
    """What is done on a step."""

    NONE = "none"
    RESPOND = "send_response"
    RESPOND_AGAIN = "send_response_again"
    REFRESH = "send_response_and_restart_expire"
    INSTALL = "install_and_flush"
    QUEUE = "queue"
    TRANSMIT = "transmit"
    REJECT = "send_no_routing_state"
    DELIVER = "deliver"
    DOUBT = "note_tentative"
    END = "end"
    REPORT = "report_and_end"


_CONFIRMING, _ESTABLISHED, _REFRESHING, _ENDED = (
    State.AWAITING_CONFIRM,
    State.ESTABLISHED,
    State.AWAITING_REFRESH,
    State.ENDED,
)
TRANSITIONS: Final[Mapping[tuple[State, Input], tuple[State, Action]]] = {
    (State.NEW, Input.QUERY): (_CONFIRMING, Action.RESPOND),
    (State.NEW, Input.CONFIRM): (_ESTABLISHED, Action.INSTALL),
    (_CONFIRMING, Input.QUERY): (_CONFIRMING, Action.RESPOND),
    (_CONFIRMING, Input.DATA): (_CONFIRMING, Action.REJECT),
    (_CONFIRMING, Input.SEND): (_CONFIRMING, Action.QUEUE),
    (_CONFIRMING, Input.CONFIRM): (_ESTABLISHED, Action.INSTALL),
    (_CONFIRMING, Input.NO_CONFIRM): (_CONFIRMING, Action.RESPOND_AGAIN),
    (_CONFIRMING, Input.EXHAUSTED): (_ENDED, Action.REPORT),
    (_CONFIRMING, Input.EXPIRED): (_ENDED, Action.REPORT),
    (_CONFIRMING, Input.RELEASED): (_ENDED, Action.END),
    (_ESTABLISHED, Input.QUERY): (_REFRESHING, Action.RESPOND),
    (_ESTABLISHED, Input.QUERY_OF_KNOWN): (_ESTABLISHED, Action.REFRESH),
    (_ESTABLISHED, Input.CONFIRM): (_ESTABLISHED, Action.INSTALL),
    (_ESTABLISHED, Input.CONFIRM_AGAIN): (_ESTABLISHED, Action.NONE),
    (_ESTABLISHED, Input.DATA): (_ESTABLISHED, Action.DELIVER),
    (_ESTABLISHED, Input.SEND): (_ESTABLISHED, Action.TRANSMIT),
    (_ESTABLISHED, Input.NO_ROUTING_STATE): (_ENDED, Action.REPORT),
    (_ESTABLISHED, Input.ASSOCIATION_LOST): (_ESTABLISHED, Action.DOUBT),
    (_ESTABLISHED, Input.EXPIRED): (_ENDED, Action.REPORT),
    (_ESTABLISHED, Input.RELEASED): (_ENDED, Action.END),
    (_REFRESHING, Input.QUERY): (_REFRESHING, Action.RESPOND),
    (_REFRESHING, Input.QUERY_OF_KNOWN): (_ESTABLISHED, Action.REFRESH),
    (_REFRESHING, Input.CONFIRM): (_ESTABLISHED, Action.INSTALL),
    (_REFRESHING, Input.CONFIRM_AGAIN): (_REFRESHING, Action.NONE),
    (_REFRESHING, Input.NO_CONFIRM): (_REFRESHING, Action.RESPOND_AGAIN),
    (_REFRESHING, Input.EXHAUSTED): (_ENDED, Action.REPORT),
    (_REFRESHING, Input.DATA): (_REFRESHING, Action.DELIVER),
    (_REFRESHING, Input.SEND): (_REFRESHING, Action.TRANSMIT),
    (_REFRESHING, Input.NO_ROUTING_STATE): (_ENDED, Action.REPORT),
    (_REFRESHING, Input.ASSOCIATION_LOST): (_REFRESHING, Action.DOUBT),
    (_REFRESHING, Input.EXPIRED): (_ENDED, Action.REPORT),
    (_REFRESHING, Input.RELEASED): (_ENDED, Action.END),
}
"A pair that is not listed changes nothing and is counted."


class RespondingRow(Row):
    """Routing state that a peer looks after.

    Attributes:
        stamp: of the handshake that it is from (`cookies.CookieFacts.stamp`).
        pending: a Response in D-mode that no Confirm has come to, and where it goes.
        pause_s: how long the Confirm is waited for before the Response is sent again.
        next_at: when that is, s.
    """

    __slots__ = ("next_at", "pause_s", "pending", "stamp")

    state: State

    def __init__(self, mri: Mri, sid: bytes, nslp_id: int) -> None:
        super().__init__(mri, sid, nslp_id, State.NEW)
        self.stamp = 0
        self.pending: tuple[bytes, Endpoint, int] | None = None
        self.pause_s = 0.0
        self.next_at = math.inf
