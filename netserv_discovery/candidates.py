"""Nodes that a search has heard of: from values that anybody may have written, verified only when it matters."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

import msgspec

from netserv_discovery.errors import Refusal, RemoteProtocolError
from netserv_discovery.location import distance_km
from netserv_discovery.ping import Measured, Outcome
from netserv_discovery.ranking import Seen, Trust, far_km
from netserv_discovery.record import NodeRecord, check_signature, decode, decode_list
from netserv_discovery.rounds import Question
from netserv_discovery.want import Wanted

CANDIDATES_MAX: Final = 4_096
"Of one search: the largest cells have 1,000 records each. 3 KB each in memory."
WRITERS_MAX: Final = 8
"Remembered for one record; who puts it more often makes nothing of it."


class State(Enum):
    """Of one candidate."""

    CLAIMED = auto()
    "Decoded; its signature was not looked at."
    LISTING = auto()
    "Its list of offers is on its way."
    VERIFIED = auto()
    ASKED = auto()
    "By PING."
    CONFIRMED = auto()
    NO_PING = auto()
    SILENT = auto()
    WRONG_KEY = auto()
    UNFIT = auto()
    "It has not what is looked for; an older record of it, which had, does not count."
    FORGED = auto()


class Input(Enum):
    """What becomes known of one."""

    SIGNED = auto()
    LIST_NEEDED = auto()
    "Signed, and what is looked for may be on its list."
    FORGED = auto()
    UNFIT = auto()
    LISTED = auto()
    PINGED = auto()
    HAS_NO_PORT = auto()
    ANSWERED = auto()
    SILENT = auto()
    WRONG_KEY = auto()


TRANSITIONS: Final[Mapping[tuple[State, Input], State]] = {
    (State.CLAIMED, Input.SIGNED): State.VERIFIED,
    (State.CLAIMED, Input.LIST_NEEDED): State.LISTING,
    (State.CLAIMED, Input.FORGED): State.FORGED,
    (State.CLAIMED, Input.UNFIT): State.UNFIT,
    (State.LISTING, Input.LISTED): State.VERIFIED,
    (State.LISTING, Input.UNFIT): State.UNFIT,
    (State.VERIFIED, Input.PINGED): State.ASKED,
    (State.VERIFIED, Input.HAS_NO_PORT): State.NO_PING,
    (State.ASKED, Input.ANSWERED): State.CONFIRMED,
    (State.ASKED, Input.SILENT): State.SILENT,
    (State.ASKED, Input.WRONG_KEY): State.WRONG_KEY,
}
_OUT: Final = {State.UNFIT, State.FORGED}
_OUTCOMES: Final = {
    Outcome.ANSWERED: Input.ANSWERED,
    Outcome.SILENT: Input.SILENT,
    Outcome.WRONG_KEY: Input.WRONG_KEY,
}
_TRUST: Final = {
    State.VERIFIED: Trust.UNMEASURED,
    State.ASKED: Trust.SILENT,  # who has not answered when the search ends is as one who does not
    State.CONFIRMED: Trust.CONFIRMED,
    State.NO_PING: Trust.NO_PING,
    State.SILENT: Trust.SILENT,
    State.WRONG_KEY: Trust.WRONG_KEY,
}


class Candidate:
    """One node."""

    __slots__ = ("data", "far_km", "load", "record", "rtt_s", "signed", "state", "writers")

    def __init__(self, record: NodeRecord, data: bytes, kilometres: float) -> None:
        self.record, self.data = record, data
        self.far_km = kilometres
        "At the most."
        self.writers: set[bytes] = set()
        self.state = State.CLAIMED
        self.signed: bool | None = None
        "None: nobody has looked."
        self.rtt_s = math.inf
        self.load: int | None = None

    def step(self, event: Input) -> None:
        """Go to the next state."""
        self.state = TRANSITIONS[self.state, event]

    def seen(self) -> Seen:
        """What is known of it; only of one that is verified."""
        return Seen(
            record=self.record,
            writers=frozenset(self.writers),
            trust=_TRUST[self.state],
            rtt_s=self.rtt_s,
            load=self.load,
        )


class Candidates:
    """All of one search.

    Args:
        wanted: what is looked for.
        counters: of what was refused, by `Refusal`.
    """

    def __init__(self, wanted: Wanted, counters: Counter[str]) -> None:
        self._wanted = wanted
        self._counters = counters
        self._nodes: dict[bytes, Candidate] = {}
        self._read: dict[bytes, Candidate | None] = {}
        "What has come already: the same record lies under many keys."
        self._order: list[Candidate] = []

    def take(self, question: Question | None, writer: bytes | None, data: bytes, unix_now: float) -> None:
        """Take a value in.

        Args:
            question: under which key it was; None if it came another way.
            writer: who has put it there.
            data: anything.
            unix_now: seconds.
        """
        if data in self._read:
            candidate = self._read[data]
        elif len(self._read) >= CANDIDATES_MAX:
            self._counters[Refusal.TOO_MANY] += 1
            return
        else:
            candidate = self._read[data] = self._decoded(data, unix_now)
        if candidate is None:
            return
        if question is not None and not question.belongs(candidate.record):
            self._counters[Refusal.WRONG_PLACE] += 1
            return
        if writer is not None and len(candidate.writers) < WRITERS_MAX:
            candidate.writers.add(writer)
        if not self._excluded(candidate.record):
            self._admit(candidate)

    def nearest_first(self) -> list[Candidate]:
        """All that may be what is looked for, as far as is known by now."""
        if len(self._order) != len(self._nodes):
            self._order = sorted(self._nodes.values(), key=lambda one: (one.far_km, one.record.public_key))
        return [one for one in self._order if one.state is not State.UNFIT and one.state is not State.FORGED]

    def verify(self, candidate: Candidate) -> bytes | None:
        """Look at a signature, and at what is offered.

        Returns:
            The digest of the list that has to be got, if it has to.
        """
        record = candidate.record
        if not self._signed(candidate):
            return None
        if self._wanted.met_by(record.blocks, record.modules):
            candidate.step(Input.SIGNED)
        elif record.more is not None:
            candidate.step(Input.LIST_NEEDED)
            return record.more
        else:
            self._unfit(candidate, "unfit")
        return None

    def listed(self, digest: bytes, values: Iterable[bytes]) -> None:
        """Take in what lies under the key of a list."""
        waiting = [one for one in self._nodes.values() if one.state is State.LISTING and one.record.more == digest]
        for data in values:
            try:
                offers = decode_list(data, digest)
            except RemoteProtocolError as error:
                self._counters[error.code] += 1
                continue
            fits = self._wanted.met_by(offers.blocks, offers.modules)
            for one in waiting:
                if fits:
                    one.record = msgspec.structs.replace(one.record, blocks=offers.blocks, modules=offers.modules)
                    one.step(Input.LISTED)
                else:
                    self._unfit(one, "unfit")
            return
        for one in waiting:
            self._unfit(one, "list_missing")

    def measured(self, measured: Measured) -> None:
        """Take in what a PING has shown."""
        one = self._nodes.get(measured.target.public_key)
        if one is None or one.state is not State.ASKED:
            return
        one.step(_OUTCOMES[measured.outcome])
        one.rtt_s, one.load = measured.rtt_s, measured.load
        if measured.outcome is not Outcome.ANSWERED:
            self._counters[measured.outcome] += 1

    def _decoded(self, data: bytes, unix_now: float) -> Candidate | None:
        try:
            record = decode(data, unix_now, verified=False)
        except RemoteProtocolError as error:
            self._counters[error.code] += 1
            return None
        return Candidate(record, data, far_km(record, self._wanted.near))

    def _excluded(self, record: NodeRecord) -> bool:
        wanted = self._wanted
        if wanted.excludes(record):
            return True
        if wanted.radius_km is None or wanted.near is None:
            return False
        return record.location is None or distance_km(wanted.near, record.location) > wanted.radius_km

    def _admit(self, new: Candidate) -> None:
        """Of several records of one node the latest counts that the node has signed."""
        old = self._nodes.get(new.record.public_key)
        if old is new or new.state in _OUT:
            return
        # Both are verified before one takes the place of the other: else a forged one could.
        if old is None or not self._signed(old):
            self._put(new)
        elif not self._signed(new):
            return
        elif new.record.issued < old.record.issued:
            self._counters[Refusal.SUPERSEDED] += 1
        elif new.record.issued > old.record.issued:
            self._counters[Refusal.SUPERSEDED] += 1
            self._replace(old, new)
        elif self._fits(new) and not self._fits(old):
            self._replace(old, new)  # another selection of its offers
        else:
            old.writers |= new.writers

    def _replace(self, old: Candidate, new: Candidate) -> None:
        if old.record.issued == new.record.issued:
            new.writers |= old.writers
        if old.state not in {State.CLAIMED, *_OUT} and new.record.addresses == old.record.addresses and self._fits(new):
            new.state, new.rtt_s, new.load = old.state, old.rtt_s, old.load  # what was seen of the node remains true
        self._put(new)

    def _put(self, new: Candidate) -> None:
        self._nodes[new.record.public_key] = new
        self._order = []

    def _fits(self, candidate: Candidate) -> bool:
        return self._wanted.met_by(candidate.record.blocks, candidate.record.modules)

    def _signed(self, candidate: Candidate) -> bool:
        """Whether its node has signed it: looked at once."""
        if candidate.signed is None:
            try:
                check_signature(candidate.record, candidate.data)
                candidate.signed = True
            except RemoteProtocolError as error:
                candidate.signed = False
                candidate.step(Input.FORGED)
                self._counters[error.code] += 1
        return candidate.signed

    def _unfit(self, candidate: Candidate, why: str) -> None:
        candidate.step(Input.UNFIT)
        self._counters[why] += 1
