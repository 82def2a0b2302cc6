"""How a node becomes part of the ring: a table of steps, and both sides of a JOIN (thesis sections 2.4.1, 2.4.3)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.fingers import FingerTable
from dhtboot.chord.messages import LIST_MAX, JoinReply, JoinRequest, Leaving, NewSuccessorHint
from dhtboot.chord.outcome import OnOutcome, Outcome
from dhtboot.chord.ring import clockwise
from dhtboot.chord.stabilize import Neighbours
from dhtboot.effects import Effect, Joined, JoinFailed
from dhtboot.ids import Address, NodeRef
from dhtboot.rpc import REQUEST_ID_BITS

HOPS_MAX: Final = 64
"Times that a JOIN is passed on: in a mass arrival many come in at one place before the nodes behind it hear of them."

FAR_HOPS: Final = 4
"""From then on a JOIN is not passed back node by node: in a mass arrival there are too many for the 5 s that a joiner
waits. Before, it is, for who has come in lately is near, and a predecessor is watched more closely than a finger."""

AGAIN_S: Final = 0.5
"A JOIN is not repeated sooner, whoever asks us meanwhile."

HELD_MAX: Final = 64
"JOINs that wait for our own answer: all that come to one place in the seconds it may take, at ten a second and more."


class Phase(Enum):
    """Where the node stands with the ring."""

    NEW = "new"
    JOINING = "joining"
    "A JOIN is on its way."
    JOINED = "joined"
    "READY: it routes, and lets others in."
    LEFT = "left"


class JoinInput(Enum):
    """What can happen to a joining node."""

    ALONE = "alone"
    "Started without contacts."
    CONTACTS = "contacts"
    "Given contacts."
    ACCEPTED = "accepted"
    "The node responsible for our identifier has answered."
    UNANSWERED = "unanswered"
    "No answer within the time for one JOIN."
    ISOLATED = "isolated"
    "Every known node is dead."
    LEAVE = "leave"
    TOLD = "told"
    "Another host that stands for the same node tells its neighbours."


class JoinAction(Enum):
    """What the node does on a step."""

    NONE = "none"
    SEND_JOIN = "send_join"
    REPORT = "report"
    SAY_GOODBYE = "say_goodbye"
    FOLLOW = "follow"


TRANSITIONS: Final[Mapping[tuple[Phase, JoinInput], tuple[Phase, JoinAction]]] = {
    (Phase.NEW, JoinInput.ALONE): (Phase.JOINED, JoinAction.REPORT),
    (Phase.NEW, JoinInput.CONTACTS): (Phase.JOINING, JoinAction.SEND_JOIN),
    # Another contact, after the first did not help.
    (Phase.JOINING, JoinInput.CONTACTS): (Phase.JOINING, JoinAction.SEND_JOIN),
    (Phase.JOINING, JoinInput.ACCEPTED): (Phase.JOINED, JoinAction.REPORT),
    (Phase.JOINING, JoinInput.UNANSWERED): (Phase.JOINING, JoinAction.SEND_JOIN),
    (Phase.JOINED, JoinInput.ISOLATED): (Phase.JOINING, JoinAction.SEND_JOIN),
    (Phase.NEW, JoinInput.TOLD): (Phase.JOINED, JoinAction.FOLLOW),
    (Phase.JOINING, JoinInput.TOLD): (Phase.JOINED, JoinAction.FOLLOW),
    (Phase.JOINED, JoinInput.LEAVE): (Phase.LEFT, JoinAction.SAY_GOODBYE),
    (Phase.JOINING, JoinInput.LEAVE): (Phase.LEFT, JoinAction.NONE),
    (Phase.NEW, JoinInput.LEAVE): (Phase.LEFT, JoinAction.NONE),
}
"A pair that is not listed changes nothing: a second answer to a JOIN, say."


class _HeldJoin(NamedTuple):
    """A JOIN that waits for our own answer."""

    joiner: NodeRef
    hops: int
    request_id: int
    sender: NodeRef
    since: float


class Joinable(Protocol):
    """What joining needs of its node."""

    id: int
    client: bool
    counters: Counter[str]
    neighbours: Neighbours
    fingers: FingerTable

    def is_responsible(self, target: int) -> bool:
        """Whether this node believes that `target` is its own."""

    def lookup(self, target: int, now: float, *, on_done: OnOutcome) -> None:
        """Look for the node responsible for `target`."""

    def look_around(self, known: Iterable[NodeRef], on_outcome: OnOutcome, now: float) -> None:
        """Ask some nodes who follows this one."""

    def send(self, to: Address, request_id: int, message: Any) -> None:
        """Send one packet."""

    def emit(self, effect: Effect) -> None:
        """Tell the driver."""

    def on_joined(self, now: float, *, told: bool = False) -> None:
        """The node routes from now on; `told` if another host of it has done what there is to do at once."""

    def on_parted(self) -> None:
        """It does not any more."""


class Joining:
    """Both sides of a JOIN at one node.

    Attributes:
        phase: where the node stands.
        due_at: when to call `tick`.
    """

    __slots__ = (
        "_config",
        "_contacts",
        "_held",
        "_join_id",
        "_joins_sent",
        "_let_in_before",
        "_node",
        "_passer",
        "_rng",
        "_sent_at",
        "due_at",
        "phase",
    )

    def __init__(self, node: Joinable, config: ChordConfig, rng: Random) -> None:
        self._node = node
        self._config = config
        self._rng = rng
        self._contacts: tuple[NodeRef, ...] = ()
        self._join_id = 0
        self._joins_sent = 0
        self._sent_at = -math.inf
        self._passer: NodeRef | None = None
        "Who has us for his predecessor, though we have not heard so."
        self._let_in_before: tuple[int, NodeRef | None] = (-1, None)
        "The last joiner that has become our predecessor, and the one before."
        self._held: dict[int, _HeldJoin] = {}
        "By joiner: passed to us as a part of the ring before we have heard that we are one."
        self.phase = Phase.NEW
        self.due_at = math.inf

    # ---- the joiner ----------------------------------------------------------------------------------------------

    def join(self, contacts: Iterable[NodeRef], now: float) -> None:
        """Join through the first contact that helps; alone when there are none."""
        self._contacts = tuple(contacts)
        self._joins_sent = 0
        self._node.neighbours.reunion.remember_entries(self._contacts, now)
        self._on_input(JoinInput.CONTACTS if self._contacts else JoinInput.ALONE, now)

    def tick(self, now: float) -> None:
        """A JOIN was not answered in time."""
        self._on_input(JoinInput.UNANSWERED, now)

    def on_isolated(self, now: float) -> None:
        """Nobody is left that we know: a new JOIN, or a ring of our own when we began it."""
        if self._contacts:
            self._contacts = self._node.neighbours.reunion.former
            self._on_input(JoinInput.ISOLATED, now)

    def follow(self, now: float) -> None:
        """Be part of the ring, since another host that stands for this node is."""
        self._on_input(JoinInput.TOLD, now)

    def leave(self) -> None:
        """Say goodbye."""
        self._on_input(JoinInput.LEAVE, math.inf)  # no step of it looks at the time

    def on_reply(self, successor: NodeRef, message: JoinReply, request_id: int, now: float) -> None:
        """`successor` has let us in."""
        if self.phase is not Phase.JOINING or request_id != self._join_id:
            self._node.counters["unexpected_responses"] += 1
            return
        predecessor = successor if message.alone else message.predecessor
        if self._config.join == "standard" or (predecessor is not None and predecessor.id == self._node.id):
            predecessor = None
        self._node.neighbours.enter(successor, message.successors, predecessor, now)
        self._on_input(JoinInput.ACCEPTED, now)

    def _on_input(self, event: JoinInput, now: float) -> None:
        self.phase, action = TRANSITIONS.get((self.phase, event), (self.phase, JoinAction.NONE))
        match action:
            case JoinAction.SEND_JOIN:
                self._send_join(event, now)
            case JoinAction.REPORT:
                self.due_at = math.inf
                self._joins_sent = 0
                self._node.on_joined(now)
                self._node.emit(Joined(len(self._node.neighbours.successors.nodes)))
                self._release(now)
            case JoinAction.FOLLOW:
                self.due_at = math.inf
                self._node.on_joined(now, told=True)
                self._release(now)
            case JoinAction.SAY_GOODBYE:
                self._say_goodbye()
        if self.phase is Phase.LEFT:
            self.due_at = math.inf
            self._held.clear()
            self._node.on_parted()

    def _send_join(self, event: JoinInput, now: float) -> None:
        isolated = event is JoinInput.ISOLATED
        if isolated or self._joins_sent == self._config.joins_per_contact:
            self._joins_sent = 0
            if not isolated:
                self._contacts = (*self._contacts[1:], self._contacts[0])
            self._node.emit(JoinFailed(self._config.join_retry_s))
        self._joins_sent += 1
        # A late answer to an earlier JOIN is as good as one to the last, by whichever contact it went.
        waits = event is JoinInput.CONTACTS and self._config.persistent and self._join_id
        if event is not JoinInput.UNANSWERED and not waits:
            self._passer = None
            self._join_id = self._rng.getrandbits(REQUEST_ID_BITS) or 1
        self.due_at = now + self._config.join_retry_s
        if isolated:
            self._node.on_parted()
        self._sent_at = now
        if self._node.client:
            self._node.look_around(self._contacts[:1], self._on_looked_around, now)
        else:
            self._node.send(self._contacts[0].address, self._join_id, JoinRequest(None, 0))

    def _on_looked_around(self, outcome: Outcome, now: float) -> None:
        """A client is in when it knows whom to ask."""
        if self.phase is Phase.JOINING and not outcome.failed:
            self._node.neighbours.follow(None, outcome.closest, now)
            self._on_input(JoinInput.ACCEPTED, now)

    def on_asked(self, now: float, sender: NodeRef | None = None) -> None:
        """Somebody takes us for a part of the ring: we were let in, but the answer was lost. Ask again at once.

        Args:
            now: the time.
            sender: who passes on a JOIN to us, as one who has us for his predecessor does. He need not be looked for,
                and where others in our state lie in between, our JOIN would not come to him by way of our contact.
        """
        if self.phase is not Phase.JOINING or self._node.client:
            return
        if sender is not None and self._config.persistent:
            self._passer = sender
        if now >= self._sent_at + AGAIN_S:
            self._sent_at = now
            asked = self._passer or self._contacts[0]
            self._node.send(asked.address, self._join_id, JoinRequest(None, 0))

    def _say_goodbye(self) -> None:
        predecessor, successors = self._node.neighbours.predecessor, self._node.neighbours.successors.nodes
        farewell = Leaving(predecessor, successors[: LIST_MAX - 1])
        for address in {node.address for node in (predecessor, *successors[:1]) if node is not None}:
            self._node.send(address, 0, farewell)

    # ---- whoever lets it in --------------------------------------------------------------------------------------

    def on_request(self, joiner: NodeRef, hops: int, request_id: int, now: float, sender: NodeRef) -> None:
        """Let a joiner in, or pass it on to the node responsible for its identifier."""
        node = self._node
        if self.phase is not Phase.JOINED or joiner.id == node.id:
            if joiner.id == node.id or not self._hold(_HeldJoin(joiner, hops, request_id, sender, now)):
                node.counters["joins_dropped"] += 1  # the joiner tries again by itself
            self.on_asked(now, sender if hops > 1 else None)
            return
        predecessor = node.neighbours.predecessor
        again = predecessor is not None and predecessor.id == joiner.id  # our first answer was lost
        # The standard join is a lookup of the successor, which is not asked whether it agrees (Chord figure 6).
        found = hops > 0 and self._config.join == "standard"
        # Without a predecessor we do not know what is ours, but nobody else does whom this JOIN could be passed to.
        orphan = self._config.persistent and predecessor is None and hops > 0
        if again or found or orphan or node.is_responsible(joiner.id):
            self._let_in(joiner, request_id, now)
        elif not hops:
            node.lookup(joiner.id, now, on_done=partial(self._on_routed, joiner, request_id))
        elif predecessor is not None and hops < HOPS_MAX:
            # Whoever took us for responsible had not heard of those that came in before us: the place is among them.
            node.send(self._way_back(joiner.id, predecessor, hops).address, request_id, JoinRequest(joiner, hops + 1))
        else:
            node.counters["joins_dropped"] += 1

    def _way_back(self, joiner_id: int, predecessor: NodeRef, hops: int) -> NodeRef:
        """To whom a JOIN that came too far is passed: of all that we know the one that follows its place closest."""
        if hops < FAR_HOPS or not self._config.persistent:
            return predecessor
        known = (predecessor, *self._node.neighbours.successors.nodes, *self._node.fingers.nodes)
        others = [node for node in known if node.id != joiner_id]
        return min(others, key=lambda node: clockwise(joiner_id, node.id))

    def _hold(self, join: _HeldJoin) -> bool:
        """Keep a JOIN until we are in: whoever let us in takes us for a part of the ring before we hear of it.

        The experiments of the thesis leave it to the joiner, which is silent for 5 s then.
        """
        if not self._config.persistent or self.phase is not Phase.JOINING or self._node.client:
            return False
        if join.joiner.id not in self._held and len(self._held) >= HELD_MAX:
            return False
        self._held[join.joiner.id] = join
        self._node.counters["joins_held"] += 1
        return True

    def _release(self, now: float) -> None:
        """We are in: act on the JOINs that have waited, but for those that their joiners have sent again by now."""
        held, self._held = self._held, {}
        for join in held.values():
            if now < join.since + self._config.join_retry_s:
                self.on_request(join.joiner, join.hops, join.request_id, now, join.sender)

    def _on_routed(self, joiner: NodeRef, request_id: int, outcome: Outcome, now: float) -> None:
        if outcome.mine:
            self._let_in(joiner, request_id, now)
            return
        # The joiner's predecessor may have heard of it already, while its answer was lost.
        for node in outcome.closest:
            if node.id != joiner.id:
                self._node.send(node.address, request_id, JoinRequest(joiner, 1))
                return
        self._node.counters["joins_dropped"] += 1

    def _let_in(self, joiner: NodeRef, request_id: int, now: float) -> None:
        neighbours = self._node.neighbours
        former = neighbours.predecessor
        known = former
        if former is None or former.id != joiner.id:
            self._let_in_before = joiner.id, former
        else:  # who has missed our first answer gets the same again, but in the experiments of the thesis
            joined_id, before = self._let_in_before
            known = before if joined_id == joiner.id and self._config.persistent else None
        successors = neighbours.successors.nodes[: LIST_MAX - 1]
        self._node.send(joiner.address, request_id, JoinReply(known, neighbours.alone, successors))
        if self._config.join == "aggressive":
            replaced = neighbours.accept(joiner, now)
            if replaced is not None:
                self._node.send(replaced.address, 0, NewSuccessorHint(joiner))
        neighbours.begin_with(joiner, now)
