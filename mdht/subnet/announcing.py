"""What a host says of its cache: a filter of all keys every minute, in between what was added (mDHT design, 15)."""

from collections import OrderedDict
from collections.abc import Sequence
from random import Random
from typing import Final

from mdht.subnet.bloom import Bloom
from mdht.subnet.bounded import remember
from mdht.subnet.effects import Multicast
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.messages import Inventory

PREFIXES_MAX: Final = 40
"Of one message; they fill 440 bytes."
PREFIX_BYTES: Final = 8
"Of a key: that two of all keys of an overlay begin alike is not to be expected below four thousand million of them."


def prefix_of(key: bytes) -> bytes:
    """What stands for a key in an announcement."""
    return key[:PREFIX_BYTES]


class Announcing:
    """One host's. What is dropped is not told: it ends by itself, and who asks for it is told so.

    Args:
        config: times.
        rng: all chance: when in a period the filter is told.
        now: the time.
    """

    def __init__(self, config: InventoryConfig, rng: Random, now: float) -> None:
        self._config = config
        self._generation = 1
        "Counts periods; the filter begins one, and what is added later belongs to it."
        self._part = 0
        self._added: OrderedDict[bytes, None] = OrderedDict()
        self._filter_at = now + config.filter_s * rng.random()
        self._changes_at = now

    def add(self, key: bytes) -> None:
        """It is in the cache from now on, or again."""
        remember(self._added, key, None, self._config.keys_max)

    def tick(self, keys: Sequence[bytes], now: float) -> list[Multicast]:
        """What is due to be said, if there is anybody to hear it.

        Args:
            keys: all that is in the cache.
            now: the time.
        """
        if self._filter_at <= now:
            self._filter_at = now + self._config.filter_s
            self._generation += 1
            self._part = 0
            self._added.clear()
            return [self._say(now, bloom=bytes(Bloom.of(keys)))] if keys else []
        if not self._added or now < self._changes_at:
            return []
        cached = set(keys)
        still = [key for key in self._added if key in cached]
        told, later = still[:PREFIXES_MAX], still[PREFIXES_MAX:]
        self._added = OrderedDict.fromkeys(later)
        if not told:
            return []
        self._part += 1
        return [self._say(now, prefixes=tuple([prefix_of(key) for key in told]))]

    def next_deadline(self) -> float:
        """When to call `tick`."""
        return min(self._filter_at, self._changes_at) if self._added else self._filter_at

    def _say(self, now: float, *, bloom: bytes = b"", prefixes: tuple[bytes, ...] = ()) -> Multicast:
        self._changes_at = now + self._config.changes_s
        return Multicast(Inventory(generation=self._generation, part=self._part, filter=bloom, prefixes=prefixes))
