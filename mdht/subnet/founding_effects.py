"""What a host that comes to its subnet wants done; see `mdht.subnet.founding`."""

from typing import TypeAlias

import msgspec

from mdht.subnet.effects import Merged
from mdht.subnet.identity import Subnet


class Adopt(msgspec.Struct, frozen=True):
    """Be in this subnet from now on, take over state and records from its members, then be ready.

    Whatever node this host was before, by another founding, it leaves.
    """

    subnet: Subnet
    founded_at: float


class Found(msgspec.Struct, frozen=True):
    """Be in this subnet from now on, as its founder; a contact of the overlay is looked for."""

    subnet: Subnet
    founded_at: float


class Withdraw(msgspec.Struct, frozen=True):
    """Be in no subnet again: another host founds. A search for the overlay, or a join, is broken off."""


class LookForOverlay(msgspec.Struct, frozen=True):
    """Ask the bootstrap server for a contact, then call `reached` or `unreached`."""


class JoinRing(msgspec.Struct, frozen=True):
    """Join the overlay by the contact that was found, then be ready; if that fails, call `unreached`."""

    ring_id: bytes


class BeRing(msgspec.Struct, frozen=True):
    """The node is the first of a ring of its own; be ready."""

    ring_id: bytes


class SayHello(msgspec.Struct, frozen=True):
    """Somebody there has not told his identity: `Membership.hello`."""


FoundingEffect: TypeAlias = Adopt | Found | Withdraw | LookForOverlay | JoinRing | BeRing | SayHello | Merged
