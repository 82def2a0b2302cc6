"""What has come of a host's coming into the overlay."""

from typing import TypeAlias

import msgspec

from mdht.subnet.effects import Effect


class Reached(msgspec.Struct, frozen=True):
    """A contact of the overlay was found, in the ring of that number."""

    ring_id: bytes
    alone: bool
    "Whether the contact is the only node there."


class Unreached(msgspec.Struct, frozen=True):
    """None was found, or the join has failed."""


class Entered(msgspec.Struct, frozen=True):
    """This host can answer for the node."""


class Inherits(msgspec.Struct, frozen=True):
    """The node is a ring of one, and whoever looked for the overlay is gone."""

    ring_id: bytes


Outcome: TypeAlias = Reached | Unreached | Entered | Inherits
PartEffect: TypeAlias = Effect | Outcome
