"""What a joined node does by itself: refresh quiet buckets, check siblings, fill gaps after losses."""

import math
from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

from dhtboot.ids import NodeRef
from dhtboot.kademlia.buckets import RoutingTable
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import Joining
from dhtboot.kademlia.search import OnDone
from dhtboot.lookup import LookupResult

REFRESHES_AT_ONCE: Final = 4
"Bucket refreshes started per tick, so that a node back from sleep does not flood its contacts."
SETTLE_MAX_S: Final = 40.0
"Longest pause between two lookups of oneself after joining; then only losses are a reason for one."
SELF_LOOKUP_DELAY_S: Final = 2.0
"Losses in a row share one lookup; up to as much jitter again, since all neighbours notice at the same time."


class Upheld(Protocol):
    """What the upkeep needs of its node."""

    id: int
    table: RoutingTable
    joining: Joining

    @property
    def neighbours(self) -> Sequence[NodeRef]:
        """The siblings, closest first."""

    def lookup(self, target: int, now: float, *, on_done: OnDone, width: int | None = None) -> None:
        """Start a lookup."""

    def ping(self, node: NodeRef, now: float) -> None:
        """See whether a node is there."""


class Upkeep:
    """Timers of one node."""

    def __init__(self, node: Upheld, config: KademliaConfig, rng: Random, now: float) -> None:
        self._node = node
        self._config = config
        self._rng = rng
        self._self_lookup_at = math.inf
        self._refresh_at = now + config.refresh_interval_s
        self._sibling_check_at = now + config.sibling_check_s
        self._contact_check_at = now + config.contact_check_s
        self._turn = 0
        self._seeks_lost = True
        self._pause_s = math.inf

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now >= self._self_lookup_at:
            self._look_up_self(now)
        if now >= self._sibling_check_at:
            self._check_a_sibling(now)
        if now >= self._contact_check_at:
            self._check_a_contact(now)
        if now >= self._refresh_at:
            self._refresh_stale(now)

    @property
    def due_at(self) -> float:
        """When to call `tick` next."""
        return min(self._self_lookup_at, self._sibling_check_at, self._contact_check_at, self._refresh_at)

    def look_up_self(self, now: float) -> None:
        """Look up the own identifier at the next tick."""
        self._self_lookup_at = now

    def look_up_self_soon(self, now: float) -> None:
        """A sibling is lost, or somebody who was is back: whoever else stands there is found by a lookup of oneself."""
        delay_s = SELF_LOOKUP_DELAY_S * (1.0 + self._rng.random())
        self._self_lookup_at = min(self._self_lookup_at, now + delay_s)

    def maintain(self, now: float) -> None:
        """See after one sibling and one absent contact, for whoever has set these periods to never."""
        self._check_a_sibling(now)
        self._check_a_contact(now)

    def settle(self, now: float) -> None:
        """The node has just joined."""
        self._pause_s = self._config.settle_s
        self._self_lookup_at = self._after(self._pause_s, now)

    def _after(self, pause_s: float, now: float) -> float:
        """When a pause is over, a tenth sooner or later: nodes that began together must not stay in step."""
        return now + pause_s * (0.9 + 0.2 * self._rng.random())

    def _look_up_self(self, now: float) -> None:
        self._pause_s *= 2.0
        settled = self._pause_s > SETTLE_MAX_S
        self._self_lookup_at = math.inf if settled else self._after(self._pause_s, now)
        self._node.lookup(self._node.id, now, on_done=ignore, width=self._config.siblings)

    def refresh_farther(self, closest: NodeRef, now: float) -> None:
        """Refresh the buckets farther than the closest neighbour, as a joiner does (Kademlia section 2.3)."""
        for index in self._node.table.farther(closest.id):
            base, free = self._node.table.range_of(index)
            self._look_into(base, free, now)

    def _refresh_stale(self, now: float) -> None:
        stale = self._node.table.stale(now - self._config.refresh_interval_s)
        for index in stale[:REFRESHES_AT_ONCE]:
            base, free = self._node.table.range_of(index)
            self._look_into(base, free, now)
        pause_s = 1.0 if len(stale) > REFRESHES_AT_ONCE else self._config.refresh_interval_s / 10.0
        self._refresh_at = now + pause_s

    def _look_into(self, base: int, free: int, now: float) -> None:
        target = base ^ (self._rng.getrandbits(free) if free else 0)
        self._node.lookup(target, now, on_done=ignore, width=self._config.refresh_width)

    def _check_a_sibling(self, now: float) -> None:
        siblings = self._node.neighbours
        if siblings:
            self._turn = (self._turn + 1) % len(siblings)
            self._node.ping(siblings[self._turn], now)
        self._sibling_check_at = self._after(self._config.sibling_check_s, now)

    def _check_a_contact(self, now: float) -> None:
        # Two parts of an overlay that a cut has separated find each other again only if somebody asks across it.
        joining, has_address = self._node.joining, self._node.table.has_address
        entries = [contact for contact in joining.entries if not has_address(contact.address)]
        lost = [contact for contact in joining.lost if not has_address(contact.address)]
        absent = (lost or entries) if self._seeks_lost else (entries or lost)  # in turns, however many are lost
        self._seeks_lost = not self._seeks_lost
        if absent:
            self._node.ping(absent[self._rng.randrange(len(absent))], now)
        self._contact_check_at = self._after(self._config.contact_check_s, now)


def ignore(_result: LookupResult, _now: float) -> None:
    """The lookup itself is the purpose: it teaches the table."""
