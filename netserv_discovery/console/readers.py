"""Those who follow the console: each has a bounded queue, and one who is too slow is let go."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

QUEUE_MAX: Final = 64
"Events on their way to one reader: a minute of them on a busy link. Whoever is further behind begins anew, at once."
READERS_MAX: Final = 24
"Pages that are open at a time; a browser itself opens at most 6 connections to one server (over HTTP/1.1)."


class Readers:
    """All of them."""

    def __init__(self) -> None:
        self._open: dict[trio.MemorySendChannel[bytes], trio.CancelScope] = {}
        self.dropped = 0
        "Readers that were too slow."

    @property
    def full(self) -> bool:
        """Whether there is no room for another one."""
        return len(self._open) >= READERS_MAX

    def tell(self, event: bytes) -> None:
        """Put an event into each queue; who has no room in it reads no more."""
        for send, scope in self._open.items():
            try:
                send.send_nowait(event)
            except trio.WouldBlock:
                self.dropped += not scope.cancel_called
                scope.cancel()

    @contextmanager
    def joined(self) -> Iterator[trio.MemoryReceiveChannel[bytes]]:
        """Get events from now on while the context lasts; it ends early for a reader who is too slow."""
        send, receive = trio.open_memory_channel[bytes](QUEUE_MAX)
        with send, receive, trio.CancelScope() as scope:
            self._open[send] = scope
            try:
                yield receive
            finally:
                del self._open[send]
