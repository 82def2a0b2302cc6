"""One offer of keys to a node, and the copies that it turns out to need, a datagram at a time."""

from collections.abc import Callable
from typing import Any, Final

from dhtboot.ids import NodeRef
from mdht.errors import RefusalCode
from mdht.keeping.keeper_base import Base
from mdht.messages import Offer, Put, Stored, Wanted
from mdht.record_table import RecordTable
from mdht.records import Copy
from mdht.subnet.face_messages import RECORDS_ROOM
from mdht.wire import page

ENTRIES_PER_OFFER: Final = 24
"33 bytes each: an offer fits a datagram, beside what a host tells of its node."


class Delivery:
    """One.

    Args:
        base: this node and the others.
        table: where the copies are.
        receiver: the other node.
        entries: key and digest of each.
        on_done: called once, with the time.
    """

    def __init__(
        self,
        base: Base,
        table: RecordTable,
        receiver: NodeRef,
        entries: tuple[tuple[bytes, int], ...],
        on_done: Callable[[float], None],
    ) -> None:
        self._base = base
        self._table = table
        self._receiver = receiver
        self._entries = entries
        self._on_done = on_done
        self._keys: list[bytes] = []
        self._copies: list[Copy] = []

    def start(self, now: float) -> None:
        """Make the offer."""
        offer = Offer(self._entries)
        self._base.others.ask(self._receiver, offer, now, on_reply=self._on_wanted, on_fail=self._on_fail)

    def _on_wanted(self, _node: NodeRef, answer: Any, now: float) -> None:
        if isinstance(answer, Wanted):
            self._keys = [self._entries[at][0] for at in answer.positions if 0 <= at < len(self._entries)]
        self._send_next(now)

    def _send_next(self, now: float) -> None:
        while not self._copies and self._keys:
            self._copies = self._table.get(self._keys.pop(), now)
        batch = page(self._copies, RECORDS_ROOM)
        if not batch:
            self._on_done(now)
            return
        del self._copies[: len(batch)]
        self._base.others.ask(self._receiver, Put(batch), now, on_reply=self._on_stored, on_fail=self._on_fail)

    def _on_stored(self, _node: NodeRef, answer: Any, now: float) -> None:
        if isinstance(answer, Stored) and RefusalCode.BUSY in answer.codes:
            self._on_done(now)  # the next republishing finds it less busy
        else:
            self._send_next(now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self._on_done(now)
