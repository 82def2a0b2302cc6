"""What the hosts of this link have fetched of other nodes, as whoever gets a key sees it (mDHT design, section 15).

It is for keys of other nodes only. Where this node keeps a key's records itself, they are on its `Shelf`, and what was
cached before it came to keep them is dropped.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mdht.keeping.config import KeepingConfig
from mdht.keeping.others import Others
from mdht.records import Copy, Record
from mdht.subnet.inventory import Inventory
from mdht.subnet.query import Resolved
from mdht.wire import known_copy

OnCached = Callable[[tuple[Copy, ...], float], None]
"Called with what caches have, nothing where the overlay is to be asked, and the time."


class Caches:
    """This host's cache, and those of its siblings.

    Args:
        inventory: this host's part.
        others: the other nodes.
        config: settings.
        clock: the time of the call that is under way.
        out: where effects go.
    """

    def __init__(
        self,
        inventory: Inventory,
        others: Others,
        config: KeepingConfig,
        clock: Callable[[], float],
        out: list[Any],
    ) -> None:
        self._inventory = inventory
        self._others = others
        self._config = config
        self._clock = clock
        self._out = out

    def get(self, key: bytes, now: float, on_cached: OnCached) -> None:
        """Look into this host's cache, then ask a sibling that has it cached; `on_cached` is called once.

        Args:
            key: 20 bytes.
            now: the time.
            on_cached: perhaps called before this returns.
        """
        if not self._concern(key):
            on_cached((), now)
            return

        def done(found: Resolved) -> None:
            on_cached(tuple([known_copy(record) for record in found.records]), self._clock())

        self._out += self._inventory.get(key, now, done)

    def keep(self, key: bytes, copies: Iterable[Copy], asked_at: float, now: float) -> None:
        """Cache what other nodes have answered that were asked at a time.

        It may have been on its way since then, so that much is taken from its life: it must not outlive its original.
        """
        if self._concern(key):
            aged = [copy.aged(now - asked_at) for copy in copies]
            records = [msgspec.msgpack.encode(copy) for copy in aged if copy.remaining_s > 0.0]
            self._out += self._inventory.put(key, records, now, asked_at=asked_at)

    def seen(self, record: Record, now: float) -> None:
        """A record has passed this host: what it serves from its cache is not older from now on."""
        if self._concern(record.key):
            self._inventory.seen(record, now)

    def drop(self, key: bytes) -> None:
        """This node keeps records of a key itself."""
        self._inventory.cache.drop(key)

    def _concern(self, key: bytes) -> bool:
        """Whether a key may be in a cache."""
        if self._config.cache is None:
            return False
        if self._others.is_replica(key, self._config.replicas):
            self.drop(key)
            return False
        return True
