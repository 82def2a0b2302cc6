"""Timers without a clock of their own: whoever has one asks what is due, and when to ask again.

`context.every` and `context.after` are these on the packet thread. A module that keeps many deadlines, one for each of
its users, may have a `Timers` of its own and ask it from one `context.every`.
"""

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from netserv.errors import LocalProtocolError

TIMERS_MAX: Final = 100_000
"At a time: 20 MB of a container's memory."
INTERVAL_MIN_S: Final = 0.01
"A timer that is due always would keep packets waiting."


class OneTimer:
    """A call to come; `cancel` forgets it."""

    __slots__ = ("function", "interval_s")

    def __init__(self, function: Callable[[], Any], interval_s: float | None) -> None:
        self.function: Callable[[], Any] | None = function
        self.interval_s = interval_s

    def cancel(self) -> None:
        """Do not call any more; more than once does no harm."""
        self.function = None

    @property
    def cancelled(self) -> bool:
        """Whether nothing comes of it any more."""
        return self.function is None


class Timers:
    """Calls to come, the next one first; of equal times that which was asked for first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, OneTimer]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def after(self, now: float, seconds: float, function: Callable[[], Any]) -> OneTimer:
        """Call once, `seconds` after `now`.

        Raises:
            LocalProtocolError: too many timers, or no time to come.
        """
        return self._add(now, seconds, function, None)

    def every(self, now: float, seconds: float, function: Callable[[], Any]) -> OneTimer:
        """Call again and again, the first time `seconds` after `now`. Times that were missed are not made up for.

        Raises:
            LocalProtocolError: as above.
        """
        return self._add(now, max(seconds, INTERVAL_MIN_S), function, max(seconds, INTERVAL_MIN_S))

    def next_deadline(self) -> float:
        """When to ask `due` again, `math.inf` for never."""
        heap = self._heap
        while heap and heap[0][2].function is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def due(self, now: float) -> Iterator[Callable[[], Any]]:
        """What is to be called by now, each to be called before the next one is asked for."""
        while self.next_deadline() <= now:
            when, _, timer = heapq.heappop(self._heap)
            function = timer.function
            if function is None:
                continue
            if timer.interval_s is None:
                timer.function = None
            else:
                again = when + timer.interval_s
                self._push(again if again > now else now + timer.interval_s, timer)
            yield function

    def _add(self, now: float, seconds: float, function: Callable[[], Any], interval_s: float | None) -> OneTimer:
        if not 0.0 <= seconds < math.inf:
            raise LocalProtocolError(f"a timer in {seconds} s: 0 or more are possible")
        if len(self._heap) >= TIMERS_MAX:
            self._heap = [entry for entry in self._heap if entry[2].function is not None]
            heapq.heapify(self._heap)
            if len(self._heap) >= TIMERS_MAX:
                raise LocalProtocolError(f"more than {TIMERS_MAX} timers at a time; cancel some")
        timer = OneTimer(function, interval_s)
        self._push(now + seconds, timer)
        return timer

    def _push(self, when: float, timer: OneTimer) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, timer))
