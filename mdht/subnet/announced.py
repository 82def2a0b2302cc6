"""What a host has heard of its siblings' caches (mDHT design, section 15)."""

from collections import OrderedDict
from typing import Final

from mdht.subnet.announcing import prefix_of
from mdht.subnet.bloom import Bloom, mask
from mdht.subnet.bounded import remember
from mdht.subnet.hints import Hints
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.messages import HOSTS_MAX, Inventory

FILTERS_MAX: Final = 1024
"Of one each, as many as a subnet has members: 1 MiB."


class _Told:
    __slots__ = ("at", "bloom", "generation", "incarnation")

    def __init__(self, bloom: Bloom, incarnation: int, generation: int, at: float) -> None:
        self.bloom = bloom
        self.incarnation = incarnation
        self.generation = generation
        self.at = at


class Announced:
    """The last filter of each sibling, and the keys added since; both are believed as long as copies are kept.

    Args:
        config: times and limits.
    """

    def __init__(self, config: InventoryConfig) -> None:
        self._keep_s = config.keep_s
        self._filters: OrderedDict[bytes, _Told] = OrderedDict()
        self._added = Hints(ttl_s=config.keep_s, most=config.prefixes_max)

    def __len__(self) -> int:
        return len(self._filters)

    def hear(self, hid: bytes, incarnation: int, message: Inventory, now: float) -> None:
        """A sibling says what it has.

        Raises:
            WireError: a filter has a wrong size.
        """
        told = self._filters.get(hid)
        age = (incarnation, message.generation)
        if message.filter:
            if told is None or age >= (told.incarnation, told.generation):
                remember(self._filters, hid, _Told(Bloom.from_bytes(message.filter), *age, now), FILTERS_MAX)
        elif told is not None and age > (told.incarnation, told.generation):
            del self._filters[hid]  # its successor was lost, or there was nothing to say
        for prefix in message.prefixes:
            others = [other for other in self._added.holders(prefix, now) if other != hid]
            self._added.learn(prefix, (hid, *others[: HOSTS_MAX - 1]), now)

    def holders(self, key: bytes, now: float) -> list[bytes]:
        """Who has probably cached a key: who said so of it, then whose filter says so, the latest first in both."""
        bits = mask(key)
        found = dict.fromkeys(self._added.holders(prefix_of(key), now))
        for hid, told in reversed(self._filters.items()):
            if told.at + self._keep_s > now and told.bloom.covers(bits):
                found[hid] = None
        return list(found)

    def denied(self, hid: bytes, key: bytes) -> None:
        """It has not cached this key, or not any more."""
        self._added.forget(prefix_of(key), hid)

    def forget(self, hid: bytes) -> None:
        """It is gone, or was started anew. What it had added is believed on, by whoever can reach it."""
        self._filters.pop(hid, None)
