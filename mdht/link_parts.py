"""What the driver of a link stands between: a core, the sockets of the link, and what lies beyond it."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.ids import Address
from mdht.subnet.effects import Effect
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.messages import Message
from mdht.subnet.wire import Header


class Core(Protocol):
    """What the driver needs of a protocol core; `Membership` is one."""

    incarnation: int

    @property
    def hid(self) -> bytes:
        """Own name."""

    @property
    def tag(self) -> bytes:
        """Of the subnet that this host is in, as every datagram says."""

    @property
    def counters(self) -> Counter[str]:
        """Of what was refused."""

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        """Act on one message; `multicast` says that it is meant for all, by whichever way it has come."""

    def heard_by_group(self, hid: bytes, now: float) -> None:
        """A datagram of another host has come by multicast, though perhaps not for the first time."""

    def copies(self, now: float) -> Sequence[Address]:
        """Where copies of what is sent to all go by unicast."""

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""


AwayPacket = OverlayDatagram | BootstrapPacket
"What goes to a host of another subnet, or to the bootstrap server, and comes from there."


class AwayCodec(Protocol):
    """Turns such packets into bytes; it raises an error of the package for whatever is wrong with bytes."""

    def encode(self, packet: AwayPacket) -> bytes:
        """The datagram of a packet."""

    def decode(self, data: bytes) -> AwayPacket:
        """The packet in a datagram."""


class AwayCore(Protocol):
    """What the driver needs of a core that other subnets know of; `SubnetHost` is one."""

    def receive_overlay(self, packet: AwayPacket, source: Address, now: float) -> list[Effect]:
        """Act on one packet from afar."""


class Away(msgspec.Struct, frozen=True):
    """What lies beyond the link."""

    core: AwayCore
    codec: AwayCodec


class Datagram(Protocol):
    """What a port gives."""

    @property
    def data(self) -> bytes:
        """Its bytes."""

    @property
    def source(self) -> Address:
        """Where it comes from."""

    @property
    def multicast(self) -> bool:
        """Whether it came by the group."""

    @property
    def on_link(self) -> bool:
        """Whether it comes from an address of the link."""


class Port(Protocol):
    """What is read by one task."""

    async def receive(self) -> Sequence[Datagram]:
        """Wait for datagrams, at least one; `trio.ClosedResourceError` when there will be none any more."""


class Link(Protocol):
    """What the driver needs of the sockets; `mdht.link_io.UdpLink` is one, tests have another in memory."""

    counters: Counter[str]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this host now."""

    @property
    def ports(self) -> Sequence[Port]:
        """All that is to be read now."""

    def reaches(self, address: Address) -> bool:
        """Whether an address is one of the link."""

    def refresh(self, now: float) -> Sequence[Port]:
        """Look at the interfaces; what is to be read beside what was."""

    def multicast(self, data: bytes) -> None:
        """Send to all hosts."""

    def unicast(self, data: bytes, to: Address) -> None:
        """Send to one."""

    def send_away(self, data: bytes, to: Address, *, apart: bool = False) -> None:
        """Send to a host wherever it is, perhaps from a port that is used for nothing else."""
