"""How a node becomes part of the overlay, as a table of steps."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Phase(Enum):
    """Where the node stands with the overlay."""

    NEW = "new"
    CONTACTING = "contacting"
    "Entry points are pinged, because only their addresses are known."
    LOOKING_UP = "looking_up"
    "The node looks up its own identifier, which makes it known where it belongs."
    WAITING = "waiting"
    "Nobody answered; another attempt follows."
    JOINED = "joined"


class JoinInput(Enum):
    """What can happen to a joining node."""

    ALONE = "alone"
    "Started without entry points."
    CONTACTS = "contacts"
    "Given entry points."
    CONTACT_ALIVE = "contact_alive"
    "An entry point, or anybody else, has answered."
    ALL_SILENT = "all_silent"
    "No entry point answers and no contact is known."
    FOUND = "found"
    "The lookup of the own identifier was answered."
    NOTHING_FOUND = "nothing_found"
    RETRY_DUE = "retry_due"
    ISOLATED = "isolated"
    "The last known contact is dead."


class JoinAction(Enum):
    """What the node does on a step."""

    NONE = "none"
    CONTACT = "contact"
    LOOK_UP = "look_up"
    REPORT = "report"
    RETRY_LATER = "retry_later"


TRANSITIONS: Final[Mapping[tuple[Phase, JoinInput], tuple[Phase, JoinAction]]] = {
    (Phase.NEW, JoinInput.ALONE): (Phase.JOINED, JoinAction.REPORT),
    (Phase.NEW, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    # A lone node that is given entry points, or a joined one that is given others.
    (Phase.JOINED, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    (Phase.CONTACTING, JoinInput.CONTACT_ALIVE): (Phase.LOOKING_UP, JoinAction.LOOK_UP),
    (Phase.CONTACTING, JoinInput.ALL_SILENT): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.LOOKING_UP, JoinInput.FOUND): (Phase.JOINED, JoinAction.REPORT),
    (Phase.LOOKING_UP, JoinInput.NOTHING_FOUND): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.JOINED, JoinInput.ISOLATED): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.WAITING, JoinInput.RETRY_DUE): (Phase.CONTACTING, JoinAction.CONTACT),
    (Phase.WAITING, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    # A peer of the link has found us before we found an entry point.
    (Phase.WAITING, JoinInput.CONTACT_ALIVE): (Phase.LOOKING_UP, JoinAction.LOOK_UP),
}
"A pair that is not listed changes nothing: a second pong, say, while the lookup runs."
