"""What every operation on records needs of the host that it runs at."""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Protocol

from mdht.errors import RefusalCode
from mdht.keeping.caches import Caches
from mdht.keeping.config import KeepingConfig
from mdht.keeping.others import Others
from mdht.keeping.shelf import Shelf
from mdht.records import Copy, Record


class Watcher(Protocol):
    """Somebody in this process who follows a key."""

    def on_record(self, record: Record, remaining_s: float, now: float) -> None:
        """Take in a verified record."""

    def on_neighbour(self, now: float) -> None:
        """A node has become known, which may be the first to hear of a change."""

    def tick(self, now: float) -> None:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick`."""


class Base(Protocol):
    """The host; `Keeper` is one."""

    config: KeepingConfig
    rng: Random
    counters: Counter[str]
    others: Others
    shelf: Shelf
    caches: Caches
    verify: Callable[[Record], bool]

    def store_copy(self, copy: Copy, now: float, on_done: Callable[[RefusalCode | None, float], None]) -> None:
        """Store a copy at this node, and tell all who follow its key; `on_done` is called once, perhaps at once."""

    def follow(self, key: bytes, now: float) -> None:
        """Have this host told of changes that other hosts of this node hear of; again before the lease ends."""

    def watch(self, key: bytes, watcher: Watcher) -> None:
        """Give a watcher every verified record that arrives under a key."""

    def unwatch(self, key: bytes, watcher: Watcher, now: float) -> None:
        """End what `watch` began."""
