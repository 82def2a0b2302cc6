"""One iterative lookup under way: a node at a time, next hop from the last answer (thesis section 2.4.1)."""

from collections.abc import Iterable
from typing import Any, Final

from dhtboot.chord.messages import AVOID_MAX, LIST_MAX, FindSuccessor, Step, Successors
from dhtboot.chord.outcome import FAILED, OnOutcome, Outcome
from dhtboot.chord.ring import between, clockwise
from dhtboot.chord.router import Router
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.rpc import Asker

MINE: Final = Step.MINE
HOPS: Final = Step.HOPS
SUCCESSORS: Final = Step.SUCCESSORS
"Under names of their own: looking up a member costs as much as the rest of a step."


class Walk(Asker):
    """State of one lookup.

    Args:
        node: whose lookup it is.
        target: identifier looked for.
        hops_max: steps at most.
        persistent: whether a dead hop is gone around, and whether the responsible node is asked to confirm. The
            experiments of the thesis do neither: there a dead hop ends the lookup.
        finger: index of the finger that it fixes, -1 for any other lookup.
        on_outcome: who wants to know, None for a finger.
    """

    __slots__ = (
        "_at",
        "_confirming",
        "_failed",
        "_hops_max",
        "_last",
        "_node",
        "_persistent",
        "_request",
        "_spares",
        "_told",
        "finger",
        "hops",
        "on_outcome",
        "target",
    )

    def __init__(
        self,
        node: Router,
        target: int,
        *,
        hops_max: int,
        persistent: bool,
        finger: int = -1,
        on_outcome: OnOutcome | None = None,
    ) -> None:
        self._node = node
        self._at = node.id
        self._last: NodeRef | None = None
        self._request = FindSuccessor(id_bytes(target))  # the same for each hop
        self._hops_max = hops_max
        self._persistent = persistent
        self._spares: tuple[NodeRef, ...] = ()
        self._failed: tuple[NodeRef, ...] = ()
        self._told = 0
        self._confirming = False
        self.target = target
        self.finger = finger
        self.hops = 0
        self.on_outcome = on_outcome

    def take(self, answer: Successors, sender: NodeRef | None, now: float) -> None:
        """Go on with an answer; `sender` is None for what the own node knows."""
        step, nodes = answer.step, answer.nodes
        if step is MINE:
            if sender is None:
                self._end(Outcome(nodes, mine=True, failed=False, hops=0), now)
            else:
                self._end(Outcome((sender, *nodes), mine=False, failed=False, hops=self.hops), now)
        elif self._confirming and sender is not None:
            # Not its own, but what came between has not been heard of where we asked: it is next to the right one.
            self._end(Outcome((sender, *self._spares), mine=False, failed=False, hops=self.hops), now)
        elif step is HOPS:
            if sender is not None:
                self._at, self._last = sender.id, sender
            # Nodes before the target, closest first: what earlier hops offered is farther and waits behind.
            self._spares = nodes + self._spares if self._spares else nodes
            self.ask_next(now)
        elif self._persistent and nodes:
            self._confirming = True
            self._spares = nodes
            self.ask_next(now)
        else:
            self._end(Outcome(nodes, mine=False, failed=not nodes, hops=self.hops + 1), now)

    def ask_next(self, now: float) -> None:
        """Ask the best node that is closer than the last one that answered; without one the lookup has failed."""
        while self._spares and self.hops < self._hops_max:
            node = self._spares[0]
            self._spares = self._spares[1:]
            # Ever closer: so nobody is asked twice, and circles end.
            if self._confirming or (between(node.id, self._at, self.target) and node not in self._failed):
                self._ask(node, (), now)
                return
        if not self._persistent or self._confirming or self._told == len(self._failed) or self._told == AVOID_MAX:
            self._end(FAILED, now)
            return
        self._told = min(len(self._failed), AVOID_MAX)
        if self._last is None:
            self.take(self._node.next_step(self.target), None, now)  # which does not know the dead nodes any more
        else:
            self.hops -= 1
            self._ask(self._last, tuple([id_bytes(dead.id) for dead in self._failed[:AVOID_MAX]]), now)

    def _ask(self, node: NodeRef, avoid: tuple[bytes, ...], now: float) -> None:
        self.hops += 1
        request = FindSuccessor(self._request.target, avoid) if avoid else self._request
        self._node.call(node, request, now, self)

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        """A hop has answered."""
        if type(message) is Successors:
            self.take(message, node, now)
        else:  # not part of the ring
            self.on_fail(node, now)

    def on_fail(self, node: NodeRef, now: float) -> None:
        """A hop is dead, or not part of the ring."""
        self.hops -= 1  # the message will not pass that node
        self._failed = (*self._failed, node)
        if node == self._last:
            self._at, self._last = self._node.id, None
        self.ask_next(now)

    def _end(self, outcome: Outcome, now: float) -> None:
        self._node.on_walked(self, outcome, now)


def look_around(node: Router, known: Iterable[NodeRef], hops_max: int, on_outcome: OnOutcome, now: float) -> None:
    """Ask those that are known, the last ones on the way around the ring first, who follows a node."""
    around = sorted(known, key=lambda each: clockwise(node.id, each.id), reverse=True)
    walk = Walk(node, node.id, hops_max=hops_max, persistent=True, on_outcome=on_outcome)
    walk.take(Successors(tuple(around[:LIST_MAX]), HOPS), None, now)
