"""Work of several publishers that is done some at a time, so that one publisher leaves others their turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """Who may work now.

    Args:
        all_max: at a time.
        of_publisher_max: of these, one publisher's.
    """

    def __init__(self, all_max: int, of_publisher_max: int) -> None:
        self._all = trio.CapacityLimiter(all_max)
        self._of_publisher_max = of_publisher_max
        self._publishers: dict[str, tuple[trio.CapacityLimiter, list[None]]] = {}

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Wait until it is a publisher's turn; it is while the context lasts."""
        own, waiting = self._publishers.setdefault(user, (trio.CapacityLimiter(self._of_publisher_max), []))
        waiting.append(None)
        try:
            async with own, self._all:
                yield
        finally:
            waiting.pop()
            if not waiting:
                del self._publishers[user]
