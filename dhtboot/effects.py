"""What a protocol core wants done by whoever drives it."""

from typing import Any

import msgspec

from dhtboot.ids import Address


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send one packet, once, without guarantee."""

    to: Address
    packet: Any
    "A packet of the core's own wire union."


class Joined(msgspec.Struct, frozen=True):
    """The node has become part of the overlay."""

    contacts: int
    "Contacts known at that moment."


class JoinFailed(msgspec.Struct, frozen=True):
    """None of the contacts answered; the core tries again by itself."""

    retry_in_s: float


Effect = Send | Joined | JoinFailed
