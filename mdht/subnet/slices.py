"""Work on many keys, cut into slices so that nothing else has to wait for it."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

Judge = Callable[[Sequence[bytes], float], None]


class _Job:
    """The keys are looked up when its turn comes, else many jobs would each keep a list of all."""

    __slots__ = ("judge", "keys", "left")

    def __init__(self, keys: Callable[[], Iterable[bytes]], judge: Judge) -> None:
        self.keys = keys
        self.judge = judge
        self.left: Iterator[bytes] | None = None


class Slices:
    """A queue of such work.

    Args:
        most: keys in a slice.
        every_s: between two slices.
        jobs_max: in each of its two lines.
        room: whether what a slice makes necessary can be taken on now.
    """

    def __init__(self, *, most: int, every_s: float, jobs_max: int, room: Callable[[], bool]) -> None:
        self._most = most
        self._every_s = every_s
        self._jobs_max = jobs_max
        self._room = room
        self._urgent: deque[_Job] = deque()
        self._others: deque[_Job] = deque()
        self._at = math.inf

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def add(self, keys: Callable[[], Iterable[bytes]], judge: Judge, now: float, *, urgent: bool = False) -> bool:
        """Judge all these keys; False where too much is waiting."""
        line = self._urgent if urgent else self._others
        if len(line) >= self._jobs_max:
            return False
        line.append(_Job(keys, judge))
        self._at = min(self._at, now)
        return True

    def tick(self, now: float) -> None:
        """Judge a slice, if one is due."""
        if now < self._at:
            return
        left = self._most
        while left > 0 and len(self) and self._room():
            line = self._urgent or self._others
            job = line[0]
            if job.left is None:
                job.left = iter(list(job.keys()))
            keys = list(itertools.islice(job.left, left))
            if len(keys) < left:  # it is at its end
                line.popleft()
            left -= max(1, len(keys))
            if keys:
                job.judge(keys, now)
        self._at = now + self._every_s if len(self) else math.inf

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._at
