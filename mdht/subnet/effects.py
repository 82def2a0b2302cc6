"""What the machines of a subnet want done by whoever drives them."""

import msgspec

from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.identity import Subnet
from mdht.subnet.messages import Message, State


class Multicast(msgspec.Struct, frozen=True):
    """Send to all hosts of the link."""

    message: Message


class Unicast(msgspec.Struct, frozen=True):
    """Send to one host."""

    to: Address
    message: Message


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


Event = MemberChanged | Settled | Merged
"What users may want to know."
Effect = Multicast | Unicast | MemberChanged | Reincarnated | Settled | Merged | Send
"A `Send` goes to a host of another subnet, or to the bootstrap server."
