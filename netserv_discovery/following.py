"""A channel that tasks of its own fill for as long as somebody reads it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

T = TypeVar("T")


@asynccontextmanager
async def following(
    items_max: int, *fills: Callable[[trio.MemorySendChannel[T]], Awaitable[None]]
) -> AsyncIterator[trio.MemoryReceiveChannel[T]]:
    """Yield a channel that `fills` write to until the context ends.

    Args:
        items_max: in the channel before they wait.
        fills: go on until cancelled.
    """
    send, receive = trio.open_memory_channel[T](items_max)
    async with trio.open_nursery() as nursery, receive:
        for fill in fills:
            nursery.start_soon(fill, send)
        try:
            yield receive
        finally:
            nursery.cancel_scope.cancel()
