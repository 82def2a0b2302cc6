"""One request on its way through this node: the stages, what can happen, and what is done about it, as a table."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.service import LastBy
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.requests import Request
from netserv.signaling.nslp.responses import Response, StackEntry

SessionKey: TypeAlias = tuple[bytes, Mri]
"SID, and MRI with the direction of the flow."
ExchangeKey: TypeAlias = tuple[bytes, Mri, bytes]
"The same, and a hash of the request's bytes."


class Stage(Enum):
    """How far it is."""

    WAITING = "waiting"
    "Sent on; the answer from further down is awaited."
    TURNING = "turning"
    "A TRIGGER whose inner request is under way; or an off-path request that nodes around still answer."
    ANSWERED = "answered"
    "Kept for whoever sends it again."
    FORGOTTEN = "forgotten"


class Input(Enum):
    """What can happen."""

    AGAIN = "the request again"
    RESPONSE = "a response"
    LAST_NODE = "nobody is behind"
    TURN_BACK = "nobody is behind, and it is a TRIGGER"
    SPREAD = "the path has answered, nodes around have not"
    FAILED = "could not be delivered"
    FAILED_FOR_GOOD = "can not be delivered"
    OUTCOME = "outcome of the inner request, or of the nodes around"
    DEADLINE = "time is up"


class Action(Enum):
    """What is done about it."""

    NOTHING = "nothing"
    SEND_ON = "send it on again"
    WAIT = "try again later"
    PASS_ON = "put own entry on the stack, send it up"  # noqa: S105 - no password
    TURN = "answer as last node"
    OPEN = "send the inner request back"
    TELL = "answer with the outcome"
    ALONE = "answer with own entry, and say why"
    REPEAT = "answer as before"
    COUNT = "count as late"
    FORGET = "forget"


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.WAITING, Input.AGAIN): (Stage.WAITING, Action.SEND_ON),
    (Stage.WAITING, Input.RESPONSE): (Stage.ANSWERED, Action.PASS_ON),
    (Stage.WAITING, Input.LAST_NODE): (Stage.ANSWERED, Action.TURN),
    (Stage.WAITING, Input.TURN_BACK): (Stage.TURNING, Action.OPEN),
    (Stage.WAITING, Input.SPREAD): (Stage.TURNING, Action.NOTHING),
    (Stage.WAITING, Input.FAILED): (Stage.WAITING, Action.WAIT),
    (Stage.WAITING, Input.FAILED_FOR_GOOD): (Stage.ANSWERED, Action.ALONE),
    (Stage.WAITING, Input.DEADLINE): (Stage.ANSWERED, Action.ALONE),
    (Stage.TURNING, Input.AGAIN): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.RESPONSE): (Stage.TURNING, Action.COUNT),
    (Stage.TURNING, Input.LAST_NODE): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.TURN_BACK): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.SPREAD): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.FAILED): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.FAILED_FOR_GOOD): (Stage.TURNING, Action.NOTHING),
    (Stage.TURNING, Input.OUTCOME): (Stage.ANSWERED, Action.TELL),
    (Stage.TURNING, Input.DEADLINE): (Stage.ANSWERED, Action.ALONE),
    (Stage.ANSWERED, Input.AGAIN): (Stage.ANSWERED, Action.REPEAT),
    (Stage.ANSWERED, Input.RESPONSE): (Stage.ANSWERED, Action.COUNT),
    (Stage.ANSWERED, Input.LAST_NODE): (Stage.ANSWERED, Action.NOTHING),
    (Stage.ANSWERED, Input.TURN_BACK): (Stage.ANSWERED, Action.NOTHING),
    (Stage.ANSWERED, Input.SPREAD): (Stage.ANSWERED, Action.NOTHING),
    (Stage.ANSWERED, Input.FAILED): (Stage.ANSWERED, Action.NOTHING),
    (Stage.ANSWERED, Input.FAILED_FOR_GOOD): (Stage.ANSWERED, Action.NOTHING),
    (Stage.ANSWERED, Input.OUTCOME): (Stage.ANSWERED, Action.COUNT),
    (Stage.ANSWERED, Input.DEADLINE): (Stage.FORGOTTEN, Action.FORGET),
}
"An OUTCOME comes only of an inner request, which nothing but TURNING has."


class Exchange:
    """One request at this node.

    Args:
        key: what it is known by.
        request: None where it cannot be read.
        number: by which responses name it.
        data: as it came, padding and all, to be sent on so.
        arrival: how it came.
    """

    __slots__ = (
        "answer", "around", "arrival", "below", "data", "delivered", "ends_at", "gathering", "handle", "hops", "key",
        "nobody", "number", "peer", "reliable", "reliable_on", "request", "resend_s", "response", "sent_at",
        "session", "stage",
    )  # fmt: skip

    def __init__(self, key: ExchangeKey, request: Request | None, number: bytes, data: bytes, arrival: Arrival) -> None:
        self.key = key
        self.session: SessionKey = key[:2]
        "Of GIST; kept, since what is kept of a session is kept by it."
        self.request = request
        self.number = number
        self.data = data
        self.arrival = arrival
        self.stage = Stage.WAITING
        self.answer: Answer | None = None
        "Of this node; None where it puts no entry on the stack."
        self.response = b""
        "What was sent up, once it was."
        self.gathering = False
        "Nodes around have not all answered."
        self.around: tuple[StackEntry, ...] = ()
        "What they have."
        self.below: tuple[Response, LastBy | None] | None = None
        "What the path has answered meanwhile, and how this node knows that it is the last one."
        self.handle: int | None = None
        "Of what GIST is to deliver further down."
        self.delivered = False
        "GIST has sent it to a next node, as far as it knows."
        self.nobody = False
        "GIST has found no next node; how it knows that follows, or not."
        self.ends_at = 0.0
        self.sent_at = 0.0
        self.resend_s = 0.0
        "Until it goes out once more, if it goes by datagrams."
        self.reliable = True
        "As it came; the answer goes back so."
        self.reliable_on = True
        "As it is sent on."
        self.hops = 0
        "GIST hops that it has left."
        self.peer: PackedAddress | None = None
        "Address of the node before this one."

    @property
    def is_open(self) -> bool:
        """Whether it is still to be answered."""
        return self.stage in {Stage.WAITING, Stage.TURNING}

    def step(self, what: Input) -> Action:
        """Go to the next stage."""
        self.stage, action = TRANSITIONS[self.stage, what]
        return action
