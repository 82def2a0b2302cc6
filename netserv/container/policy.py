"""When a module that failed is tried again, and when it is given up (thesis 6.1.4; netserv.md section 5). No I/O."""

import math
from collections import deque
from typing import Final

from netserv.modules.manifest import FailurePolicy

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
STEADY_S: Final = 60.0
"A container that has lived so long begins again with the first back-off."
STRIKES_MAX: Final = 10
STRIKES_WITHIN_S: Final = 60.0
"A module that fails oftener is stopped: it costs its neighbours of the same publisher their time, and has no use."


class Backoff:
    """How long to wait before a container is started again: 1, 2, 4 .. 60 s."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_FIRST_S
        self._started = -math.inf

    def started(self, now: float) -> None:
        """A container runs."""
        self._started = now

    def died(self, now: float) -> float:
        """It has ended; returns how many seconds to wait."""
        if now - self._started >= STEADY_S:
            self._next_s = BACKOFF_FIRST_S
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, BACKOFF_MAX_S)
        return wait_s


class Strikes:
    """Failures of one module."""

    def __init__(self) -> None:
        self.total = 0
        self._times: deque[float] = deque(maxlen=STRIKES_MAX)

    def add(self, now: float) -> bool:
        """Count one; returns whether that is one too many."""
        self.total += 1
        self._times.append(now)
        return len(self._times) == STRIKES_MAX and now - self._times[0] < STRIKES_WITHIN_S

    def forget(self) -> None:
        """It begins anew; the total stays."""
        self._times.clear()


def starts_again(policy: FailurePolicy) -> bool:
    """Whether a module of this policy is loaded again by itself; packets of others pass or are dropped."""
    return policy == "reload"
