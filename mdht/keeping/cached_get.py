"""One get that the caches of this link may answer: they are asked first, then the overlay."""

from collections.abc import Callable

from dhtboot.overlay import Located
from mdht.keeping.get import GetOutcome, GetRun
from mdht.keeping.keeper_base import Base
from mdht.records import Copy


class CachedGet:
    """Reads what is cached here or at a sibling, else what the nodes nearest to a key hold, which is then cached.

    Args:
        base: this node and the others.
        key: 20 bytes.
        fresh: whether to leave the caches alone and ask the nodes.
        on_done: called once.
    """

    def __init__(self, base: Base, key: bytes, *, fresh: bool, on_done: Callable[[GetOutcome, float], None]) -> None:
        self._base = base
        self._key = key
        self._fresh = fresh
        self._on_done = on_done
        self._asked_at = 0.0

    def start(self, now: float) -> None:
        """Begin."""
        if self._fresh:
            self._ask_nodes(now)
        else:
            self._base.caches.get(self._key, now, self._on_cached)

    def _on_cached(self, copies: tuple[Copy, ...], now: float) -> None:
        if copies:
            self._on_done(GetOutcome(copies=copies, located=Located((), 0), holders=(), cached=True), now)
        else:
            self._ask_nodes(now)

    def _ask_nodes(self, now: float) -> None:
        self._asked_at = now
        GetRun(self._base, self._key, on_copy=None, on_done=self._on_answered).start(now)

    def _on_answered(self, outcome: GetOutcome, now: float) -> None:
        self._base.caches.keep(self._key, outcome.copies, self._asked_at, now)
        self._on_done(outcome, now)
