"""Test queries: each node looks for a random key about every second and sends a message there (thesis section 2.3)."""

import math
from functools import partial
from random import Random
from typing import Any, Final, Protocol

from dhtboot.ids import NodeRef, id_bytes, id_from, random_id
from dhtboot.overlay import OverlayNode, find_owner
from dhtboot.sim.note import TestMessage

DEVIATION_SHARE: Final = 0.1
"Standard deviation of the interval between two queries, as a share of it [thesis 2.3: N(1 s, 0.1 s)]."


class Collector(Protocol):
    """Who counts."""

    def on_sent(self) -> None:
        """A test query begins."""

    def on_arrived(self, key: int, receiver: int, hops: int, *, believes: bool) -> None:
        """A test message has arrived."""


class Workload:
    """Test queries of one node; the application above it.

    Attributes:
        node: set once the node is there, which is made with its application.
        joined: whether the node takes part; before that its queries fail.
        due_at: when to call `tick`; never until `start`.
    """

    __slots__ = ("_collector", "_interval_s", "_rng", "due_at", "joined", "node")

    node: OverlayNode

    def __init__(self, collector: Collector, rng: Random, interval_s: float) -> None:
        self._collector = collector
        self._rng = rng
        self._interval_s = interval_s
        self.due_at = math.inf
        self.joined = False

    def start(self, now: float) -> None:
        """The node has begun to join: queries from now on."""
        self.due_at = now + self._draw()

    def tick(self, now: float) -> None:
        """Send one query."""
        self.due_at = now + self._draw()
        self._collector.on_sent()
        if self.joined:
            key = random_id(self._rng)
            find_owner(self.node, key, now, partial(self._on_owner, key))

    def _on_owner(self, key: int, owner: NodeRef | None, hops: int, _now: float) -> None:
        if owner is None:
            self._collector.on_arrived(key, self.node.id, hops, believes=self.node.is_responsible(key))
        else:
            self.node.tell(owner.address, TestMessage(id_bytes(key), min(hops, 255)))

    def _draw(self) -> float:
        return max(0.0, self._rng.gauss(self._interval_s, self._interval_s * DEVIATION_SHARE))

    # ---- what the node tells its application ------------------------------------------------------------------------

    def on_note(self, note: Any, _sender: NodeRef, _now: float) -> None:
        """A test message has arrived here."""
        key = id_from(note.key)
        believes = self.joined and self.node.is_responsible(key)
        self._collector.on_arrived(key, self.node.id, note.hops, believes=believes)

    def on_question(self, question: Any, now: float) -> None:
        """Nobody asks."""
