"""Where a host stands with the overlay: its states, and the steps between them."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Stage(Enum):
    """Where this host stands with the overlay."""

    OUT = "out"
    JOINING = "joining"
    "Its core joins, for the node."
    FOLLOWING = "following"
    "It takes over what a sibling knows."
    IN = "in"


class Input(Enum):
    """What can happen."""

    BEGIN = "begin"
    "The node is a ring of its own."
    JOIN = "join"
    JOINED = "joined"
    FAILED = "failed"
    "The last way into the overlay has failed."
    TAKE_OVER = "take over"
    TOLD = "told"
    "A sibling has told all that is needed."


TRANSITIONS: Final[Mapping[tuple[Stage, Input], Stage]] = {
    (Stage.OUT, Input.BEGIN): Stage.IN,
    (Stage.OUT, Input.JOIN): Stage.JOINING,
    (Stage.OUT, Input.TAKE_OVER): Stage.FOLLOWING,
    (Stage.JOINING, Input.JOINED): Stage.IN,
    (Stage.JOINING, Input.FAILED): Stage.OUT,
    (Stage.JOINING, Input.TOLD): Stage.IN,
    (Stage.FOLLOWING, Input.TOLD): Stage.IN,
    # All who could tell are gone.
    (Stage.FOLLOWING, Input.BEGIN): Stage.IN,
    # A ring of one that has found the overlay, and one that could not join it after all.
    (Stage.IN, Input.JOIN): Stage.JOINING,
    (Stage.IN, Input.BEGIN): Stage.IN,
}
"A pair that is not listed changes nothing."
