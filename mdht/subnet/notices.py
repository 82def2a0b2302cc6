"""What a host says to all of a key, more than once, as nobody acknowledges it."""

from functools import partial

from mdht.subnet.commons import Commons
from mdht.subnet.effects import Multicast
from mdht.subnet.messages import Note
from mdht.subnet.policies import KeyStats
from mdht.subnet.timers import Timers


class Notices:
    """One host's.

    Args:
        commons: what it holds, whose version a note tells.
    """

    def __init__(self, commons: Commons) -> None:
        self._stock, self._config, self._out = commons.stock, commons.config, commons.out
        self._said: dict[bytes, KeyStats] = {}
        self._timers = Timers()

    def say(self, key: bytes, stats: KeyStats, now: float) -> None:
        """Say it, now and again."""
        self._out.append(self._note(key, stats))
        if len(self._said) >= self._config.notes_max and key not in self._said:
            return
        self._said[key] = stats
        for after_s in self._config.notes_s:
            last = after_s == self._config.notes_s[-1]
            self._timers.at(now + after_s, partial(self._repeat, key, stats, last))

    def outdated(self, key: bytes) -> None:
        """Somebody else has said something newer."""
        self._said.pop(key, None)

    def saying(self, key: bytes) -> bool:
        """Whether it will be said again."""
        return key in self._said

    def tick(self, now: float) -> None:
        """Repeat what is due."""
        self._timers.tick(now)

    def _repeat(self, key: bytes, stats: KeyStats, last: bool, _now: float) -> None:
        if self._said.get(key) is not stats:
            return
        if last:
            del self._said[key]
        self._out.append(self._note(key, stats))

    def next_deadline(self) -> float:
        """When to call `tick`; there may be nothing to do then."""
        return self._timers.next_deadline()

    def _note(self, key: bytes, stats: KeyStats) -> Multicast:
        return Multicast(Note(key=key, stamp=self._stock.hash(key), wanted=stats.wanted, holders=stats.holders))
