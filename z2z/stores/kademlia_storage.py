"""What one node of a `kademlia` network holds for the others."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from kademlia.storage import IStorage

from mdht.records import KEY_BYTES, Record
from z2z.stores.kademlia_sets import SET_MAX, RecordSet, SetReader, absorb, alive, encode, is_set

KEYS_MAX: Final = 4_096
"Sets held: 32 MiB of records if all were full."
FOREIGN_MAX: Final = 1_024
"Values of other programs held, of which the oldest go first."
FOREIGN_LIFE_S: Final = 604_800.0
"A week, as a plain node holds them."


class SetStorage(IStorage):  # type: ignore[misc] # the package has no types
    """Sets that are merged when stored, and values of other programs, which are kept as a plain node keeps them.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.read = SetReader()
        self._sets: dict[bytes, RecordSet] = {}
        self._touched: dict[bytes, float] = {}
        self._foreign: OrderedDict[bytes, tuple[float, object]] = OrderedDict()

    def count(self) -> int:
        """Return the live values held, tombstones not counted; may be called from another thread."""
        now = self.clock()
        return sum(not record.deleted for held in self._sets.copy().values() for record in alive(held, now))

    def held(self, key: bytes) -> RecordSet:
        """Return the live records held under a key."""
        left = alive(self._sets.get(key, ()), self.clock())
        if left:
            self._sets[key] = left
        else:
            self._sets.pop(key, None)
            self._touched.pop(key, None)
        return left

    def absorb(self, key: bytes, records: Iterable[Record], *, always: bool = False) -> RecordSet:
        """Merge verified records into what is held under a key; what does not fit is left out.

        Args:
            key: the key of all of them.
            records: those to add.
            always: even if there are too many keys: strangers must not keep this program from its own work.

        Returns:
            What is held now.
        """
        held = absorb(self.held(key), records)
        if held and (always or key in self._sets or self._has_room()):
            self._sets[key], self._touched[key] = held, self.clock()
        return self._sets.get(key, ())

    def store(self, key: object, value: object) -> bool:
        """Keep what another node sent.

        Returns:
            Whether all of it is held now.
        """
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            return False
        if not is_set(value):
            return self._store_foreign(key, value)
        records = self.read(value, key, self.clock())
        held = {record.slot: record.seq for record in self.absorb(key, records)}
        return bool(records) and all(held.get(record.slot, -1) >= record.seq for record in records)

    def __setitem__(self, key: object, value: object) -> None:
        """Keep a value, if there is room and it is in order."""
        self.store(key, value)

    def __getitem__(self, key: bytes) -> object:
        """Return the set under a key in bytes, or the value of another program."""
        if held := self.held(key):
            return encode(held)
        until, value = self._foreign[key]
        if until <= self.clock():
            del self._foreign[key]
            raise KeyError(key)
        return value

    def get(self, key: bytes, default: object = None) -> object:
        """Return the value under a key, or the default."""
        try:
            return self[key]
        except (KeyError, TypeError):  # a key from the network may be anything
            return default

    def iter_older_than(self, seconds_old: float) -> Iterator[tuple[bytes, object]]:
        """Return what was not stored within that time: it may be missing at nodes that came since."""
        before = self.clock() - seconds_old
        old = [key for key, touched in self._touched.items() if touched <= before]
        old += [key for key, (until, _) in self._foreign.items() if until - FOREIGN_LIFE_S <= before]
        return self._pairs(old)

    def __iter__(self) -> Iterator[tuple[bytes, object]]:
        """Return all keys with their values."""
        return self._pairs([*self._sets, *self._foreign])

    def _pairs(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, object]]:
        found = ((key, self.get(key)) for key in dict.fromkeys(keys))
        return ((key, value) for key, value in found if value is not None)

    def _has_room(self) -> bool:
        if len(self._sets) >= KEYS_MAX:
            for key in [*self._sets]:
                self.held(key)  # forgets what has ended
        return len(self._sets) < KEYS_MAX

    def _store_foreign(self, key: bytes, value: object) -> bool:
        if not isinstance(value, int | float | str | bytes) or (
            isinstance(value, str | bytes) and len(value) > SET_MAX
        ):
            return False
        self._foreign.pop(key, None)
        self._foreign[key] = (self.clock() + FOREIGN_LIFE_S, value)
        if len(self._foreign) > FOREIGN_MAX:
            self._foreign.popitem(last=False)
        return True
