"""Twins of link and store that change nothing outside: `--dry-run` and looking once run the real cores over them."""

from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import trio

from z2z.mdns.messages import Registered, Registration, ResponderEvent, ServiceEvent
from z2z.service_item import ServiceItem
from z2z.sides import Link
from z2z.stores.base import Change, Receipt, Store, StoredValue

EVENTS_MAX: Final = 2_000
"More than the registrations that one importer makes."


class SilentLink:
    """A link that is only listened to: every name counts as free, nothing is announced."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._send, self._receive = trio.open_memory_channel[ResponderEvent](EVENTS_MAX)

    @property
    def events(self) -> trio.MemoryReceiveChannel[ResponderEvent]:
        """Events of the registrations."""
        return self._receive

    def register(self, registration: Registration) -> None:
        """Say that the name was free."""
        self._send.send_nowait(Registered(id=registration.id, instance=registration.item.instance))

    def update(self, registration_id: Hashable, item: ServiceItem) -> None:
        """Do nothing: nothing was announced."""

    def withdraw(self, registration_id: Hashable) -> None:
        """Do nothing: nothing was announced."""

    async def say_goodbye(self) -> None:
        """Do nothing: nothing was announced."""
        await trio.lowlevel.checkpoint()

    def browse(self, service_type: str) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[ServiceEvent]]:
        """Browse the real link."""
        return self._link.browse(service_type)

    async def confirm(self, service_type: str, instance: bytes) -> bool:
        """Ask the real link."""
        return await self._link.confirm(service_type, instance)


class ReadOnlyStore:
    """A store that is only read: puts count as done."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.pushes = store.pushes

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:  # noqa: ARG002 - protocol
        """Write nothing."""
        await trio.lowlevel.checkpoint()
        return Receipt(stored=0)

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values under a key."""
        return await self._store.get(key)

    async def remove(self, key: bytes, name: bytes) -> Receipt:  # noqa: ARG002 - protocol
        """Remove nothing."""
        await trio.lowlevel.checkpoint()
        return Receipt(stored=0)

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Subscribe to a key."""
        async with self._store.listen(key) as changes:
            yield changes
