"""A peer: an overlay node, its client of the bootstrap server, and the test queries if there are any, as one core.

It needs nothing but the server's address: it asks for a contact, joins, and reports; when its JOINs fail it asks anew.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from dhtboot.bootstrap_client import BootstrapClient, OnContact
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.effects import Effect, Joined, JoinFailed
from dhtboot.ids import Address, NodeRef
from dhtboot.overlay import OverlayNode


class Traffic(Protocol):
    """What runs above the node."""

    due_at: float
    joined: bool

    def start(self, now: float) -> None:
        """The node has begun to join."""

    def tick(self, now: float) -> None:
        """Act on the time."""


class Peer:
    """A node that joins by itself.

    Args:
        node: the overlay node.
        make_client: makes its client of the bootstrap server, given what to call with a contact.
        traffic: runs above the node.
    """

    __slots__ = ("_due_at", "_waiting", "client", "node", "traffic")

    def __init__(
        self,
        node: OverlayNode,
        make_client: Callable[[OnContact], BootstrapClient],
        traffic: Traffic,
    ) -> None:
        self.node = node
        self.client = make_client(self._on_contact)
        self.traffic = traffic
        self._waiting: list[Effect] = []
        self._due_at = 0.0

    def start(self, now: float) -> list[Effect]:
        """Ask the server whom to join."""
        return self._after(self.client.ask(now), now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to the overlay and to the server."""
        return self.node.leave(now) + self.client.leave(now)

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        if type(packet) is BootstrapPacket:
            return self._after(self.client.receive(packet, source, now), now)
        effects = self.node.receive(packet, source, now)
        due_at = self.node.next_deadline()
        self._due_at = min(self._due_at, due_at)
        for effect in effects:
            if type(effect) is Joined or type(effect) is JoinFailed:
                return self._after(effects, now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects: list[Effect] = []
        if self.traffic.due_at <= now:
            self.traffic.tick(now)
            effects += self.node.collect()
        if self.node.next_deadline() <= now:
            effects += self.node.tick(now)
        if self.client.next_deadline() <= now:
            effects += self.client.tick(now)
        return self._after(effects, now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        return self._due_at

    def _on_contact(self, contact: NodeRef | None, now: float) -> None:
        if self.traffic.due_at == math.inf:
            self.traffic.start(now)
        self._waiting += self.node.join([] if contact is None else [contact], now)

    def _after(self, effects: list[Effect], now: float) -> list[Effect]:
        """Whatever the parts want of each other."""
        effects = effects + self._waiting
        self._waiting = []
        for effect in tuple(effects):
            if type(effect) is Joined:
                self.traffic.joined = True
                effects += self.client.report(now)
            elif type(effect) is JoinFailed:
                self.traffic.joined = False
                effects += self.client.ask(now)
        self._due_at = min(self.node.next_deadline(), self.client.next_deadline(), self.traffic.due_at)
        return effects
