"""What exporter and importer need of the outside, so that memory twins can stand in for a link."""

from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias

import trio

from z2z.mdns.messages import Registration, ResponderEvent, ServiceEvent
from z2z.reports import Report
from z2z.service_item import ServiceItem

Say: TypeAlias = Callable[[Report], None]
"Tells the user."

PATIENCE_S: Final = 20.0
"Seconds for one put or remove before it counts as failed."
TICK_MIN_S: Final = 0.05
"What happens within this time is served together: a burst of services must not cost a look at all for each."


class Link(Protocol):
    """Multicast DNS on one interface; `mdns.link_io.MdnsLink` is the real one."""

    @property
    def events(self) -> trio.MemoryReceiveChannel[ResponderEvent]:
        """Events of the registrations."""
        ...

    def register(self, registration: Registration) -> None:
        """Publish a service."""
        ...

    def update(self, registration_id: Hashable, item: ServiceItem) -> None:
        """Publish other data under the same name."""
        ...

    def withdraw(self, registration_id: Hashable) -> None:
        """Take a service back."""
        ...

    async def say_goodbye(self) -> None:
        """Take all services back."""
        ...

    def browse(self, service_type: str) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[ServiceEvent]]:
        """Yield what happens to instances of a type."""
        ...

    async def confirm(self, service_type: str, instance: bytes) -> bool:
        """Say whether an instance is alive."""
        ...


class Alarm:
    """Wakes a task at the deadline of a core, or as soon as the core was given something."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Let the sleeper look at its deadline again."""
        self._rung.set()

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until `deadline` or `ring`."""
        with trio.move_on_at(deadline):
            await self._rung.wait()
        self._rung = trio.Event()
        await trio.lowlevel.checkpoint()
