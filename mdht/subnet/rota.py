"""Who of the members does the node's work in the overlay, and when (mDHT design, section 4).

Turns are numbered. Who has done one says so to all, with its number, and that starts the time until the next one: the
hosts share no clock, but they share that. So the node does one round of maintenance in a period, however many hosts it
has, and a member that dies in its turn delays it by half a period.
"""

import math
from collections.abc import Sequence
from typing import Final

from mdht.subnet.epochs import believable, checked, next_epoch

PATIENCE: Final = 0.5
"Periods that the next member waits for one whose turn it is: it takes over 1.5 periods after the last turn."


def place_in_rota(me: bytes, members: Sequence[bytes], turn: int) -> int:
    """How many members come before this one in a turn of the rota; 0 for the one whose turn it is.

    Args:
        me: own name.
        members: names of the ready ones, in the order that all share.
        turn: number that all share, as the view's epoch.

    Who is not among them comes last: it need not do what others can.
    """
    if me not in members:
        return len(members)
    return (members.index(me) - turn) % len(members)


class Rota:
    """One member's part. Times are of the caller's clock, in seconds.

    Args:
        period_s: between two turns of the node.
        shared: whether members take turns; otherwise each does the work in every period, as the thesis reads.
        turn: number of the last turn that is known, from disk or from a sibling.

    Attributes:
        turn: number of the last turn that was done, by whichever member.
        done_here: turns that this member has done.
    """

    __slots__ = ("_from", "_period_s", "_shared", "_taken", "done_here", "turn")

    def __init__(self, period_s: float, *, shared: bool = True, turn: int = 0) -> None:
        if period_s <= 0:
            raise ValueError("period_s must be above 0")
        self.turn = checked(turn)
        self.done_here = 0
        self._period_s = period_s
        self._shared = shared
        self._from = math.inf
        self._taken = 0

    def start(self, now: float) -> None:
        """Take part from now on."""
        self._from = now

    def stop(self) -> None:
        """Take part no more."""
        self._from = math.inf

    def due_at(self, me: bytes, members: Sequence[bytes]) -> float:
        """When it is this member's turn, unless another one has it before; `math.inf` for never.

        Args:
            me: own name; who is not ready has nothing to do.
            members: names of the ready ones, in the order that all share.
        """
        if me not in members:
            return math.inf
        place = place_in_rota(me, members, next_epoch(self.turn)) if self._shared else 0
        return self._from + self._period_s * (1.0 + PATIENCE * place)

    def take(self, me: bytes, members: Sequence[bytes], now: float) -> bool:
        """Whether this member does a round now; if so `done` is to be called at its end.

        A round that never ends is another member's after half a period, and this one's again when its turn comes.
        """
        if now < self.due_at(me, members):
            return False
        self._from = now
        self._taken = next_epoch(self.turn)
        return True

    def done(self, now: float) -> int | None:
        """The round has come to its end: its number, to tell all with the node's state; None where there are no turns.

        Where another member has done the same turn meanwhile it is that one's number, which is no news to anybody.
        """
        self.done_here += 1
        if not self._shared:
            return None
        if self._taken > self.turn:
            self.turn = self._taken
            self._from = now
        return self.turn

    def seen(self, turn: int, now: float) -> bool:
        """Another member has ended a turn; whether that is news. One beyond belief, and one that is over, is not."""
        if turn <= self.turn or not believable(self.turn, turn):
            return False
        self.turn = turn
        if not math.isinf(self._from):
            self._from = now
        return True
