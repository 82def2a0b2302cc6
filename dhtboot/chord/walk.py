"""One iterative lookup under way: a node at a time, next hop from the last answer (thesis section 2.4.1)."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from dhtboot.chord.messages import FindSuccessor, Step, Successors
from dhtboot.chord.ring import between
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.rpc import OnReply, OnSilence


class Outcome(msgspec.Struct, frozen=True):
    """How a lookup ended."""

    closest: tuple[NodeRef, ...]
    "The responsible node and its successors; empty when it failed, or when `mine` and the successors are unknown."
    mine: bool
    "The asker itself is responsible; `closest` are its successors."
    failed: bool
    hops: int
    "Steps from the asker to the responsible node: 0 when it is the asker."


FAILED = Outcome((), mine=False, failed=True, hops=0)

OnOutcome = Callable[[Outcome, float], None]


class Walker(Protocol):
    """What a walk needs of its node."""

    id: int

    def call(self, node: NodeRef, request: Any, now: float, on_reply: OnReply, on_fail: OnSilence) -> None:
        """Send a request and wait for its response."""

    def on_walked(self, walk: "Walk", outcome: Outcome, now: float) -> None:
        """A walk has ended."""


class Walk:
    """State of one lookup.

    Attributes:
        finger: index of the finger that it fixes, -1 for any other lookup.
        on_outcome: who wants to know, None for a finger.
    """

    __slots__ = ("_at", "_hops_max", "_node", "_spares", "finger", "hops", "on_outcome", "target")

    def __init__(
        self, node: Walker, target: int, *, hops_max: int, finger: int = -1, on_outcome: OnOutcome | None = None
    ) -> None:
        self._node = node
        self._at = node.id
        self._hops_max = hops_max
        self._spares: tuple[NodeRef, ...] = ()
        self.target = target
        self.finger = finger
        self.hops = 0
        self.on_outcome = on_outcome

    def take(self, answer: Successors, sender: NodeRef | None, now: float) -> None:
        """Go on with an answer; `sender` is None for what the own node knows."""
        if sender is not None:
            self._at = sender.id
        if answer.step is Step.HOPS:
            # Nodes before the target, closest first: what earlier hops offered is farther and waits behind.
            self._spares = answer.nodes + self._spares if self._spares else answer.nodes
            self.ask_next(now)
            return
        mine = answer.step is Step.MINE
        if mine and sender is not None:
            self._end(Outcome((sender, *answer.nodes), mine=False, failed=False, hops=self.hops), now)
        else:
            hops = 0 if mine else self.hops + 1
            self._end(Outcome(answer.nodes, mine=mine, failed=not (answer.nodes or mine), hops=hops), now)

    def ask_next(self, now: float) -> None:
        """Ask the best node that is closer than the last one that answered; without one the lookup has failed."""
        while self._spares and self.hops < self._hops_max:
            node = self._spares[0]
            self._spares = self._spares[1:]
            if between(node.id, self._at, self.target):  # so nobody is asked twice, and circles end
                self.hops += 1
                self._node.call(node, FindSuccessor(id_bytes(self.target)), now, self._on_reply, self._on_fail)
                return
        self._end(FAILED, now)

    def _on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        if type(message) is Successors:
            self.take(message, node, now)
        else:  # not part of the ring
            self._on_fail(node, now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self.hops -= 1  # the message will not pass that node
        self.ask_next(now)

    def _end(self, outcome: Outcome, now: float) -> None:
        self._node.on_walked(self, outcome, now)
