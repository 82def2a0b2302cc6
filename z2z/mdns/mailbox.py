"""Mailboxes between the cores and slow readers: bounded, and yet no reader misses the state of a thing."""

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

import trio

from z2z.mdns.messages import ServiceChanged, ServiceEvent, ServiceFound, ServiceLost

Event = TypeVar("Event")

BUFFER: Final = 16
"Events in the channel; more wait in the mailbox, at most one for each thing that they tell about."


class Mailbox(Generic[Event]):
    """Keeps at most one waiting event per key, the merge of all that happened to it since the reader last looked.

    Args:
        merge: takes the waiting event and the new one; returns what to tell instead, or None for nothing.
    """

    def __init__(self, merge: Callable[[Event, Event], Event | None]) -> None:
        self._merge = merge
        self._waiting: dict[Hashable, Event] = {}
        self._arrived = trio.Event()
        self._send, self.channel = trio.open_memory_channel[Event](BUFFER)

    def put(self, key: Hashable, event: Event) -> None:
        """Tell the reader about `key`."""
        if key in self._waiting:
            merged = self._merge(self._waiting.pop(key), event)
            if merged is None:
                return
            event = merged
        self._waiting[key] = event
        self._arrived.set()

    async def run(self) -> None:
        """Move events into the channel until cancelled or until the reader closes it."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                while self._waiting:
                    await self._send.send(self._waiting.pop(next(iter(self._waiting))))
        except trio.BrokenResourceError:
            return
        finally:
            self._send.close()


@asynccontextmanager
async def running(mailbox: Mailbox[Event]) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
    """Run a mailbox while the context lasts; yields its channel."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.run)
        yield mailbox.channel
        nursery.cancel_scope.cancel()


def latest(_waiting: Event, new: Event) -> Event:
    """Merge by forgetting the older event."""
    return new


def merge_service_events(waiting: ServiceEvent, new: ServiceEvent) -> ServiceEvent | None:
    """Merge two events about one instance, so that the reader ends up with the same picture."""
    match waiting, new:
        case ServiceFound(), ServiceChanged(item=item):
            return ServiceFound(item)
        case ServiceFound(), ServiceLost():
            return None
        case ServiceLost(), ServiceFound(item=item):
            return ServiceChanged(item)
    return new
