"""How copies follow the overlay: hand-over to newcomers, repair after losses, republishing.

Everything goes by offers (key and digest), so that what a node has already costs 30 bytes and not a transfer. All
holders of a key serve a newcomer, one after the other by their distance to the key: not every holder knows of every
newcomer or loss, and what an earlier one has delivered the later ones need not. Republishing is the net below. Records
are never extended by moving: what remains of their lease travels with them.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Container, Iterator
from random import Random
from typing import Any, Final, Protocol

from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia.messages import Busy
from dhtboot.kademlia.node import KademliaNode
from dhtboot.lookup import LookupResult
from mdht.config import StoreConfig
from mdht.messages import Offer, Put, Wanted
from mdht.record_table import RecordTable
from mdht.records import Copy, Record
from mdht.wire import PAGE_BYTES, page

ENTRIES_PER_OFFER: Final = 32
"33 bytes each: an offer fits a datagram."
TURN_S: Final = 0.4
"Between two holders' turns: an offer with its transfer takes less, and the last of 8 comes within 3 s."
ABSENCE_S: Final = 60.0
"Whoever is back so soon was busy or cut off, and still holds what it held; what it missed, republishing brings."
ABSENT_MAX: Final = 1024
LATE_S: Final = 0.05
SLOWNESS_MAX: Final = 64.0
"With 1,000 keys then half a minute between two passes."
REPUBLISH_AT_ONCE: Final = 8
"Keys republished per tick; the rest waits 100 ms, so that a full node never floods its neighbours."


class Holder(Protocol):
    """What replication needs of its node."""

    config: StoreConfig
    table: RecordTable
    overlay: KademliaNode

    def is_replica(self, key: bytes, slack: int = 0) -> bool:
        """Whether the node should hold a key, or is one of `slack` behind those that should."""


class Replication:
    """Moves copies of one node's table to where they belong."""

    def __init__(self, node: Holder, rng: Random, now: float) -> None:
        self._node = node
        self._rng = rng
        self._newcomers: dict[int, NodeRef] = {}
        self._lost: dict[int, NodeRef] = {}
        self._absent: dict[int, float] = {}
        self._pass_at = math.inf
        self._slowness = 1.0
        # Jitter: after a power cut all start together.
        self._rested_at = now + node.config.settle_s * (1.0 + rng.random())
        self._pass: Iterator[None] | None = None
        self._due: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._offers = 0
        self._waiting: list[tuple[float, int, NodeRef, list[bytes]]] = []
        self._order = itertools.count()
        self._on_idle: Callable[[], None] | None = None

    # ---- events --------------------------------------------------------------------------------------------------

    def on_contact(self, node: NodeRef, now: float) -> None:
        """A node has become known."""
        self._lost.pop(node.id, None)
        lost_at = self._absent.pop(node.id, -math.inf)
        if now > lost_at + ABSENCE_S:
            self._newcomers[node.id] = node
            self._schedule_pass(now)

    def on_contact_lost(self, node: NodeRef, now: float) -> None:
        """A node is gone."""
        self._newcomers.pop(node.id, None)
        self._lost[node.id] = node
        self._absent[node.id] = now
        if len(self._absent) > ABSENT_MAX:
            del self._absent[next(iter(self._absent))]
        self._schedule_pass(now)

    def on_stored(self, record: Record, now: float) -> None:
        """A copy has come in from its writer or another holder: its next republishing moves away."""
        half_life_s = min(record.lease_s / 2.0, self._node.config.republish_max_s)
        if half_life_s >= self._node.config.republish_min_s:
            self._plan(record.key, now + half_life_s * (1.0 + 0.2 * self._rng.random()))

    def on_offered(self, key: bytes, sender: NodeRef, now: float) -> None:
        """Another holder has just republished a key; if it is closer, it did our turn as well."""
        due = self._due.get(key)
        target = id_from(key)
        if due is not None and sender.id ^ target < self._node.overlay.id ^ target:
            self._plan(key, max(due, now + self._node.config.republish_min_s))

    def tick(self, now: float) -> None:
        """Go on with what is due."""
        if now >= self._pass_at:
            if self._pass is None:
                self._pass = self._hand_over(now)
            if next(self._pass, False) is False:
                self._pass = None
                self._pass_at = math.inf
                if self._newcomers or self._lost:
                    self._schedule_pass(now)
        self._start_offers(now)
        started = 0
        while self._heap and self._heap[0][0] <= now and started < REPUBLISH_AT_ONCE:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                started += self._republish(key, now)
        if self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                self._plan(key, now + 0.1)

    def next_deadline(self) -> float:
        """When to call `tick` next."""
        deadline = min(self._pass_at, self._heap[0][0] if self._heap else math.inf)
        if self._waiting and self._offers < self._node.config.offers_under_way_max:
            deadline = min(deadline, self._waiting[0][0])
        return deadline

    def hand_over_all(self, now: float, on_done: Callable[[], None]) -> None:
        """Offer every key to its closest nodes without us; `on_done` when all have answered."""
        offers: dict[int, tuple[NodeRef, list[bytes]]] = {}
        replicas = self._node.config.replicas
        keys_held = self._node.table.keys()
        for key in keys_held:
            closest = self._node.overlay.closest(id_from(key), replicas)
            # With all replicas alive only the last of them lacks the key; few nodes may lack any.
            for node in closest[-1:] if len(closest) == replicas else closest:
                offers.setdefault(node.id, (node, []))[1].append(key)
        self._on_idle = on_done
        for node, keys in offers.values():
            self._offer(node, keys, now, due=now)
        self._check_idle()

    # ---- hand-over -----------------------------------------------------------------------------------------------

    def _schedule_pass(self, now: float) -> None:
        if self._pass is None and self._pass_at == math.inf and len(self._node.table):
            delay_s = self._node.config.hand_over_delay_s * (0.5 + self._rng.random())
            self._pass_at = max(now + delay_s, self._rested_at)
        elif not len(self._node.table):
            self._newcomers.clear()
            self._lost.clear()

    def _hand_over(self, now: float) -> Iterator[None]:
        """One pass over the keys for all newcomers and losses since the last; yields between slices."""
        # Late by itself: this machine has more to do than it can. Repair is what can wait.
        late = now > self._pass_at + LATE_S
        self._slowness = min(self._slowness * 2.0, SLOWNESS_MAX) if late else max(self._slowness / 2.0, 1.0)
        self._rested_at = now + self._slowness * len(self._node.table) / self._node.config.keys_per_s
        newcomers, self._newcomers = self._newcomers, {}
        lost, self._lost = self._lost, {}
        node = self._node
        nodes = {each.id: each for each in node.overlay.contacts}
        identifiers = list(nodes)
        offers: dict[tuple[int, int], list[bytes]] = {}
        for at, key in enumerate(node.table.keys()):
            if at and at % node.config.keys_per_slice == 0:
                yield
            target = id_from(key)
            # Sorted anew for each key, and still a quarter of what the routing table would take for it.
            closest = sorted(identifiers, key=target.__xor__)[: node.config.replicas]
            own = node.overlay.id ^ target
            turn = sum(each ^ target < own and each not in newcomers for each in closest)
            for peer in _entitled(closest, target, newcomers, lost):
                offers.setdefault((peer, turn), []).append(key)
        for (peer, turn), keys in offers.items():
            self._offer(nodes[peer], keys, now, due=now + turn * TURN_S)

    # ---- republishing --------------------------------------------------------------------------------------------

    def _plan(self, key: bytes, due: float) -> None:
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 4 * len(self._due) + 64:
            self._heap = [(at, each) for each, at in self._due.items()]
            heapq.heapify(self._heap)

    def _republish(self, key: bytes, now: float) -> bool:
        copies = self._node.table.get(key, now)
        longest = max((copy for copy in copies), key=lambda copy: copy.remaining_s, default=None)
        if longest is None:
            return False
        self.on_stored(longest.record, now)
        if not self._node.is_replica(key):
            return False  # others are closer by now; ours ends with its lease

        def done(result: LookupResult, now: float) -> None:
            for node in result.closest[: self._node.config.replicas]:
                self._offer(node, [key], now, due=now)

        self._node.overlay.lookup(id_from(key), now, on_done=done, width=self._node.config.locate_width)
        return True

    # ---- offers --------------------------------------------------------------------------------------------------

    def _offer(self, node: NodeRef, keys: list[bytes], now: float, *, due: float) -> None:
        for start in range(0, len(keys), ENTRIES_PER_OFFER):
            part = keys[start : start + ENTRIES_PER_OFFER]
            heapq.heappush(self._waiting, (due, next(self._order), node, part))
        self._start_offers(now)

    def _start_offers(self, now: float) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= now and self._offers < self._node.config.offers_under_way_max:
            _due, _order, node, keys = heapq.heappop(waiting)
            entries = tuple((key, digest) for key in keys if (digest := self._node.table.digest(key)))
            if entries:
                self._offers += 1
                _Delivery(self._node, node, entries, self._offer_done).start(now)

    def _offer_done(self, now: float) -> None:
        self._offers -= 1
        self._start_offers(now)
        self._check_idle()

    def _check_idle(self) -> None:
        if self._on_idle is not None and not self._offers and not self._waiting:
            on_idle, self._on_idle = self._on_idle, None
            on_idle()


def _entitled(closest: list[int], target: int, newcomers: Container[int], lost: Collection[int]) -> Iterator[int]:
    """Those of the nodes closest to a target that may not hold it yet."""
    for peer in closest:
        if peer in newcomers:
            yield peer
    if lost and closest:
        # As many have moved up into the circle of replicas as were lost from it.
        reach = closest[-1] ^ target
        moved_up = sum(gone ^ target < reach for gone in lost)
        for peer in closest[max(0, len(closest) - moved_up) :]:
            if peer not in newcomers:
                yield peer


class _Delivery:
    """One offer and the copies that it turns out to need, a datagram at a time."""

    def __init__(
        self,
        node: Holder,
        receiver: NodeRef,
        entries: tuple[tuple[bytes, int], ...],
        on_done: Callable[[float], None],
    ) -> None:
        self._node = node
        self._receiver = receiver
        self._entries = entries
        self._on_done = on_done
        self._keys: list[bytes] = []
        self._copies: list[Copy] = []

    def start(self, now: float) -> None:
        self._node.overlay.ask(
            self._receiver, Offer(self._entries), now, on_reply=self._on_wanted, on_fail=self._on_fail
        )

    def _on_wanted(self, _node: NodeRef, answer: Any, now: float) -> None:
        if isinstance(answer, Wanted):
            self._keys = [self._entries[at][0] for at in answer.positions if 0 <= at < len(self._entries)]
        self._send_next(now)

    def _send_next(self, now: float) -> None:
        while not self._copies and self._keys:
            self._copies = self._node.table.get(self._keys.pop(), now)
        batch = page(self._copies, PAGE_BYTES)
        if not batch:
            self._on_done(now)
            return
        del self._copies[: len(batch)]
        self._node.overlay.ask(self._receiver, Put(batch), now, on_reply=self._on_stored, on_fail=self._on_fail)

    def _on_stored(self, node: NodeRef, answer: Any, now: float) -> None:
        if isinstance(answer, Busy):
            self._on_fail(node, now)  # the next republishing finds it less busy
        else:
            self._send_next(now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self._on_done(now)
