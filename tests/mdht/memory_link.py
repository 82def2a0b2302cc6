"""A link in memory, driven by trio: each host has a group port and a unicast port, nothing is lost but on purpose."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import trio

from dhtboot.ids import Address


class MemoryDatagram(msgspec.Struct, frozen=True):
    data: bytes
    source: Address
    multicast: bool
    on_link: bool = True


class MemoryPort:
    """What one task reads."""

    def __init__(self) -> None:
        self.into, self._out = trio.open_memory_channel[MemoryDatagram](math.inf)

    async def receive(self) -> Sequence[MemoryDatagram]:
        try:
            batch = [await self._out.receive()]
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None
        while True:
            try:
                batch.append(self._out.receive_nowait())
            except trio.WouldBlock:
                return batch


class Wire:
    """What all hosts hang on."""

    def __init__(self) -> None:
        self.links: list[MemoryLink] = []
        self.sent: list[tuple[bytes, Address | None]] = []

    def link(self, *, copies: int = 1) -> "MemoryLink":
        """A new host; `copies` of each multicast come to it, as by several families."""
        self.links.append(MemoryLink(self, (f"192.0.2.{len(self.links) + 1}", 4000), copies))
        return self.links[-1]


class MemoryLink:
    """The sockets of one host."""

    def __init__(self, wire: Wire, address: Address, copies: int) -> None:
        self.counters: Counter[str] = Counter()
        self.addresses: tuple[Address, ...] = (address,)
        self.looks: list[float] = []
        self.fresh: list[MemoryPort] = []
        self.up = True
        self._wire = wire
        self._copies = copies
        self._group, self._own = MemoryPort(), MemoryPort()

    @property
    def ports(self) -> list[MemoryPort]:
        return [self._own, self._group]

    def reaches(self, address: Address) -> bool:
        return address[0].startswith("192.0.2.")

    def refresh(self, now: float) -> list[MemoryPort]:
        self.looks.append(now)
        fresh, self.fresh = self.fresh, []
        return fresh

    def replug(self) -> None:
        """The interface goes and comes: its socket is another one."""
        self._group.into.close()
        self._group = MemoryPort()
        self.fresh.append(self._group)

    def multicast(self, data: bytes) -> None:
        self._wire.sent.append((data, None))
        for link in self._wire.links:
            if link.up:
                for _ in range(link._copies):
                    link._group.into.send_nowait(MemoryDatagram(data, self.addresses[0], multicast=True))

    def unicast(self, data: bytes, to: Address) -> None:
        self._wire.sent.append((data, to))
        self._deliver(data, to, on_link=True)

    def send_away(self, data: bytes, to: Address, *, apart: bool = False) -> None:
        self._wire.sent.append((data, to))
        self._deliver(data, to, on_link=self.reaches(to))

    def _deliver(self, data: bytes, to: Address, *, on_link: bool) -> None:
        for link in self._wire.links:
            if link.up and to in link.addresses:
                link._own.into.send_nowait(MemoryDatagram(data, self.addresses[0], multicast=False, on_link=on_link))
