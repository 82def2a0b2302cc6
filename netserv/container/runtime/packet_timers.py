"""Timers of modules: on the packet thread between batches, or as tasks of the server thread."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import trio

from netserv.modules.blocks.timers import OneTimer, Timers


class Ticker:
    """One timer of a module.

    Args:
        function: what it calls, plain or `async`.
        strike: is told what that raises.
        gone: is called with the ticker when it does not call any more.
    """

    __slots__ = ("_function", "_gone", "_strike", "cancelled", "timer")

    def __init__(
        self, function: Callable[[], Any], strike: Callable[[BaseException], None], gone: Callable[["Ticker"], None]
    ) -> None:
        self._function, self._strike, self._gone = function, strike, gone
        self.cancelled = False
        self.timer: OneTimer | None = None

    def cancel(self) -> None:
        """Do not call any more; more than once does no harm."""
        self.cancelled = True
        if self.timer is not None:
            self.timer.cancel()
        self._gone(self)

    def call(self, *, again: bool) -> None:
        """Call it, on the packet thread."""
        if self.cancelled:
            return
        if not again:
            self.cancel()
        try:
            self._function()
        except BaseException as error:
            self._strike(error)

    async def run(self, seconds: float, again: bool) -> None:
        """Call it again and again, on the server thread."""
        begun = trio.current_time()
        while not self.cancelled:
            begun = max(begun + seconds, trio.current_time())
            await trio.sleep_until(begun)
            if self.cancelled:
                return
            if not again:
                self.cancel()
            try:
                result = self._function()
                if inspect.isawaitable(result):
                    await result
            except (trio.Cancelled, GeneratorExit):
                raise
            except BaseException as error:
                self._strike(error)


class PacketTimers:
    """Timers of the packet thread.

    Args:
        clock: seconds.
        call_soon: has a function called on the packet thread, which may be in the midst of packets.
    """

    def __init__(self, clock: Callable[[], float], call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._timers = Timers()
        self._clock, self._call_soon = clock, call_soon
        self.next_deadline = self._timers.next_deadline

    def add(self, ticker: Ticker, seconds: float, *, again: bool) -> None:
        """Begin a timer; from any thread."""
        self._call_soon(lambda: self._add(ticker, seconds, again=again))

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function of the runtime itself; on the packet thread."""
        self._timers.every(self._clock(), seconds, function)

    def due(self) -> Iterator[Callable[[], Any]]:
        """What is to be called now."""
        return self._timers.due(self._clock())

    def _add(self, ticker: Ticker, seconds: float, *, again: bool) -> None:
        if not ticker.cancelled:
            begin = self._timers.every if again else self._timers.after
            ticker.timer = begin(self._clock(), seconds, lambda: ticker.call(again=again))
