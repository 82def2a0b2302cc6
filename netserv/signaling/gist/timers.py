"""Deadlines of many thousand rows in one heap (RFC 5971 section 6, all its timers)."""

import heapq
import math
from typing import Final

SPARE_ENTRIES: Final = 1_000
"Dead entries that are left in the heap before it is swept."


class Timed:
    """Something that wants to be woken; it has one deadline, the earliest of those it keeps itself.

    Attributes:
        wake_at: when it wants to be woken, s; infinite for never.
        entered_at: time of its living entry in the heap; infinite for none.
    """

    __slots__ = ("entered_at", "wake_at")

    def __init__(self) -> None:
        self.wake_at = math.inf
        self.entered_at = math.inf


class Timers:
    """A heap with lazy deletion.

    A deadline that moves away costs nothing: its entry comes up early once and is entered again. One that comes
    nearer gets a second entry, and the first is dead. Dead entries are swept when they outnumber the living.
    """

    __slots__ = ("_count", "_heap", "_living")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._count = 0
        self._living = 0

    def set(self, owner: Timed, at: float) -> None:
        """Wake `owner` at that time, and not before."""
        owner.wake_at = at
        if at < owner.entered_at:
            if owner.entered_at == math.inf:
                self._living += 1
            owner.entered_at = at
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, owner))
            if len(self._heap) > 2 * self._living + SPARE_ENTRIES:
                self._sweep()

    def cancel(self, owner: Timed) -> None:
        """Never wake `owner`."""
        owner.wake_at = math.inf
        if owner.entered_at != math.inf:
            owner.entered_at = math.inf
            self._living -= 1

    def due(self, now: float) -> Timed | None:
        """Take out one whose time has come; None when there is none left."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, owner = heapq.heappop(heap)
            if owner.entered_at != at:
                continue
            owner.entered_at = math.inf
            self._living -= 1
            if owner.wake_at <= now:
                owner.wake_at = math.inf
                return owner
            if owner.wake_at != math.inf:
                self.set(owner, owner.wake_at)
        return None

    def next_deadline(self) -> float:
        """When to look again, infinite for never; it can be early, since deadlines may have moved away."""
        return self._heap[0][0] if self._heap else math.inf

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].entered_at == entry[0]]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
