"""One iterative lookup: whom to ask next, and when it is over. Pure bookkeeping, shared by every user of an overlay.

The contacts stand in one list sorted by distance to the target. Up to `alpha` requests are under way; a late peer no
longer counts as under way, so its silence costs one timeout, not the whole lookup. It is over when the `width` closest
contacts that did not fail have answered.
"""

from bisect import insort
from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from dhtboot.ids import NodeRef

CANDIDATES_MAX: Final = 256
"Contacts remembered in one lookup: many times the longest lists of honest peers; the farthest is forgotten first."

REQUESTS_MAX: Final = 256
"Requests of one lookup, five times what it takes among 10^6 nodes: liars may invent closer contacts without end."


class State(Enum):
    """What became of a contact."""

    NEW = "new"
    ASKED = "asked"
    LATE = "late"
    ANSWERED = "answered"
    FAILED = "failed"


class Candidate:
    """A contact within a lookup."""

    __slots__ = ("distance", "hops", "node", "state")

    def __init__(self, node: NodeRef, distance: int, hops: int) -> None:
        self.node = node
        self.distance = distance
        self.hops = hops
        "Replies between us and this contact: 1 for one that we knew."
        self.state = State.NEW

    def __lt__(self, other: "Candidate") -> bool:
        return self.distance < other.distance


class Step(msgspec.Struct, frozen=True):
    """One contact of a finished lookup, for `explain`."""

    node: NodeRef
    hops: int
    state: State


class LookupResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a lookup ended."""

    answered: tuple[NodeRef, ...]
    "Contacts that answered, closest first."
    closest: tuple[NodeRef, ...]
    "Contacts that did not fail, asked or not, closest first; who needs them alive has to try."
    hops: int
    "Longest chain of replies behind one of the answered `width` closest."
    requests: int
    steps: tuple[Step, ...]


class Lookup:
    """State of one lookup.

    Args:
        target: identifier looked for.
        me: own identifier, which replies may contain and which is never asked.
        alpha: requests under way at once.
        width: closest contacts that must have answered at the end.

    Attributes:
        patient: whether late contacts are waited for at the end, until they answer or fail.
        over: whether nothing is left to do.
    """

    def __init__(self, target: int, *, me: int, alpha: int, width: int) -> None:
        self.target = target
        self._me = me
        self._alpha = alpha
        self._width = width
        self._candidates: list[Candidate] = []
        self._known: dict[int, Candidate] = {}
        self._under_way = 0
        self._requests = 0
        self.patient = False
        self.over = False

    def add(self, nodes: Iterable[NodeRef], *, hops: int = 1) -> None:
        """Take in contacts heard of, `hops` replies away."""
        for node in nodes:
            if node.id == self._me or node.id in self._known:
                continue
            candidate = Candidate(node, node.id ^ self.target, hops)
            self._known[node.id] = candidate
            insort(self._candidates, candidate)
        while len(self._candidates) > CANDIDATES_MAX:
            self.late(self._candidates.pop().node)  # still known, so that a later reply does not bring it back

    def next_to_ask(self) -> list[NodeRef]:
        """Contacts to ask now; they count as asked. Marks the lookup as over when nothing is left to do."""
        chosen: list[NodeRef] = []
        live = 0
        answered = 0
        late = False
        for candidate in self._candidates:
            if live >= self._width:
                break
            state = candidate.state
            if state is State.FAILED:
                continue
            live += 1
            if state is State.ANSWERED:
                answered += 1
            elif state is State.LATE:
                live -= 1  # look one contact further meanwhile
                late = True
            elif state is State.NEW and self._under_way < self._alpha and self._requests < REQUESTS_MAX:
                candidate.state = State.ASKED
                self._under_way += 1
                self._requests += 1
                chosen.append(candidate.node)
        # With fewer answers than wanted, a late contact is waited for in any case.
        waiting = late and (self.patient or live < self._width)
        complete = answered == live or self._requests >= REQUESTS_MAX
        if not chosen and self._under_way == 0 and complete and not waiting:
            self.over = True
        return chosen

    def answered(self, node: NodeRef, nodes: Iterable[NodeRef]) -> None:
        """Take in the reply of a contact."""
        candidate = self._leave(node, State.ANSWERED)
        self.add(nodes, hops=1 if candidate is None else candidate.hops + 1)

    def failed(self, node: NodeRef) -> None:
        """A contact counts as dead."""
        self._leave(node, State.FAILED)

    def late(self, node: NodeRef) -> None:
        """A contact did not answer within its usual time; the next one may be asked meanwhile."""
        candidate = self._known.get(node.id)
        if candidate is not None and candidate.state is State.ASKED:
            self._leave(node, State.LATE)

    def _leave(self, node: NodeRef, state: State) -> Candidate | None:
        candidate = self._known.get(node.id)
        if candidate is None or candidate.state in {State.ANSWERED, State.FAILED}:
            return None
        if candidate.state is State.ASKED:
            self._under_way -= 1
        candidate.state = state
        return candidate

    def result(self) -> LookupResult:
        """The outcome so far."""
        answered = [c for c in self._candidates if c.state is State.ANSWERED]
        return LookupResult(
            answered=tuple(c.node for c in answered),
            closest=tuple(c.node for c in self._candidates if c.state is not State.FAILED),
            hops=max((c.hops for c in answered[: self._width]), default=0),
            requests=self._requests,
            steps=tuple(Step(c.node, c.hops, c.state) for c in self._candidates if c.state is not State.NEW),
        )
