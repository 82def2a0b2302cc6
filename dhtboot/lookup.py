"""One iterative lookup: whom to ask next, and when it is over. Pure bookkeeping, shared by every user of an overlay.

The contacts stand in one list sorted by distance to the target. Up to `alpha` requests are under way; a late peer no
longer counts as under way, so its silence costs one timeout, not the whole lookup. It is over when the `width` closest
contacts that did not fail have answered.
"""

from enum import Enum
from typing import Final

import msgspec

from dhtboot.ids import PREFIX_SHIFT, NodeRef

CANDIDATES_PER_WIDTH: Final = 8
CANDIDATES_MIN: Final = 32
"""Contacts remembered in one lookup, the closest: so many that most may turn out dead. No more, since each joining node
has a dozen lookups under way."""

REQUESTS_MAX: Final = 256
"Requests of one lookup, five times what it takes among 10^6 nodes: liars may invent closer contacts without end."


class State(Enum):
    """What became of a contact."""

    NEW = "new"
    ASKED = "asked"
    LATE = "late"
    ANSWERED = "answered"
    FAILED = "failed"


_NEW: Final = State.NEW
_ASKED: Final = State.ASKED
_LATE: Final = State.LATE
_ANSWERED: Final = State.ANSWERED
_FAILED: Final = State.FAILED
"Under names of their own: looking up a member costs as much as the rest of a step."


class Step(msgspec.Struct, frozen=True):
    """One contact of a finished lookup, for `explain`."""

    node: NodeRef
    hops: int
    "Replies between us and this contact: 1 for one that we knew."
    state: State


class LookupResult:
    """How a lookup ended; worked out when it is asked for, since most users want a part of it.

    Args:
        nodes: the contacts, closest first.
        hops: of each, the replies between us and it.
        states: what became of each.
        width: closest contacts that should have answered.
        requests: sent in all.
    """

    __slots__ = ("_hops", "_nodes", "_states", "_width", "requests")

    def __init__(
        self, nodes: list[NodeRef], hops: list[int], states: list[State], *, width: int, requests: int
    ) -> None:
        self._nodes = nodes
        self._hops = hops
        self._states = states
        self._width = width
        self.requests = requests

    @property
    def answered(self) -> tuple[NodeRef, ...]:
        """Contacts that answered, closest first."""
        return tuple([node for at, node in enumerate(self._nodes) if self._states[at] is _ANSWERED])

    @property
    def closest(self) -> tuple[NodeRef, ...]:
        """Contacts that did not fail, asked or not, closest first; who needs them alive has to try."""
        return tuple([node for at, node in enumerate(self._nodes) if self._states[at] is not _FAILED])

    @property
    def first(self) -> Step | None:
        """The closest contact that answered."""
        for at, state in enumerate(self._states):
            if state is _ANSWERED:
                return self._step(at)
        return None

    @property
    def hops(self) -> int:
        """Longest chain of replies behind one of the answered `width` closest."""
        answered = [hops for at, hops in enumerate(self._hops) if self._states[at] is _ANSWERED]
        return max(answered[: self._width], default=0)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All contacts asked, and what became of them."""
        return tuple([self._step(at) for at, state in enumerate(self._states) if state is not _NEW])

    def _step(self, at: int) -> Step:
        return Step(self._nodes[at], self._hops[at], self._states[at])


class Lookup:
    """State of one lookup.

    The contacts stand in one list, and what there is to know about each at the same place of others: an object for each
    of them would have to be made, and to be fetched from memory with each answer.

    Args:
        target: identifier looked for.
        me: own identifier, which replies may contain and which is never asked.
        alpha: requests under way at once.
        width: closest contacts that must have answered at the end.

    Attributes:
        patient: whether late contacts are waited for at the end, until they answer or fail.
        over: whether nothing is left to do.
    """

    __slots__ = (
        "_alpha",
        "_candidates_max",
        "_handed_out",
        "_hops",
        "_me",
        "_my_prefix",
        "_nodes",
        "_prefix",
        "_requests",
        "_states",
        "_under_way",
        "_width",
        "over",
        "patient",
        "target",
    )

    def __init__(self, target: int, *, me: int, alpha: int, width: int) -> None:
        self.target = target
        self._prefix = target >> PREFIX_SHIFT
        self._me = me
        self._my_prefix = me >> PREFIX_SHIFT
        self._alpha = alpha
        self._width = width
        self._candidates_max = max(CANDIDATES_MIN, CANDIDATES_PER_WIDTH * width)
        self._nodes: list[NodeRef] = []  # closest first
        self._hops: list[int] = []
        self._states: list[State] = []
        self._handed_out = False
        self._under_way = 0
        self._requests = 0
        self.patient = False
        self.over = False

    def add(self, nodes: tuple[NodeRef, ...], *, hops: int = 1) -> None:
        """Take in contacts heard of, `hops` replies away."""
        if self._handed_out:  # a result stays as it is
            self._nodes, self._hops, self._states = self._nodes[:], self._hops[:], self._states[:]
            self._handed_out = False
        known, states = self._nodes, self._states
        at = 0
        for node in nodes:  # closest first, mostly: so the place of one is looked for from that of the one before
            at = self._place(node, at)
            if at < len(known) and _same(known[at], node):
                continue
            if at == self._candidates_max or (node.prefix == self._my_prefix and node.id == self._me):
                continue
            known.insert(at, node)
            self._hops.insert(at, hops)
            states.insert(at, _NEW)
            if len(known) > self._candidates_max:
                self._forget_farthest()

    def _place(self, node: NodeRef, at: int) -> int:
        """Where a contact stands by its distance to the target, or belongs; `at` is a place to look from."""
        known = self._nodes
        prefix = self._prefix
        near = node.prefix ^ prefix
        if at and known[at - 1].prefix ^ prefix >= near:
            at = 0
        count = len(known)
        while at < count and known[at].prefix ^ prefix < near:
            at += 1
        while at < count and known[at].prefix == node.prefix and known[at] is not node:
            if known[at].id ^ self.target >= node.id ^ self.target:
                break
            at += 1
        return at

    def _find(self, node: NodeRef) -> int:
        """Where a contact stands, -1 when it is unknown."""
        at = self._place(node, 0)
        known = self._nodes
        return at if at < len(known) and _same(known[at], node) else -1

    def _forget_farthest(self) -> None:
        # Nobody waits for it any more; being the farthest for good, it does not come back.
        self._nodes.pop()
        self._hops.pop()
        if self._states.pop() is _ASKED:
            self._under_way -= 1

    def next_to_ask(self) -> list[NodeRef]:
        """Contacts to ask now; they count as asked. Marks the lookup as over when nothing is left to do."""
        chosen: list[NodeRef] = []
        live = 0
        answered = 0
        late = False
        for at, state in enumerate(self._states):
            if live >= self._width:
                break
            if state is _FAILED:
                continue
            live += 1
            if state is _ANSWERED:
                answered += 1
            elif state is _LATE:
                live -= 1  # look one contact further meanwhile
                late = True
            elif state is _NEW and self._under_way < self._alpha and self._requests < REQUESTS_MAX:
                self._states[at] = _ASKED
                self._under_way += 1
                self._requests += 1
                chosen.append(self._nodes[at])
        # With fewer answers than wanted, a late contact is waited for in any case.
        waiting = late and (self.patient or live < self._width)
        complete = answered == live or self._requests >= REQUESTS_MAX
        if not chosen and self._under_way == 0 and complete and not waiting:
            self.over = True
        return chosen

    def answered(self, node: NodeRef, nodes: tuple[NodeRef, ...]) -> None:
        """Take in the reply of a contact."""
        at = self._leave(node, _ANSWERED)
        self.add(nodes, hops=1 if at < 0 else self._hops[at] + 1)

    def failed(self, node: NodeRef) -> None:
        """A contact counts as dead."""
        self._leave(node, _FAILED)

    def late(self, node: NodeRef) -> None:
        """A contact did not answer within its usual time; the next one may be asked meanwhile."""
        at = self._find(node)
        if at >= 0 and self._states[at] is _ASKED:
            self._leave(node, _LATE)

    def _leave(self, node: NodeRef, state: State) -> int:
        """Give a contact its new state; return its place, -1 when it is unknown or was done with before."""
        at = self._find(node)
        former = _FAILED if at < 0 else self._states[at]
        if former is _ANSWERED or former is _FAILED:
            return -1
        if former is _ASKED:
            self._under_way -= 1
        self._states[at] = state
        return at

    def result(self) -> LookupResult:
        """The outcome so far."""
        self._handed_out = True
        return LookupResult(self._nodes, self._hops, self._states, width=self._width, requests=self._requests)


def _same(known: NodeRef, node: NodeRef) -> bool:
    """Whether two contacts are of one identifier."""
    return known is node or (known.prefix == node.prefix and known.id == node.id)
