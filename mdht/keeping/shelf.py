"""The records of this node as whoever asks for them sees them, wherever among its hosts they are."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from mdht.errors import RefusalCode
from mdht.records import Copy, Record, check, set_digest
from mdht.subnet.messages import AckStatus, Ask
from mdht.subnet.query import Outcome, Resolved
from mdht.subnet.sibling_store import SiblingStore
from mdht.wire import known_copy

_REFUSALS: Final = {
    AckStatus.STORED: None,
    AckStatus.REFUSED: RefusalCode.STALE,
    AckStatus.FULL: RefusalCode.STORE_FULL,
    AckStatus.NOT_READY: RefusalCode.BUSY,
}
"A sibling does not tell why; signature and fields were seen to be right before, so it holds something newer."


class Held(msgspec.Struct, frozen=True):
    """What this node holds under a key."""

    copies: tuple[Copy, ...]
    "By writer and name, tombstones included."
    partial: bool
    "Somebody among its hosts who may hold more could not be heard."

    @property
    def digest(self) -> int:
        """The same for the same set of records; 0 for none."""
        return set_digest(copy.record for copy in self.copies)


OnPut = Callable[[RefusalCode | None, float], None]
"Called with why a record was not stored, None where it was, and the time."
OnHeld = Callable[[Held, float], None]


class Shelf:
    """Puts and gets at this node.

    Args:
        store: this host's share of it.
        verify: says whether a record has lawful fields and its writer's signature.
        clock: the time of the call that is under way.
        out: where effects go.
    """

    def __init__(
        self, store: SiblingStore, verify: Callable[[Record], bool], clock: Callable[[], float], out: list[Any]
    ) -> None:
        self._store = store
        self._verify = verify
        self._clock = clock
        self._out = out

    def put(self, copy: Copy, now: float, on_done: OnPut, source: str = "") -> None:
        """Store a copy; `on_done` is called once, perhaps at once.

        Args:
            copy: what.
            now: the time.
            on_done: told when as many hosts hold it as must, or why not.
            source: address that it came from, whose rate is limited; empty for this machine.
        """
        refusal = check(copy.record)
        if refusal is None and not copy.remaining_s > 0:
            refusal = RefusalCode.EXPIRED
        if refusal is None and not self._verify(copy.record):
            refusal = RefusalCode.BAD_SIGNATURE
        if refusal is not None:
            on_done(refusal, now)
            return
        self._out += self._store.put(copy, now, lambda status: on_done(_REFUSALS[status], self._clock()), source=source)

    def holds(self, key: bytes) -> bool:
        """Whether this very host holds something under a key: then `get` tells at once."""
        return key in self._store.stock.keys

    def get(self, key: bytes, now: float, on_held: OnHeld) -> None:
        """Look a key up; `on_held` is called once, perhaps at once."""
        self._out += self._store.get(key, Ask.ANY, now, lambda found: on_held(self._held(found), self._clock()))

    def _held(self, found: Resolved) -> Held:
        copies = [known_copy(record) for record in found.records]
        copies.sort(key=lambda copy: copy.record.slot)
        return Held(tuple(copies), found.partial or found.outcome is Outcome.BUSY)
