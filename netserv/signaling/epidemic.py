"""Off-path: a request for the nodes around a place is told from node to node (thesis 7.5.2, appendix B).

No published format exists. Ours: each node tells the nodes that it knows, with a budget of IP hops. Who hears it takes
from the budget what the hop from the teller cost, measured by the TTL, acts on the request once, and tells it on while
something is left. A shorter way may arrive later than a longer one: a node that hears the same with more budget left
tells it on again, and acts no second time.

Answers come back the way the request went, and are pulled: a node asks each one that it has told again and again until
that one says that it and all behind it have answered. So a lost datagram of either direction is mended by the next
question, and nothing has to be acknowledged.
"""

import math
from enum import Enum
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import PackedAddress

Entry = TypeVar("Entry")

RADIUS_MAX: Final = 15
"IP hops; a budget over that is not around a place any more."


class EpidemicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times, in seconds."""

    first_pause_s: float = 1.0
    """Until a neighbour that has not answered is asked again; doubles with each time. What carries the question mends
    losses by itself, and tells at once where nobody listens: to ask again is for nodes that have started anew."""
    longest_pause_s: float = 4.0
    tries_max: int = 5
    "Questions to a neighbour that stays silent, which is given up after 15 s."
    patience_s: float = 15.0
    "For all neighbours behind a neighbour that does answer."
    memory_s: float = 60.0
    "A request is known for so long after it was heard last; one that comes later is a new one."
    rumours_max: int = 1_024
    "Requests in memory: at 60 s each, 17 new ones a second; further ones are refused."
    neighbours_max: int = 64
    "Told of one request: each hears from its own neighbours too."
    entries_max: int = 1_024
    "Answers gathered for one request, some 200 bytes each."

    def __post_init__(self) -> None:
        if (
            not 0.0 < self.first_pause_s <= self.longest_pause_s
            or self.tries_max < 1
            or self.memory_s < self.patience_s
        ):
            raise LocalProtocolError(
                "pauses grow, and a request is remembered for longer than its answers are waited for"
            )


class Act(msgspec.Struct, frozen=True):
    """Treat a request, for the first and only time; then call `Epidemic.acted`."""

    sid: bytes
    teller: PackedAddress


class Ask(msgspec.Struct, frozen=True):
    """Tell a neighbour the request, or ask it again for what it has gathered."""

    neighbour: PackedAddress
    sid: bytes
    request: bytes
    budget: int
    "IP hops left before this hop."


class Answer(msgspec.Struct, Generic[Entry], frozen=True):
    """Answer who has told or asked."""

    to: PackedAddress
    sid: bytes
    entries: tuple[Entry, ...]
    complete: bool
    "Nothing more is expected."


class Gathered(msgspec.Struct, Generic[Entry], frozen=True):
    """What this node, which began, has been answered so far."""

    sid: bytes
    entries: tuple[Entry, ...]
    complete: bool


class Outcome(Enum):
    """What was made of what came; each is counted."""

    NEW = "new"
    KNOWN = "known"
    OUT_OF_REACH = "out of reach"
    FULL = "full"
    OTHER_REQUEST = "other request under a known session"
    STRAY = "answer that nobody asked for"
    SILENT = "silent neighbour"


class _Neighbour:
    """One that was told."""

    __slots__ = ("budget", "complete", "due", "tries")

    def __init__(self, budget: int, due: float) -> None:
        self.budget = budget
        self.due = due
        self.tries = 1
        self.complete = False


class _Rumour(Generic[Entry]):
    """One request, as this node knows it."""

    __slots__ = (
        "acted",
        "budget",
        "entries",
        "expires",
        "patience_ends",
        "request",
        "said_complete",
        "spreads",
        "teller",
        "told",
    )

    def __init__(self, request: bytes, teller: PackedAddress | None, budget: int) -> None:
        self.request = request
        self.teller = teller
        "None where it began."
        self.budget = budget
        "Best so far."
        self.acted = False
        self.spreads = False
        self.said_complete = False
        self.told: dict[PackedAddress, _Neighbour] = {}
        self.entries: dict[str, Entry] = {}
        self.expires = math.inf
        self.patience_ends = math.inf

    @property
    def complete(self) -> bool:
        return self.acted and all(neighbour.complete for neighbour in self.told.values())


Effect: TypeAlias = Act | Ask | Answer[Entry] | Gathered[Entry]


class Epidemic(Generic[Entry]):
    """All requests that this node has heard of lately.

    `Entry` is what a node answers; nodes are told apart by a text, their node id.
    """

    def __init__(self, config: EpidemicConfig) -> None:
        self._config = config
        self._rumours: dict[bytes, _Rumour[Entry]] = {}
        self.counters: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    def __len__(self) -> int:
        return len(self._rumours)

    def __contains__(self, sid: bytes) -> bool:
        return sid in self._rumours

    def begin(
        self, sid: bytes, request: bytes, budget: int, neighbours: list[PackedAddress], now: float
    ) -> list[Effect[Entry]]:
        """Tell a request to all within `budget` IP hops of this node; `Gathered` follows.

        Raises:
            LocalProtocolError: a budget that is none, or too many requests are out.
        """
        if not 1 <= budget <= RADIUS_MAX:
            raise LocalProtocolError(f"a radius has 1 to {RADIUS_MAX} IP hops, not {budget}")
        rumour = self._rumours.get(sid)
        if rumour is not None and rumour.teller is not None:
            # A neighbour was faster: what is answered goes to that one, and more nodes may be within reach from here.
            rumour.budget = max(rumour.budget, budget)
            told = self._spread(sid, rumour, neighbours, now) if rumour.request == request else []
            return [*told, Gathered(sid, (), complete=True)]
        rumour = self._remember(sid, request, None, budget, now)
        if rumour is None:
            raise LocalProtocolError("too many off-path requests at once; try again in a minute")
        rumour.acted = rumour.spreads = True
        return [*self._spread(sid, rumour, neighbours, now), *self._settled(sid, rumour)]

    def asked(
        self,
        sid: bytes,
        request: bytes,
        budget: int,
        teller: PackedAddress,
        distance: int,
        neighbours: list[PackedAddress],
        now: float,
    ) -> list[Effect[Entry]]:
        """A neighbour tells a request, or asks for answers.

        Args:
            sid: the session.
            request: the request's own bytes.
            budget: IP hops that were left before the hop from `teller`.
            teller: the neighbour.
            distance: IP hops from it, 1 or more.
            neighbours: all that this node knows.
            now: seconds.
        """
        left = min(budget, RADIUS_MAX) - max(distance, 1)
        if left < 0:
            return self._nothing_for(Outcome.OUT_OF_REACH, sid, teller)
        rumour = self._rumours.get(sid)
        if rumour is None:
            rumour = self._remember(sid, request, teller, left, now)
            if rumour is None:
                self.counters[Outcome.FULL] += 1
                return []  # the teller asks again, when there may be room
            self.counters[Outcome.NEW] += 1
            return [Act(sid, teller)]
        if rumour.request != request:
            return self._nothing_for(Outcome.OTHER_REQUEST, sid, teller)
        self.counters[Outcome.KNOWN] += 1
        rumour.expires = now + self._config.memory_s
        effects: list[Effect[Entry]] = []
        if left > rumour.budget:
            rumour.budget = left
            effects += self._spread(sid, rumour, neighbours, now) if rumour.spreads else []
        if rumour.teller is not None and rumour.teller == teller:
            return [*effects, self._answer(sid, rumour, rumour.teller)]
        return [*effects, Answer(teller, sid, (), complete=True)]  # another one gathers what comes from here

    def acted(
        self,
        sid: bytes,
        node_id: str,
        entry: Entry | None,
        neighbours: list[PackedAddress],
        now: float,
        *,
        spread: bool,
    ) -> list[Effect[Entry]]:
        """The request of an `Act` has been treated.

        Args:
            sid: its session.
            node_id: of this node.
            entry: its answer; None: it does not answer.
            neighbours: all that it knows.
            now: seconds.
            spread: tell it on; not what is refused for its signature, since that would let anybody have it told.
        """
        rumour = self._rumours.get(sid)
        if rumour is None or rumour.acted:
            return []
        rumour.acted, rumour.spreads = True, spread
        if entry is not None:
            rumour.entries[node_id] = entry
        effects = self._spread(sid, rumour, neighbours, now) if spread else []
        return [*effects, *self._settled(sid, rumour)]

    def answered(
        self, sid: bytes, neighbour: PackedAddress, entries: dict[str, Entry], *, complete: bool
    ) -> list[Effect[Entry]]:
        """A neighbour says what it and those behind it have answered."""
        rumour = self._rumours.get(sid)
        known = rumour.told.get(neighbour) if rumour is not None else None
        if rumour is None or known is None:
            self.counters[Outcome.STRAY] += 1
            return []
        before = len(rumour.entries)
        for node_id, entry in entries.items():
            if len(rumour.entries) < self._config.entries_max:
                rumour.entries.setdefault(node_id, entry)
        known.complete = known.complete or complete
        known.tries = 0  # it lives: patience bounds the questions from here on
        return self._settled(sid, rumour, more=len(rumour.entries) > before)

    def tick(self, now: float) -> list[Effect[Entry]]:
        """Ask again whoever is due, give up whoever is silent, forget what is old."""
        effects: list[Effect[Entry]] = []
        for sid, rumour in list(self._rumours.items()):
            if now >= rumour.expires:
                del self._rumours[sid]
                continue
            for address, neighbour in rumour.told.items():
                if neighbour.complete or now < neighbour.due:
                    continue
                if neighbour.tries >= self._config.tries_max or now >= rumour.patience_ends:
                    neighbour.complete = True
                    self.counters[Outcome.SILENT] += 1
                    continue
                neighbour.due = now + self._pause(neighbour.tries)
                neighbour.tries += 1
                effects.append(Ask(address, sid, rumour.request, neighbour.budget))
            effects += self._settled(sid, rumour)
        return effects

    def next_deadline(self) -> float:
        """When `tick` is due; `math.inf` for never."""
        due = math.inf
        for rumour in self._rumours.values():
            waiting = (neighbour.due for neighbour in rumour.told.values() if not neighbour.complete)
            due = min(due, rumour.expires, *waiting)
        return due

    def _pause(self, tries: int) -> float:
        return min(self._config.first_pause_s * 2.0**tries, self._config.longest_pause_s)

    def _remember(
        self, sid: bytes, request: bytes, teller: PackedAddress | None, budget: int, now: float
    ) -> _Rumour[Entry] | None:
        if len(self._rumours) >= self._config.rumours_max:
            return None
        rumour = self._rumours[sid] = _Rumour[Entry](request, teller, budget)
        rumour.expires = now + self._config.memory_s
        return rumour

    def _spread(
        self, sid: bytes, rumour: _Rumour[Entry], neighbours: list[PackedAddress], now: float
    ) -> list[Effect[Entry]]:
        """Tell it on, where a hop is left for it; to each neighbour with the best budget only once."""
        rumour.patience_ends = now + self._config.patience_s
        if rumour.budget < 1:
            return []
        effects: list[Effect[Entry]] = []
        for address in neighbours:
            known = rumour.told.get(address)
            if address == rumour.teller or (known is None and len(rumour.told) >= self._config.neighbours_max):
                continue
            if known is None or known.budget < rumour.budget:
                due = now + self._config.first_pause_s
                rumour.told[address] = _Neighbour(rumour.budget, due)
                effects.append(Ask(address, sid, rumour.request, rumour.budget))
        rumour.said_complete = rumour.complete and rumour.said_complete
        return effects

    def _settled(self, sid: bytes, rumour: _Rumour[Entry], *, more: bool = False) -> list[Effect[Entry]]:
        """Say unasked that all have answered, and what comes after that; who began is told all that is new."""
        complete = rumour.complete
        news = complete and (more or not rumour.said_complete)
        if rumour.teller is None:
            if not (news or more):
                return []
            rumour.said_complete = complete
            return [Gathered(sid, tuple(rumour.entries.values()), complete)]
        if not news:
            return []
        return [self._answer(sid, rumour, rumour.teller)]

    def _answer(self, sid: bytes, rumour: _Rumour[Entry], to: PackedAddress) -> Answer[Entry]:
        rumour.said_complete = rumour.complete
        return Answer(to, sid, tuple(rumour.entries.values()), rumour.said_complete)

    def _nothing_for(self, outcome: Outcome, sid: bytes, teller: PackedAddress) -> list[Effect[Entry]]:
        self.counters[outcome] += 1
        return [Answer(teller, sid, (), complete=True)]
