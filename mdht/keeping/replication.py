"""How copies follow the overlay: hand-over to nodes that have come, repair after losses, republishing.

Everything goes by offers (key and digest), so that what a node has already costs 30 bytes and not a transfer. Of the
hosts of a node the one that comes first for a key offers it. All nodes that hold a key serve a newcomer, one after the
other by their distance to the key: not every holder knows of every newcomer or loss, and what an earlier one has
delivered the later ones need not. Republishing is the net below. Records are never extended by moving: what remains of
their lease travels with them.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Container, Iterator
from typing import Final

from dhtboot.ids import NodeRef
from dhtboot.overlay import Located
from mdht.keeping.delivery import ENTRIES_PER_OFFER, Delivery
from mdht.keeping.keeper_base import Base
from mdht.records import Copy, Record
from mdht.subnet.sibling_store import SiblingStore

TURN_S: Final = 0.4
"Between two holders' turns: an offer with its transfer takes less, and the last of 8 comes within 3 s."
ABSENCE_S: Final = 60.0
"Whoever is back so soon was busy or cut off, and still holds what it held; what it missed, republishing brings."
ABSENT_MAX: Final = 1024
LATE_S: Final = 0.05
SLOWNESS_MAX: Final = 64.0
"With 1,000 keys then half a minute between two passes."
REPUBLISH_AT_ONCE: Final = 8
"Keys republished per tick; the rest waits 100 ms, so that a full host never floods its neighbours."


class Replication:
    """Moves copies of what one host holds to the nodes where they belong.

    Args:
        base: this node and the others.
        store: this host's share of the node's records.
    """

    def __init__(self, base: Base, store: SiblingStore) -> None:
        self._base = base
        self._store = store
        self._known: dict[int, NodeRef] | None = None
        self._foundings: dict[int, bytes] = {}
        self._newcomers: dict[int, NodeRef] = {}
        self._lost: dict[int, NodeRef] = {}
        self._absent: dict[int, float] = {}
        self._pass_at = math.inf
        self._slowness = 1.0
        self._rested_at = -math.inf
        self._pass: Iterator[None] | None = None
        self._due: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._offers = 0
        self._waiting: list[tuple[float, int, NodeRef, list[bytes]]] = []
        self._order = itertools.count()
        self._on_idle: Callable[[float], None] | None = None

    # ---- events --------------------------------------------------------------------------------------------------

    def look_around(self, now: float) -> bool:
        """See which nodes have come and gone in the tables of this host, or are others; whether one has come."""
        before, known = self._known, {node.id: node for node in self._base.others.known}
        if before is None:  # this host has come, not the others
            self._known = known
            self._refounded(known)
            return bool(known)
        refounded = self._refounded(known)
        self._newcomers.update(refounded)
        if known.keys() == before.keys() and not refounded:
            return False
        for node_id in before.keys() - known.keys():
            self._newcomers.pop(node_id, None)
            self._lost[node_id] = before[node_id]
            self._absent[node_id] = now
            if len(self._absent) > ABSENT_MAX:
                del self._absent[next(iter(self._absent))]
        came = known.keys() - before.keys()
        for node_id in came:
            self._lost.pop(node_id, None)
            if now > self._absent.pop(node_id, -math.inf) + ABSENCE_S:
                self._newcomers[node_id] = known[node_id]
        self._known = known
        self._schedule_pass(now)
        return bool(came or refounded)

    def _refounded(self, known: dict[int, NodeRef]) -> dict[int, NodeRef]:
        """Nodes that are another founding than before: these hold nothing, whatever the former one has held."""
        foundings = {node_id: self._base.others.founding(node) for node_id, node in known.items()}
        before, self._foundings = self._foundings, {id_: tag for id_, tag in foundings.items() if tag is not None}
        return {id_: known[id_] for id_, tag in self._foundings.items() if before.get(id_, tag) != tag}

    def on_stored(self, record: Record, now: float) -> None:
        """A copy has come in from its writer or another node: its next republishing moves away."""
        half_life_s = min(record.lease_s / 2.0, self._base.config.republish_max_s)
        if half_life_s >= self._base.config.republish_min_s:
            self._plan(record.key, now + half_life_s * (1.0 + 0.2 * self._base.rng.random()))

    def on_offered(self, key: bytes, sender: int, now: float) -> None:
        """Another node has just republished a key; if it is nearer, it did our turn as well."""
        due = self._due.get(key)
        if due is not None and self._base.others.is_nearer(key, sender):
            self._plan(key, max(due, now + self._base.config.republish_min_s))

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
        if self._waiting and self._offers < self._base.config.offers_under_way_max:
            deadline = min(deadline, self._waiting[0][0])
        return deadline

    def hand_over_all(self, now: float, on_done: Callable[[float], None]) -> None:
        """Offer every key to its nearest nodes without us; `on_done` when all have answered."""
        offers: dict[int, tuple[NodeRef, list[bytes]]] = {}
        replicas = self._base.config.replicas
        for key in list(self._store.stock.keys):
            # With all replicas alive only the last of them lacks the key; few nodes may lack any.
            nearest = self._base.others.nearest(key, replicas)
            for node in nearest[-1:] if len(nearest) == replicas else nearest:
                offers.setdefault(node.id, (node, []))[1].append(key)
        self._on_idle = on_done
        for node, keys in offers.values():
            self._offer(node, keys, now, due=now)
        self._check_idle(now)

    # ---- hand-over -----------------------------------------------------------------------------------------------

    def _is_ours(self, key: bytes) -> bool:
        """Whether it is this host of its node that offers a key."""
        return self._store.targets(key)[:1] == [self._store.me]

    def _schedule_pass(self, now: float) -> None:
        if self._pass is None and self._pass_at == math.inf and len(self._store.stock):
            delay_s = self._base.config.hand_over_delay_s * (0.5 + self._base.rng.random())
            self._pass_at = max(now + delay_s, self._rested_at)
        elif not len(self._store.stock):
            self._newcomers.clear()
            self._lost.clear()

    def _hand_over(self, now: float) -> Iterator[None]:
        """One pass over the keys for all newcomers and losses since the last; yields between slices."""
        # Late by itself: this machine has more to do than it can. Repair is what can wait.
        late = now > self._pass_at + LATE_S
        self._slowness = min(self._slowness * 2.0, SLOWNESS_MAX) if late else max(self._slowness / 2.0, 1.0)
        config, others = self._base.config, self._base.others
        self._rested_at = now + self._slowness * len(self._store.stock) / config.keys_per_s
        newcomers, self._newcomers = self._newcomers, {}
        lost, self._lost = self._lost, {}
        nodes = {node.id: node for node in others.known}
        offers: dict[tuple[int, int], list[bytes]] = {}
        for at, key in enumerate(list(self._store.stock.keys)):
            if at and at % config.keys_per_slice == 0:
                yield
            if not self._is_ours(key):
                continue
            far = others.nearness(key)
            # Sorted anew for each key, and still a quarter of what the routing table would take for it.
            nearest = sorted([*nodes, others.me], key=far)[: config.replicas]
            own = far(others.me)
            turn = sum(far(each) < own and each not in newcomers for each in nearest)
            for peer in _entitled(nearest, far, newcomers, lost):
                if peer != others.me:
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
        copies = self._store.stock.table.get(key, now)
        longest: Copy | None = max(copies, key=lambda copy: copy.remaining_s, default=None)
        if longest is None:
            return False
        self.on_stored(longest.record, now)
        if not self._is_ours(key) or not self._base.others.is_replica(key, self._base.config.replicas):
            return False  # others are nearer by now; ours ends with its lease

        def done(found: Located, at: float) -> None:
            for node in found.nodes[: self._base.config.replicas]:
                if node.id != self._base.others.me:
                    self._offer(node, [key], at, due=at)

        self._base.others.locate(key, self._base.config.locate_width, now, done)
        return True

    # ---- offers --------------------------------------------------------------------------------------------------

    def _offer(self, node: NodeRef, keys: list[bytes], now: float, *, due: float) -> None:
        for start in range(0, len(keys), ENTRIES_PER_OFFER):
            part = keys[start : start + ENTRIES_PER_OFFER]
            heapq.heappush(self._waiting, (due, next(self._order), node, part))
        self._start_offers(now)

    def _start_offers(self, now: float) -> None:
        waiting = self._waiting
        table = self._store.stock.table
        while waiting and waiting[0][0] <= now and self._offers < self._base.config.offers_under_way_max:
            _due, _order, node, keys = heapq.heappop(waiting)
            entries = tuple((key, digest) for key in keys if (digest := table.digest(key)))
            if entries:
                self._offers += 1
                Delivery(self._base, table, node, entries, self._offer_done).start(now)

    def _offer_done(self, now: float) -> None:
        self._offers -= 1
        self._start_offers(now)
        self._check_idle(now)

    def _check_idle(self, now: float) -> None:
        if self._on_idle is not None and not self._offers and not self._waiting:
            on_idle, self._on_idle = self._on_idle, None
            on_idle(now)


def _entitled(
    nearest: list[int], far: Callable[[int], int], newcomers: Container[int], lost: Collection[int]
) -> Iterator[int]:
    """Those of the nodes nearest to a key that may not hold it yet."""
    for peer in nearest:
        if peer in newcomers:
            yield peer
    if lost and nearest:
        # As many have moved up into the circle of replicas as were lost from it.
        reach = far(nearest[-1])
        moved_up = sum(far(gone) < reach for gone in lost)
        for peer in nearest[max(0, len(nearest) - moved_up) :]:
            if peer not in newcomers:
                yield peer
