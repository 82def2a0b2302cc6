"""A peer: an overlay node, its client of the bootstrap server, and the test queries if there are any, as one core.

It needs nothing but the server's address: it asks for a contact, joins, and reports; when its JOINs fail it asks anew.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from dhtboot.bootstrap_client import BootstrapClient, OnContact
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.core import Core
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


class Peer(Core):
    """A node that joins by itself.

    Args:
        node: the overlay node.
        make_client: makes its client of the bootstrap server, given what to call with a contact.
        traffic: runs above the node.
    """

    __slots__ = ("_client_at", "_others_at", "_waiting", "client", "node", "traffic")

    def __init__(
        self, node: OverlayNode, make_client: Callable[[OnContact], BootstrapClient], traffic: Traffic
    ) -> None:
        self.node = node
        self.client = make_client(self._on_contact)
        self.traffic = traffic
        self._waiting: list[Effect] = []
        self._client_at = math.inf
        self._others_at = math.inf

    def start(self, now: float) -> list[Effect]:
        """Ask the server whom to join."""
        return self._after_client(self.client.ask(now))

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to the overlay and to the server."""
        return self.node.leave() + self._after_client(self.client.leave(now))

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        if type(packet) is BootstrapPacket:
            return self._after_client(self.client.receive(packet, source, now))
        return self.node.receive(packet, source, now)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects = self.node.tick(now) if self.node.next_deadline() <= now else []
        if self._others_at <= now:
            if self.traffic.due_at <= now:
                self.traffic.tick(now)
                effects += self.node.collect()
                self._others_at = min(self._client_at, self.traffic.due_at)
            if self._client_at <= now:
                effects += self._after_client(self.client.tick(now))
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        due_at = self.node.next_deadline()
        return due_at if due_at < self._others_at else self._others_at  # noqa: FURB136 - min() costs three times that

    def on_event(self, effect: Effect, now: float) -> list[Effect]:
        """What follows from an effect that is no packet; the driver hands each of them here."""
        if type(effect) is Joined:
            self.traffic.joined = True
            return self._after_client(self.client.report(now))
        if type(effect) is JoinFailed:
            self.traffic.joined = False
            return self._after_client(self.client.ask(now))
        return []

    def _on_contact(self, contact: NodeRef | None, now: float) -> None:
        if self.traffic.due_at == math.inf:
            self.traffic.start(now)
        self._waiting += self.node.join([] if contact is None else [contact], now)

    def _after_client(self, effects: list[Effect]) -> list[Effect]:
        """The client's effects, and those of the node that it has given a contact."""
        self._client_at = self.client.next_deadline()
        self._others_at = min(self._client_at, self.traffic.due_at)
        if self._waiting:
            effects = effects + self._waiting
            self._waiting = []
        return effects
