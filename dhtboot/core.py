"""What a protocol core is to whoever drives it."""

from typing import Any

from dhtboot.effects import Effect
from dhtboot.ids import Address


class Core:
    """A protocol without I/O: packets and the time go in, effects come out.

    A base class rather than a protocol of types: compiled code finds the methods of a class without looking for names.
    """

    __slots__ = ()

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on a packet."""
        raise NotImplementedError

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        raise NotImplementedError

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never. May be too early, never too late."""
        raise NotImplementedError
