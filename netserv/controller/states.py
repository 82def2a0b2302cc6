"""One installation of a module as a table: from the SETUP that asks for it until nothing of it is left."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class State(Enum):
    """How far an installation is."""

    NEW = "new"
    CHECKING = "checking"
    "The host that the traffic goes to is asked for the one-time password."
    FETCHING = "fetching"
    VERIFYING = "verifying"
    "Digest, signature, manifest."
    GATHERING = "gathering"
    "What it needs is looked for, or comes."
    WAITING = "waiting"
    "Until the installation that it takes the place of has gone."
    INSTALLING = "installing"
    ACTIVE = "active"
    REMOVING = "removing"
    FAILED = "failed"
    "Nothing of it is left but the reason, which a PROBE tells until its time is over."
    GONE = "gone"


class Input(Enum):
    """What can happen to it."""

    GRANTED = "granted"
    "The operator has allowed its traffic beforehand."
    UNPROVEN = "unproven"
    "It has to be shown whose the traffic is."
    ROUTABLE = "routable"
    UNROUTABLE = "unroutable"
    "Another password, or none."
    FETCHED = "fetched"
    VERIFIED = "verified"
    VERIFIED_BEHIND = "verified_behind_another"
    "Another installation of the module runs."
    LACKING = "lacking"
    "Something that it needs is not here, and may come."
    COMPLETE = "complete"
    COMPLETE_BEHIND = "complete_behind_another"
    PLACE_FREE = "place_free"
    INSTALLED = "installed"
    FAILURE = "failure"
    END = "end"
    "Its time is over, or a REMOVE, or another SETUP takes its place, or its publisher is not known any more."
    REMOVED = "removed"
    REMOVED_BROKEN = "removed_broken"
    "What failed while it was active has been taken away."


class Action(Enum):
    """What is done on a step."""

    NONE = "none"
    CHECK = "check_routability"
    FETCH = "fetch"
    VERIFY = "verify"
    GATHER = "gather"
    GIVE_UP = "give_up"
    "The search that goes on, and tell."
    REPLACE = "end_the_other"
    INSTALL = "install"
    TELL_ACTIVE = "tell_active"
    PROLONG = "prolong"
    "As the SETUP said that had to be shown to be rightful."
    ABANDON = "abandon"
    "The work that goes on for it."
    UNINSTALL = "uninstall"
    TELL_FAILED = "tell_failed"
    TELL_REMOVED = "tell_removed"


TRANSITIONS: Final[Mapping[tuple[State, Input], tuple[State, Action]]] = {
    (State.NEW, Input.GRANTED): (State.FETCHING, Action.FETCH),
    (State.NEW, Input.UNPROVEN): (State.CHECKING, Action.CHECK),
    (State.CHECKING, Input.ROUTABLE): (State.FETCHING, Action.FETCH),
    (State.CHECKING, Input.UNROUTABLE): (State.FAILED, Action.TELL_FAILED),
    (State.CHECKING, Input.END): (State.GONE, Action.ABANDON),
    (State.FETCHING, Input.FETCHED): (State.VERIFYING, Action.VERIFY),
    (State.FETCHING, Input.FAILURE): (State.FAILED, Action.TELL_FAILED),
    (State.FETCHING, Input.END): (State.GONE, Action.ABANDON),
    (State.VERIFYING, Input.VERIFIED): (State.INSTALLING, Action.INSTALL),
    (State.VERIFYING, Input.VERIFIED_BEHIND): (State.WAITING, Action.REPLACE),
    (State.VERIFYING, Input.LACKING): (State.GATHERING, Action.GATHER),
    (State.VERIFYING, Input.FAILURE): (State.FAILED, Action.TELL_FAILED),
    (State.VERIFYING, Input.END): (State.GONE, Action.ABANDON),
    (State.GATHERING, Input.LACKING): (State.GATHERING, Action.GATHER),
    (State.GATHERING, Input.COMPLETE): (State.INSTALLING, Action.INSTALL),
    (State.GATHERING, Input.COMPLETE_BEHIND): (State.WAITING, Action.REPLACE),
    (State.GATHERING, Input.FAILURE): (State.FAILED, Action.GIVE_UP),
    (State.GATHERING, Input.END): (State.GONE, Action.ABANDON),
    (State.WAITING, Input.PLACE_FREE): (State.INSTALLING, Action.INSTALL),
    (State.WAITING, Input.END): (State.GONE, Action.ABANDON),
    (State.INSTALLING, Input.INSTALLED): (State.ACTIVE, Action.TELL_ACTIVE),
    (State.INSTALLING, Input.FAILURE): (State.FAILED, Action.TELL_FAILED),
    (State.INSTALLING, Input.END): (State.REMOVING, Action.UNINSTALL),
    (State.ACTIVE, Input.UNPROVEN): (State.ACTIVE, Action.CHECK),
    (State.ACTIVE, Input.ROUTABLE): (State.ACTIVE, Action.PROLONG),
    (State.ACTIVE, Input.UNROUTABLE): (State.ACTIVE, Action.NONE),
    (State.ACTIVE, Input.FAILURE): (State.REMOVING, Action.UNINSTALL),
    (State.ACTIVE, Input.END): (State.REMOVING, Action.UNINSTALL),
    (State.REMOVING, Input.INSTALLED): (State.REMOVING, Action.NONE),
    (State.REMOVING, Input.FAILURE): (State.REMOVING, Action.NONE),
    (State.REMOVING, Input.ROUTABLE): (State.REMOVING, Action.NONE),
    (State.REMOVING, Input.UNROUTABLE): (State.REMOVING, Action.NONE),
    (State.REMOVING, Input.END): (State.REMOVING, Action.NONE),
    (State.REMOVING, Input.REMOVED): (State.GONE, Action.TELL_REMOVED),
    (State.REMOVING, Input.REMOVED_BROKEN): (State.FAILED, Action.TELL_FAILED),
    (State.FAILED, Input.ROUTABLE): (State.FAILED, Action.NONE),
    (State.FAILED, Input.UNROUTABLE): (State.FAILED, Action.NONE),
    (State.FAILED, Input.END): (State.GONE, Action.NONE),
}
"""What is not here cannot happen, or is the result of work that was abandoned, which nobody waits for. A failed
REMOVING does not exist: what was asked for goes on until it is done."""

PREPARING: Final = frozenset({State.CHECKING, State.FETCHING, State.VERIFYING, State.GATHERING, State.WAITING})
"States of an installation that runs nothing yet."
RUNNING: Final = frozenset({State.INSTALLING, State.ACTIVE})
