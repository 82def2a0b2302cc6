"""One key on its way to one host, and the order in which such transfers begin."""

import heapq
import itertools
import math
from enum import IntEnum

from dhtboot.limits import TokenBuckets
from mdht.records import Slot
from mdht.subnet.messages import AckStatus


class Urgency(IntEnum):
    """What goes first to one host; repairs have a budget of bytes."""

    PUT = 0
    "Somebody waits for it."
    HAND_OVER = 1
    REPAIR = 2
    STRAY = 3
    "It is where it need not be."


class Transfer:
    """All that another host may lack of a key, or some of it.

    Attributes:
        unsent: slots that are to be sent.
        open: datagrams that are not acknowledged.
        acked: sequence numbers that the other host is known to hold, or to have in a newer version.
        whole: whether all of the key goes.
        failure: why it cannot go on now.
        said: why the other host has refused something, last.
        refused: whether there was a record that the other host will never take.
        agains: how often it has begun again.
        again_at: when it begins again; None unless it waits for that.
        bulk: number of the bulk transfer under way.
    """

    __slots__ = (
        "acked",
        "again_at",
        "agains",
        "bulk",
        "failure",
        "hid",
        "key",
        "open",
        "refused",
        "said",
        "unsent",
        "urgency",
        "whole",
    )

    def __init__(self, key: bytes, hid: bytes, urgency: Urgency) -> None:
        self.key = key
        self.hid = hid
        self.urgency = urgency
        self.whole = False
        self.unsent: list[Slot] = []
        self.open = 0
        self.acked: dict[Slot, int] = {}
        self.failure: AckStatus | None = None
        self.said: AckStatus | None = None
        self.refused = False
        self.agains = 0
        self.again_at: float | None = None
        self.bulk: bytes | None = None

    def want(self, slots: dict[Slot, int]) -> None:
        """These are to be sent, as far as they are not acknowledged nor waiting."""
        waiting = set(self.unsent)
        self.unsent += [slot for slot, seq in slots.items() if slot not in waiting and self.acked.get(slot, -1) < seq]

    def lacks(self, slots: dict[Slot, int]) -> bool:
        """Whether the other host is not known to hold all of this."""
        return any(self.acked.get(slot, -1) < seq for slot, seq in slots.items())


class Lane:
    """Transfers to one host that wait for their turn: those of few live copies first."""

    __slots__ = ("_order", "_waiting", "open", "resume_at")

    def __init__(self) -> None:
        self.open = 0
        "Datagrams that the host has not answered."
        self.resume_at = -math.inf
        "When the budget allows the next one."
        self._waiting: list[tuple[int, int, int, Transfer]] = []
        self._order = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def push(self, transfer: Transfer, live: int) -> None:
        """One more, of a key of which so many hosts have a copy."""
        heapq.heappush(self._waiting, (transfer.urgency, live, next(self._order), transfer))

    def first(self) -> Transfer:
        """Whose turn it is."""
        return self._waiting[0][3]

    def pop(self) -> None:
        """It has nothing more to send."""
        heapq.heappop(self._waiting)


class Budget:
    """Bytes that repairs may send: so many a second, and so many at once after a rest."""

    __slots__ = ("_bucket", "_burst")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._burst = burst
        self._bucket = TokenBuckets(rate_per_s=rate_per_s, burst=burst, members_max=1)

    def wait_s(self, size: int, now: float) -> float:
        """Spend the bytes; 0 if that could be done, else the seconds until it can."""
        # What is larger than all that can be saved up goes when that is.
        wait_s = self._bucket.take("repairs", now, min(float(size), self._burst))
        return wait_s and wait_s + 1e-6
