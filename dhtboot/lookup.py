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


_NEW, _ASKED, _LATE, _ANSWERED, _FAILED = State.NEW, State.ASKED, State.LATE, State.ANSWERED, State.FAILED
"Under names of their own: looking up a member costs as much as the rest of a step."


class Candidate:
    """A contact within a lookup."""

    __slots__ = ("hops", "node", "state")

    def __init__(self, node: NodeRef, hops: int) -> None:
        self.node = node
        self.hops = hops
        "Replies between us and this contact: 1 for one that we knew."
        self.state = _NEW


class Step(msgspec.Struct, frozen=True):
    """One contact of a finished lookup, for `explain`."""

    node: NodeRef
    hops: int
    state: State


class LookupResult:
    """How a lookup ended; worked out when it is asked for, since most users want a part of it."""

    __slots__ = ("_candidates", "_width", "requests")

    def __init__(self, candidates: list[Candidate], width: int, requests: int) -> None:
        self._candidates = candidates
        self._width = width
        self.requests = requests

    @property
    def answered(self) -> tuple[NodeRef, ...]:
        """Contacts that answered, closest first."""
        return tuple([c.node for c in self._candidates if c.state is _ANSWERED])

    @property
    def closest(self) -> tuple[NodeRef, ...]:
        """Contacts that did not fail, asked or not, closest first; who needs them alive has to try."""
        return tuple([c.node for c in self._candidates if c.state is not _FAILED])

    @property
    def first(self) -> Candidate | None:
        """The closest contact that answered, with the hops to it."""
        for candidate in self._candidates:
            if candidate.state is _ANSWERED:
                return candidate
        return None

    @property
    def hops(self) -> int:
        """Longest chain of replies behind one of the answered `width` closest."""
        answered = [c.hops for c in self._candidates if c.state is _ANSWERED]
        return max(answered[: self._width], default=0)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All contacts asked, and what became of them."""
        return tuple(Step(c.node, c.hops, c.state) for c in self._candidates if c.state is not _NEW)


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
        self._candidates_max = max(CANDIDATES_MIN, CANDIDATES_PER_WIDTH * width)
        self._by_distance: dict[int, Candidate] = {}
        self._distances: list[int] = []  # of the candidates, in order
        self._under_way = 0
        self._requests = 0
        self.patient = False
        self.over = False

    def add(self, nodes: Iterable[NodeRef], *, hops: int = 1) -> None:
        """Take in contacts heard of, `hops` replies away."""
        known, distances = self._by_distance, self._distances
        target, me = self.target, self._me
        for node in nodes:
            distance = node.id ^ target
            if distance in known or node.id == me:
                continue
            if len(distances) >= self._candidates_max:
                if distance > distances[-1]:
                    continue
                self._forget_farthest()
            known[distance] = Candidate(node, hops)
            insort(distances, distance)

    def _forget_farthest(self) -> None:
        # Nobody waits for it any more; being the farthest for good, it does not come back.
        if self._by_distance.pop(self._distances.pop()).state is _ASKED:
            self._under_way -= 1

    def next_to_ask(self) -> list[NodeRef]:
        """Contacts to ask now; they count as asked. Marks the lookup as over when nothing is left to do."""
        chosen: list[NodeRef] = []
        live = 0
        answered = 0
        late = False
        for distance in self._distances:
            if live >= self._width:
                break
            candidate = self._by_distance[distance]
            state = candidate.state
            if state is _FAILED:
                continue
            live += 1
            if state is _ANSWERED:
                answered += 1
            elif state is _LATE:
                live -= 1  # look one contact further meanwhile
                late = True
            elif state is _NEW and self._under_way < self._alpha and self._requests < REQUESTS_MAX:
                candidate.state = _ASKED
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
        candidate = self._leave(node, _ANSWERED)
        self.add(nodes, hops=1 if candidate is None else candidate.hops + 1)

    def failed(self, node: NodeRef) -> None:
        """A contact counts as dead."""
        self._leave(node, _FAILED)

    def late(self, node: NodeRef) -> None:
        """A contact did not answer within its usual time; the next one may be asked meanwhile."""
        candidate = self._by_distance.get(node.id ^ self.target)
        if candidate is not None and candidate.state is _ASKED:
            self._leave(node, _LATE)

    def _leave(self, node: NodeRef, state: State) -> Candidate | None:
        candidate = self._by_distance.get(node.id ^ self.target)
        if candidate is None or candidate.state in {_ANSWERED, _FAILED}:
            return None
        if candidate.state is _ASKED:
            self._under_way -= 1
        candidate.state = state
        return candidate

    def result(self) -> LookupResult:
        """The outcome so far."""
        return LookupResult([self._by_distance[distance] for distance in self._distances], self._width, self._requests)
