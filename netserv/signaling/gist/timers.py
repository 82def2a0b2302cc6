"""Deadlines of many thousand rows, in lists of those that ring together (RFC 5971 section 6, all its timers)."""

import heapq
import math
from typing import Final

RINGS_PER_S: Final = 512
"""Deadlines are put off to the next ring, by 2 ms at most, where the shortest is half a second: many sessions wake
their node once, and each has a place of 9 bytes in a list instead of 100 in a heap."""
SPARE_ENTRIES: Final = 1_000
"Dead entries that are left in the lists before they are swept."


class Ring:
    """Those to be woken at the same time.

    Attributes:
        at: when, s.
        owners: the dead ones too, whose entry is another one now.
    """

    __slots__ = ("at", "owners")

    def __init__(self, at: float) -> None:
        self.at = at
        self.owners: list[Timed] = []


class Timed:
    """Something that wants to be woken; it has one deadline, the earliest of those it keeps itself.

    Attributes:
        wake_at: when it wants to be woken, s; infinite for never.
        entry: where its living entry is; None for none.
    """

    __slots__ = ("entry", "wake_at")

    def __init__(self) -> None:
        self.wake_at = math.inf
        self.entry: Ring | None = None


class Timers:
    """All rings to come, with lazy deletion.

    A deadline that moves away costs nothing: its entry comes up early once and is entered again. One that comes
    nearer gets a second entry, and the first is dead. Dead entries are swept when they outnumber the living.
    """

    __slots__ = ("_entries", "_living", "_numbers", "_rings")

    def __init__(self) -> None:
        self._rings: dict[int, Ring] = {}
        self._numbers: list[int] = []
        "Of all rings, as a heap."
        self._entries = 0
        self._living = 0

    def set(self, owner: Timed, at: float) -> None:
        """Wake `owner` at the next ring from that time on."""
        owner.wake_at = at
        entry = owner.entry
        if at == math.inf or (entry is not None and at > entry.at - 1.0 / RINGS_PER_S):
            return
        if entry is None:
            self._living += 1
        self._enter(owner, at)
        if self._entries > 2 * self._living + SPARE_ENTRIES:
            self._sweep()

    def cancel(self, owner: Timed) -> None:
        """Never wake `owner`."""
        owner.wake_at = math.inf
        if owner.entry is not None:
            owner.entry = None
            self._living -= 1

    def due(self, now: float) -> Timed | None:
        """Take out one whose time has come; None when there is none left."""
        numbers = self._numbers
        while numbers and numbers[0] <= now * RINGS_PER_S:
            ring = self._rings[numbers[0]]
            while ring.owners:
                owner = ring.owners.pop()
                self._entries -= 1
                if owner.entry is not ring:
                    continue
                if owner.wake_at <= now:
                    self.cancel(owner)
                    return owner
                if owner.wake_at == math.inf:
                    self.cancel(owner)
                else:
                    self._enter(owner, owner.wake_at)
            del self._rings[heapq.heappop(numbers)]
        return None

    def next_deadline(self) -> float:
        """When to look again, infinite for never; it can be early, since deadlines may have moved away."""
        return self._numbers[0] / RINGS_PER_S if self._numbers else math.inf

    def _enter(self, owner: Timed, at: float) -> None:
        number = math.ceil(at * RINGS_PER_S)
        ring = self._rings.get(number)
        if ring is None:
            ring = self._rings[number] = Ring(number / RINGS_PER_S)
            heapq.heappush(self._numbers, number)
        ring.owners.append(owner)
        owner.entry = ring
        self._entries += 1

    def _sweep(self) -> None:
        for number, ring in list(self._rings.items()):
            ring.owners = [owner for owner in ring.owners if owner.entry is ring]
            if not ring.owners:
                del self._rings[number]
        self._numbers = sorted(self._rings)
        self._entries = self._living

    def __len__(self) -> int:
        return self._entries
