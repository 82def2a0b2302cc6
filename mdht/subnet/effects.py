"""What the machines of a subnet want done by whoever drives them."""

from enum import Enum

import msgspec

from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.identity import Subnet
from mdht.subnet.messages import Message, State


class Multicast(msgspec.Struct, frozen=True):
    """Send to all hosts of the link; those that multicast does not reach get a copy each by unicast."""

    message: Message


class Unicast(msgspec.Struct, frozen=True):
    """Send to one host."""

    to: Address
    message: Message
    to_all: bool = False
    "Whether it is meant for all, as a hello to a host that may not have heard it by multicast."


class LinkMode(Enum):
    """How what is for all gets to the other members."""

    MULTICAST = "multicast"
    PARTLY = "partly emulated"
    "To or from some of them by unicast copies."
    EMULATED = "emulated"
    "To or from each of them by unicast copies."


class LinkModeChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Multicast passes to or from other members than before; it is counted from this host."""

    mode: LinkMode
    members: int
    "Live ones, beside this host."
    emulated: int
    "Of them those to or from which multicast does not pass."
    unheard: int
    "Those that this host does not hear by multicast."
    deaf: int
    "Those that say that they do not hear this host by multicast."
    left_out: int
    "Those that get no copies though they need them, as there are too many."


class MemberChanged(msgspec.Struct, frozen=True):
    """A member has come, gone, or become something else."""

    hid: bytes
    state: State


class Reincarnated(msgspec.Struct, frozen=True):
    """This host refutes that it is dead; the number must be kept on disk before it is used."""

    incarnation: int


class Settled(msgspec.Struct, frozen=True):
    """This host is in another subnet from now on, or in none."""

    subnet: Subnet | None


class Merged(msgspec.Struct, frozen=True):
    """Two subnets of this link are one from now on: this host has gone over, or others have come to it."""

    gone: bytes
    "Tag of the one that has given way."
    into: Subnet


Event = LinkModeChanged | MemberChanged | Settled | Merged
"What users may want to know."
Effect = Multicast | Unicast | LinkModeChanged | MemberChanged | Reincarnated | Settled | Merged | Send
"A `Send` goes to a host of another subnet, or to the bootstrap server."
