"""The state machine of a port that the router is to forward: its stages, what can happen, and what is done about it."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Stage(Enum):
    """How far it is."""

    WAITING = "waiting"
    "For a gateway."
    ASKING = "asking"
    HELD = "held"
    RENEWING = "renewing"
    RESTING = "resting"
    "The router has refused, or not answered."
    ENDING = "ending"
    "The port is given back."
    ENDED = "ended"


class Input(Enum):
    """What can happen."""

    GATEWAY = "gateway"
    "There is one, or another one, or this host has another address."
    NO_GATEWAY = "no gateway"
    GRANTED = "granted"
    USELESS = "useless"
    "Granted, at an address that is none of the internet's."
    REFUSED = "refused"
    UNSPOKEN = "unspoken"
    "It does not know the protocol, and says so; or has not answered, and there are no tries left."
    EXHAUSTED = "exhausted"
    "The same of the last protocol."
    SILENCE = "silence"
    "No answer in time, and there are tries left."
    DUE = "due"
    "For renewal."
    CHECK = "check"
    EXPIRED = "expired"
    LOST = "lost"
    "The router has lost its state."
    AGAIN = "again"
    STOP = "stop"
    GONE = "gone"
    "The router has given the port up."


class Action(Enum):
    """What is done about it."""

    NONE = "none"
    BEGIN = "begin"
    "With the first protocol, and nothing held."
    SEND = "send"
    NEXT = "next"
    "The next protocol."
    KEEP = "keep"
    RENEW = "renew"
    CHECK = "check"
    RECOVER = "recover"
    "Ask again soon, by the same protocol, for the same port."
    REST = "rest"
    GIVE_BACK = "give back"
    DELETE = "delete"
    FORGET = "forget"


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.WAITING, Input.GATEWAY): (Stage.ASKING, Action.BEGIN),
    (Stage.WAITING, Input.STOP): (Stage.ENDED, Action.NONE),
    (Stage.ASKING, Input.GATEWAY): (Stage.ASKING, Action.BEGIN),
    (Stage.ASKING, Input.NO_GATEWAY): (Stage.WAITING, Action.FORGET),
    (Stage.ASKING, Input.GRANTED): (Stage.HELD, Action.KEEP),
    (Stage.ASKING, Input.USELESS): (Stage.RESTING, Action.GIVE_BACK),
    (Stage.ASKING, Input.REFUSED): (Stage.RESTING, Action.REST),
    (Stage.ASKING, Input.SILENCE): (Stage.ASKING, Action.SEND),
    (Stage.ASKING, Input.UNSPOKEN): (Stage.ASKING, Action.NEXT),
    (Stage.ASKING, Input.EXHAUSTED): (Stage.RESTING, Action.REST),
    # A request may have been granted whose answer is on its way.
    (Stage.ASKING, Input.STOP): (Stage.ENDING, Action.DELETE),
    (Stage.HELD, Input.GATEWAY): (Stage.ASKING, Action.BEGIN),
    (Stage.HELD, Input.NO_GATEWAY): (Stage.WAITING, Action.FORGET),
    (Stage.HELD, Input.GRANTED): (Stage.HELD, Action.KEEP),
    (Stage.HELD, Input.USELESS): (Stage.RESTING, Action.GIVE_BACK),
    (Stage.HELD, Input.DUE): (Stage.RENEWING, Action.RENEW),
    (Stage.HELD, Input.CHECK): (Stage.HELD, Action.CHECK),
    (Stage.HELD, Input.LOST): (Stage.ASKING, Action.RECOVER),
    (Stage.HELD, Input.STOP): (Stage.ENDING, Action.DELETE),
    (Stage.RENEWING, Input.GATEWAY): (Stage.ASKING, Action.BEGIN),
    (Stage.RENEWING, Input.NO_GATEWAY): (Stage.WAITING, Action.FORGET),
    (Stage.RENEWING, Input.GRANTED): (Stage.HELD, Action.KEEP),
    (Stage.RENEWING, Input.USELESS): (Stage.RESTING, Action.GIVE_BACK),
    (Stage.RENEWING, Input.REFUSED): (Stage.RESTING, Action.REST),
    (Stage.RENEWING, Input.SILENCE): (Stage.RENEWING, Action.RENEW),
    (Stage.RENEWING, Input.EXPIRED): (Stage.ASKING, Action.BEGIN),
    (Stage.RENEWING, Input.UNSPOKEN): (Stage.ASKING, Action.BEGIN),  # another software on the router
    (Stage.RENEWING, Input.LOST): (Stage.ASKING, Action.RECOVER),
    (Stage.RENEWING, Input.STOP): (Stage.ENDING, Action.DELETE),
    (Stage.RESTING, Input.GATEWAY): (Stage.ASKING, Action.BEGIN),
    (Stage.RESTING, Input.NO_GATEWAY): (Stage.WAITING, Action.FORGET),
    (Stage.RESTING, Input.LOST): (Stage.ASKING, Action.RECOVER),
    (Stage.RESTING, Input.AGAIN): (Stage.ASKING, Action.BEGIN),
    (Stage.RESTING, Input.STOP): (Stage.ENDED, Action.NONE),
    (Stage.ENDING, Input.SILENCE): (Stage.ENDING, Action.DELETE),
    (Stage.ENDING, Input.EXHAUSTED): (Stage.ENDED, Action.NONE),
    (Stage.ENDING, Input.GONE): (Stage.ENDED, Action.NONE),
}
"A pair that is not listed changes nothing."
