"""One lookup inside a subnet: what it has learnt so far, and the steps it may take."""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

import msgspec

from dhtboot.ids import Address
from mdht.subnet.effects import Effect
from mdht.subnet.messages import Fetch


class Outcome(Enum):
    """How a lookup ended."""

    FOUND = "found"
    NOT_FOUND = "not found"
    BUSY = "busy"
    "Too many are under way here."


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What a lookup found."""

    key: bytes
    outcome: Outcome
    records: tuple[bytes, ...] = ()
    "As they travel; tombstones among them."
    partial: bool = False
    "Somebody who may hold records, or other versions of them, could not be heard: ask another host of the node."
    asks: int = 0
    "Multicasts it took."


class FetchBulk(msgspec.Struct, frozen=True):
    """Ask a host for records that are too many for a datagram; hand what comes to `Resolver.on_bulk`."""

    hid: bytes
    to: Address
    message: Fetch


Action = Effect | FetchBulk
OnDone = Callable[[Resolved], None]


class Phase(Enum):
    """What a lookup is doing."""

    STARTING = "starting"
    FETCHING = "fetching"
    "It asks one host that probably holds the key."
    OVERHEARING = "overhearing"
    "It waits for the answer to somebody else's question."
    ASKING = "asking"
    "It asks all siblings."
    COLLECTING = "collecting"
    "It has an answer, and waits for newer ones: only where the latest is wanted."


STEPS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.STARTING: frozenset({Phase.FETCHING, Phase.OVERHEARING, Phase.ASKING}),
    Phase.FETCHING: frozenset({Phase.FETCHING, Phase.OVERHEARING, Phase.ASKING}),
    Phase.OVERHEARING: frozenset({Phase.FETCHING, Phase.ASKING}),
    Phase.ASKING: frozenset({Phase.COLLECTING}),
    Phase.COLLECTING: frozenset(),
}
"What may follow what; each may also end. A lookup overhears once and fetches from few, so it cannot go in circles."


class Query:
    """A lookup under way, for all that want its key."""

    __slots__ = (
        "answered",
        "asked_at",
        "asks",
        "attempts",
        "bulk_from",
        "claimed",
        "end_at",
        "found",
        "hops",
        "key",
        "latest",
        "nacks",
        "overheard",
        "phase",
        "qid",
        "source",
        "started_at",
        "step_at",
        "swept",
        "transfers",
        "tried",
        "waiting",
    )

    def __init__(self, qid: bytes, key: bytes, now: float, *, latest: bool, hops: int, end_at: float) -> None:
        self.qid = qid
        self.key = key
        self.latest = latest
        self.hops = hops
        self.phase = Phase.STARTING
        self.started_at = now
        self.step_at = math.inf
        "When the phase has something to do."
        self.end_at = end_at
        self.asked_at = math.inf
        "When all siblings were first asked."
        self.attempts = 0
        "How often that was due."
        self.asks = 0
        "How often it was done, within the limits of the link."
        self.overheard = False
        self.swept = False
        self.source: bytes | None = None
        "Whom it fetches from."
        self.tried: set[bytes] = set()
        "Whom it has asked by unicast."
        self.bulk_from: set[bytes] = set()
        "Whom it has asked over the bulk channel."
        self.transfers: set[bytes] = set()
        "Who of them has not answered yet."
        self.nacks: set[bytes] = set()
        self.claimed = False
        "Whether somebody has said that he holds the key."
        self.found: tuple[bytes, ...] = ()
        self.answered: set[bytes] = set()
        "Who has sent records: each is believed once, so that nobody makes this host check signatures without end."
        self.waiting: list[OnDone] = []

    def enter(self, phase: Phase, step_at: float) -> None:
        """Take a step of the table."""
        if phase not in STEPS[self.phase]:
            raise AssertionError(f"from {self.phase} to {phase}")
        self.phase = phase
        self.step_at = step_at

    @property
    def deadline(self) -> float:
        """When to look at it again."""
        return min(self.step_at, self.end_at)
