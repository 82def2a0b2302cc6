"""STABILIZE and NOTIFY: keep successor and predecessor right (Chord section 5.1, thesis section 2.4.1)."""

import math
from collections.abc import Iterable
from random import Random
from typing import Any, Final, Protocol

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import LIST_MAX, Notified, Notify, Ping, Pong, Predecessor, Stabilize
from dhtboot.chord.outcome import OnOutcome, Outcome
from dhtboot.chord.periods import Period
from dhtboot.chord.reunion import Reunion
from dhtboot.chord.ring import between, between_or_at_end
from dhtboot.chord.successors import SuccessorList
from dhtboot.ids import NodeRef
from dhtboot.rpc import Asker, Then, ignore_silence

DISBELIEF_S: Final = 3.0
"""What others say of a neighbour that was found dead is not believed for so long, and after each time that it is found
dead again four times as long; its own word is. Each node copies the list of its successor, so that the dead would go
round and round a small ring. The successor, whose predecessor it is said to be, is believed once at once."""
DISBELIEF_MAX_S: Final = 192.0

STEPS_MAX: Final = 32
"""Nearer successors that are asked in one round, one after the other, without waiting for the next one; then whoever
names ever nearer ones has to wait. After a mass arrival a successor may be that many nodes too far; a period each for
them would be minutes. The experiments of the thesis take one step in a period."""


class Stabilized(Protocol):
    """What stabilising needs of its node."""

    client: bool
    joined: bool

    def look_around(self, known: Iterable[NodeRef], on_outcome: OnOutcome, now: float) -> None:
        """Ask some nodes who follows this one."""

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker) -> None:
        """Send a request and wait for its response."""

    def on_neighbours_changed(self, now: float) -> None:
        """Predecessor or successors are others than before."""

    def nearest_finger(self, but: int) -> NodeRef | None:
        """The known node that follows closest, apart from the successor list and the node of identifier `but`."""

    def on_isolated(self, now: float) -> None:
        """No other node is known any more."""


class Neighbours:
    """Predecessor and successors of one node, and what keeps them right.

    Attributes:
        predecessor: the node before this one, None while unknown.
        successors: the nodes after it.
        reunion: looks for nodes of another ring.
    """

    __slots__ = (
        "_config",
        "_dead",
        "_failed",
        "_me",
        "_node",
        "_period",
        "_predecessor_heard",
        "_refused",
        "_rng",
        "_steps_left",
        "_steps_max",
        "due_at",
        "predecessor",
        "reunion",
        "successors",
    )

    def __init__(self, node: Stabilized, me: int, config: ChordConfig, rng: Random) -> None:
        self._node = node
        self._me = me
        self._config = config
        self._rng = rng
        self._period = Period(config.stabilize_min_s, config.stabilize_max_s, config.stabilize_quiet_s, config, rng)
        self._failed: NodeRef | None = None
        self._refused: NodeRef | None = None
        self._predecessor_heard = False
        self._steps_max = STEPS_MAX if config.persistent else 0
        self._steps_left = 0
        self._dead: dict[int, tuple[float, int]] = _NOBODY
        self.reunion = Reunion(node, me, self, config, rng)
        self.predecessor: NodeRef | None = None
        self.successors = SuccessorList(me, config.successors)
        self.due_at = math.inf
        "When to call `tick`."

    @property
    def alone(self) -> bool:
        """Whether this node is a ring of its own."""
        return self.predecessor is None and not self.successors.nodes

    def precede(self, identifier: int) -> bool:
        """Whether `identifier` lies between the predecessor and this node; not while the predecessor is unknown."""
        predecessor = self.predecessor
        return predecessor is not None and between_or_at_end(identifier, predecessor.id, self._me)

    # ---- time ----------------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Stabilise at once, and then once in each period."""
        self._period.reset()
        self.due_at = now

    def stop(self) -> None:
        """Stand still: this node is not part of the ring."""
        self.due_at = math.inf
        self.predecessor = None
        self.successors.clear()

    def doubt(self) -> None:
        """Ask the predecessor for a sign of life in the next round, whatever was heard."""
        self._predecessor_heard = False

    def tick(self, now: float) -> None:
        """One round: see whether the predecessor lives, ask the successor for its predecessor, look for other rings.

        A client is nobody's neighbour, and only sees who would follow it.
        """
        self.due_at = now + self._period.next()
        if self._node.client:
            self._node.look_around(self.successors.nodes, self._on_looked_around, now)
            return
        predecessor = self.predecessor
        if predecessor is not None and not self._predecessor_heard:
            # Periods are not in step, so a silent one is asked before it is declared dead.
            self._node.call(predecessor, Ping(), now, Then(self._on_pong, ignore_silence))
        self._predecessor_heard = False
        self._steps_left = self._steps_max
        successor = self.successors.first
        if successor is not None:
            self._node.call(successor, Stabilize(), now, Then(self._on_stabilized, ignore_silence))
        self.reunion.tick(now)

    # ---- what others say -----------------------------------------------------------------------------------------

    def on_stabilize(self, asker: int) -> Predecessor:
        """Answer a successor's question; it is a sign of life when our predecessor asks."""
        if self.predecessor is not None and self.predecessor.id == asker:
            self._predecessor_heard = True
        return Predecessor(self.predecessor)

    def on_notify(self, node: NodeRef, failed: NodeRef | None, now: float) -> Notified:
        """`node` takes us for its successor: believe it if nothing we know stands between."""
        self._lives(node)
        predecessor = self.predecessor
        if node.id != self._me and (
            predecessor is None
            or between(node.id, predecessor.id, self._me)
            or (failed is not None and failed == predecessor)
        ):
            self.predecessor = node
            self._predecessor_heard = True
            self.begin_with(node, now)
            self.changed(now)
        elif predecessor is not None and predecessor.id == node.id:
            self._predecessor_heard = True
        return Notified(self.successors.nodes[: LIST_MAX - 1])

    def begin_with(self, node: NodeRef, now: float) -> None:
        """A node alone takes the first that comes for its successor: two nodes are a ring."""
        if not self.successors.nodes:
            self.successors.add(node)
            self.changed(now)

    def on_hint(self, node: NodeRef, now: float) -> None:
        """Our successor has let `node` in before itself; the hint may overtake the answer to our own JOIN."""
        self._lives(node)
        if node.id != self._me and self._lies_before_successor(node):
            self.successors.add(node)
            self.changed(now)

    def accept(self, joiner: NodeRef, now: float) -> NodeRef | None:
        """Take a joiner as predecessor at once (aggressive join); return the one that it replaces."""
        self._lives(joiner)
        former = self.predecessor
        self.predecessor = joiner
        self._predecessor_heard = True
        self.changed(now)
        return None if former is None or former.id == joiner.id else former

    def enter(self, successor: NodeRef, others: tuple[NodeRef, ...], predecessor: NodeRef | None, now: float) -> None:
        """Take the place before `successor`, which has let us in."""
        for node in (successor, *others):
            self.successors.add(node)
        self.predecessor = predecessor
        self._predecessor_heard = True
        self.changed(now)
        self.start(now)

    def follow(self, predecessor: NodeRef | None, successors: Iterable[NodeRef], now: float) -> None:
        """Have these from now on: another host that stands for the same node has found them."""
        found = tuple(successors)
        if predecessor == self.predecessor and found == self.successors.nodes:
            return
        self.predecessor = predecessor
        self._predecessor_heard = True
        self.successors.clear()
        for node in found:
            self.successors.add(node)
        self.changed(now)

    def is_successor(self, identifier: int) -> bool:
        """Whether that node is our successor."""
        first = self.successors.first
        return first is not None and first.id == identifier

    def on_met(self, node: NodeRef, now: float) -> bool:
        """A node of some ring has shown itself; True when it has become our successor."""
        self._lives(node)
        if node.id == self._me or not self._lies_before_successor(node):
            return False
        self.successors.add(node)
        self.due_at = now
        self.changed(now)
        return True

    def on_leaving(
        self, node: NodeRef, predecessor: NodeRef | None, successors: tuple[NodeRef, ...], now: float
    ) -> None:
        """A neighbour goes: its neighbours on the other side are ours now."""
        if self.successors.first == node:
            self.successors.remove(node.id)
            for other in self._believed(successors, now):
                self.successors.add(other)
            self._failed = node
            self.due_at = now
            self.changed(now)
        if self.predecessor == node:
            self.predecessor = None if predecessor is None or predecessor.id == self._me else predecessor
            self.changed(now)
        if self.successors.remove(node.id):
            self.changed(now)

    def on_dead(self, node: NodeRef, now: float) -> None:
        """A node does not answer."""
        first = self.successors.first
        if self.predecessor == node:
            self._remember(node, now)
            self.predecessor = None
            self.changed(now)
        if node not in self.successors.nodes:
            return
        self._remember(node, now)
        self.successors.remove(node.id)
        if not self.successors.nodes:
            substitute = self._substitute(node)
            if substitute is None:
                self._node.on_isolated(now)
                return
            self.successors.add(substitute)
        if first == node:
            self._failed = node
            self.due_at = now
        self.changed(now)

    def changed(self, now: float) -> None:
        """Something is new: look more often again."""
        self._period.reset()
        self.due_at = min(self.due_at, now + self._period.longest_s)
        self._node.on_neighbours_changed(now)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _lies_before_successor(self, node: NodeRef) -> bool:
        first = self.successors.first
        return first is None or between(node.id, self._me, first.id)

    def _on_looked_around(self, outcome: Outcome, now: float) -> None:
        if not outcome.failed:
            self.follow(None, outcome.closest, now)

    def _on_stabilized(self, successor: NodeRef, message: Any, now: float) -> None:
        if type(message) is not Predecessor:
            self._on_refused(successor, now)
            return
        self._refused = None
        node = message.node
        if (
            node is not None
            and node.id != self._me
            and self._lies_before_successor(node)
            and (self._lives_perhaps(node, now) or self._dead[node.id][1] == 1)
        ):
            self.successors.add(node)
            self.changed(now)
            if self._steps_left:  # the nearest is notified, when it is found
                self._steps_left -= 1
                self._node.call(node, Stabilize(), now, Then(self._on_stabilized, ignore_silence))
                return
        first = self.successors.first
        if first is not None:
            failed, self._failed = self._failed, None
            self._node.call(first, Notify(failed), now, Then(self._on_notified, ignore_silence))

    def _on_refused(self, node: NodeRef, now: float) -> None:
        """The successor is not part of the ring, yet or any more; the second time in a row another one takes its place.

        Else one that has lost all others could not come back: its JOIN would be led to itself.
        """
        again = self._refused == node
        self._refused = node
        if not again or node not in self.successors.nodes:
            return
        if len(self.successors.nodes) == 1:
            substitute = self._substitute(node)
            if substitute is None:
                return
            self.successors.add(substitute)
        self.successors.remove(node.id)
        self.due_at = now
        self.changed(now)

    def _substitute(self, node: NodeRef) -> NodeRef | None:
        """Who follows when `node`, the last of the successors, does not."""
        predecessor = self.predecessor
        finger = self._node.nearest_finger(node.id)
        return finger or (None if predecessor is None or predecessor.id == node.id else predecessor)

    def _on_notified(self, node: NodeRef, message: Any, now: float) -> None:
        if type(message) is Notified and self.successors.first == node:
            if self.successors.replace(node, self._believed(message.successors, now)):
                self.changed(now)
            else:
                self._period.calm()

    def _on_pong(self, node: NodeRef, message: Any, _now: float) -> None:
        if type(message) is Pong and self.predecessor == node:
            self._predecessor_heard = True

    def _remember(self, node: NodeRef, now: float) -> None:
        self.reunion.remember_lost(node, now)
        deaths = self._dead.get(node.id, (now, 0))[1] + 1
        disbelief_s = min(DISBELIEF_S * 4.0 ** (deaths - 1), DISBELIEF_MAX_S)
        dead = {lost.id: self._dead[lost.id] for lost in self.reunion.lost if lost.id in self._dead}
        self._dead = dead | {node.id: (now + disbelief_s, deaths)}

    def _believed(self, nodes: tuple[NodeRef, ...], now: float) -> tuple[NodeRef, ...]:
        """Those of whom it may be believed that they live, when others say so."""
        return tuple([node for node in nodes if self._lives_perhaps(node, now)]) if self._dead else nodes

    def _lives_perhaps(self, node: NodeRef, now: float) -> bool:
        """Whether it was not found dead lately, or has shown itself since."""
        found = self._dead.get(node.id)
        return found is None or found[0] <= now

    def _lives(self, node: NodeRef) -> None:
        """A node has shown itself."""
        if node.id in self._dead:
            del self._dead[node.id]


_NOBODY: Final[dict[int, tuple[float, int]]] = {}
"Of all nodes that have found nobody dead; it stays empty."
