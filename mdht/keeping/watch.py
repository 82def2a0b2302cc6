"""Following a key: subscriptions at its nearest nodes, one merged view, changes once each."""

import heapq
import math
from collections.abc import Callable
from typing import Any, Final, Literal

from dhtboot.ids import NodeRef
from dhtboot.overlay import Located
from mdht.keeping.get import PageFetch
from mdht.keeping.keeper_base import Base
from mdht.keeping.shelf import Held
from mdht.messages import Listen, Listening
from mdht.records import Copy, Record, digest, life_s, supersedes

ChangeKind = Literal["added", "updated", "removed"]
OnChange = Callable[[ChangeKind, Record, float], None]
"Called with the kind, the record (the last live one for `removed`) and its remaining seconds."

RENEW_SOON_S: Final = 0.1
RENEW_PAUSE_S: Final = 1.0
"A node that joins meets many newcomers: so long after a renewal before the next one for their sake."
CONFIRM_S: Final = 2.0
"After the first subscription, until the second one."
SLOTS_MAX: Final = 2048
"Slots in one view: twice the records that a key may hold, tombstones included."


class Watch:
    """The view of one listener on one key.

    Args:
        base: this node and the others.
        key: 20 bytes.
        on_change: gets every change once; a refresh by the writer with the same value is none.
    """

    def __init__(self, base: Base, key: bytes, on_change: OnChange) -> None:
        self._base = base
        self._key = key
        self._on_change = on_change
        self._slots: dict[tuple[bytes, bytes], tuple[Record, float]] = {}
        self._expiries: list[tuple[float, tuple[bytes, bytes]]] = []
        self._digest = 0
        self._renew_at = math.inf
        self._renewed_at = -math.inf
        self._subscribed: dict[int, NodeRef] = {}
        self._answers_due = 0
        self._spare: list[NodeRef] = []
        self._fetching = False
        self._confirmed = False
        self._stopped = False

    def start(self, now: float) -> None:
        """Subscribe; what is there already arrives as `added`."""
        self._base.watch(self._key, self)
        self._confirmed = False
        self._renew(now)

    def stop(self, now: float) -> None:
        """Unsubscribe."""
        self._stopped = True
        self._base.unwatch(self._key, self, now)
        for node in self._subscribed.values():
            self._base.others.ask(node, Listen(self._key, 0.0), now, on_reply=_ignore, on_fail=_ignore_silence)

    def move(self, base: Base, now: float) -> None:
        """This host is in another subnet; the former one has forgotten the subscriptions by itself."""
        self._base = base
        self._fetching = self._confirmed = False
        base.watch(self._key, self)
        self._renew(now)

    def tick(self, now: float) -> None:
        """Renew what is due, and drop what has ended."""
        while self._expiries and self._expiries[0][0] <= now:
            _at, slot = heapq.heappop(self._expiries)
            known = self._slots.get(slot)
            if known is not None and known[1] <= now:
                del self._slots[slot]
                self._digest ^= digest(known[0])
                if not known[0].deleted:
                    self._on_change("removed", known[0], 0.0)
        if now >= self._renew_at:
            self._renew(now)

    def on_neighbour(self, now: float) -> None:
        """A node has become known; it may belong to the nearest of the key, and be the first to hear of a change."""
        if self._subscribed.keys() >= {node.id for node in self._nearest()}:
            return
        soon = now + RENEW_SOON_S * (0.5 + self._base.rng.random())
        self._renew_at = min(self._renew_at, max(soon, self._renewed_at + RENEW_PAUSE_S))

    def next_deadline(self) -> float:
        """When to call `tick` next."""
        return min(self._renew_at, self._expiries[0][0] if self._expiries else math.inf)

    def on_record(self, record: Record, remaining_s: float, now: float) -> None:
        """Take in a verified record from a push, a page or this node."""
        slot = record.slot
        known = self._slots.get(slot)
        ends_at = now + min(remaining_s, life_s(record))
        if ends_at <= now or (known is None and len(self._slots) >= SLOTS_MAX):
            return
        if known is not None and known[0] == record:
            if ends_at > known[1]:
                self._hold(slot, record, ends_at)
            return
        if known is not None and not supersedes(record, known[0]):
            return
        self._digest ^= digest(record) ^ (0 if known is None else digest(known[0]))
        self._hold(slot, record, ends_at)
        was_live = known is not None and not known[0].deleted
        if record.deleted:
            if was_live and known is not None:
                self._on_change("removed", known[0], 0.0)
        elif not was_live:
            self._on_change("added", record, remaining_s)
        elif known is not None and known[0].value != record.value:
            self._on_change("updated", record, remaining_s)

    def _hold(self, slot: tuple[bytes, bytes], record: Record, ends_at: float) -> None:
        self._slots[slot] = record, ends_at
        heapq.heappush(self._expiries, (ends_at, slot))
        if len(self._expiries) > 4 * len(self._slots) + 64:
            self._expiries = [(end, each) for each, (_record, end) in self._slots.items()]
            heapq.heapify(self._expiries)

    # ---- subscriptions -------------------------------------------------------------------------------------------

    def _nearest(self) -> list[NodeRef]:
        return self._base.others.nearest(self._key, self._base.config.replicas)

    def _renew(self, now: float) -> None:
        self._renew_at = math.inf
        self._renewed_at = now
        self._base.others.locate(self._key, self._base.config.locate_width, now, self._on_located)

    def _on_located(self, found: Located, now: float) -> None:
        if self._stopped:
            return
        config = self._base.config
        self._subscribed = {}
        # Jitter: all that started together (after a power cut) must not renew together for ever.
        period_s = config.listen_lease_s / 2.0
        if self._base.others.held_open:
            period_s = min(period_s, config.listen_open_s)
        regular = now + period_s * (0.8 + 0.4 * self._base.rng.random())
        if not self._confirmed:
            # What siblings are told of a subscription may be lost, and what has changed meanwhile be missed.
            self._confirmed = True
            regular = now + CONFIRM_S
        if not found.nodes:
            regular = now + config.listen_retry_s
        self._renew_at = min(self._renew_at, regular)  # a node met on the way may have made it sooner
        self._spare = list(reversed(found.nodes[config.replicas :]))
        self._answers_due = 0
        for node in found.nodes[: config.replicas]:
            self._subscribe(node, now)

    def _subscribe(self, node: NodeRef, now: float) -> None:
        if node.id == self._base.others.me:
            self._base.follow(self._key, now)
            self._base.shelf.get(self._key, now, self._on_own)
            return
        self._answers_due += 1
        listen = Listen(self._key, self._base.config.listen_lease_s)
        self._base.others.ask(node, listen, now, on_reply=self._on_listening, on_fail=self._on_silence)

    def _on_own(self, held: Held, now: float) -> None:
        self._on_page(held.copies, now)

    def _on_listening(self, node: NodeRef, answer: Any, now: float) -> None:
        if self._stopped:
            return
        if not isinstance(answer, Listening) or not answer.lease_s > 0:
            self._on_silence(node, now)
            return
        self._answers_due -= 1
        self._subscribed[node.id] = node
        if answer.count and answer.digest != self._digest and not self._fetching:
            self._fetching = True
            fetch = PageFetch(self._base, node, self._key, 0, on_page=self._on_page, on_done=self._on_fetched)
            fetch.start(now, answer.digest)

    def _on_silence(self, _node: NodeRef, now: float) -> None:
        self._answers_due -= 1
        if self._spare and not self._stopped:
            self._subscribe(self._spare.pop(), now)
        elif not self._answers_due and not self._subscribed:
            self._renew_at = min(self._renew_at, now + self._base.config.listen_retry_s)

    def _on_page(self, copies: tuple[Copy, ...], now: float) -> None:
        for copy in copies:
            if not self._stopped and copy.record.key == self._key and self._base.verify(copy.record):
                self.on_record(copy.record, copy.remaining_s, now)

    def _on_fetched(self, _token: int, _now: float) -> None:
        self._fetching = False


def _ignore(_node: NodeRef, _answer: Any, _now: float) -> None:
    """Nobody waits for the end of an unsubscription."""


def _ignore_silence(_node: NodeRef, _now: float) -> None:
    """A holder that is gone has forgotten the subscription as well."""
