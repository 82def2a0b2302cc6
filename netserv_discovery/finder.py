"""One search: keys are asked for, what comes is verified as far as it matters, the nearest are asked by PING.

A core without I/O: `start`, `values`, `failed`, `measured` and `tick` return what is to be done, last of all `Done`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from netserv_discovery.candidates import Candidate, Candidates, Input, State
from netserv_discovery.errors import Refusal
from netserv_discovery.keys import list_key
from netserv_discovery.ping import Measured, Outcome, Target
from netserv_discovery.ping_budget import PingBudget, PingConfig
from netserv_discovery.ranking import Found, Seen, Shares, far_km, rank, share_of, sound
from netserv_discovery.rounds import Group, Question, groups_of, may_have, narrowed
from netserv_discovery.want import Wanted

VALUES_MAX: Final = 2_000
"Of one key that are looked at: twice what a node of the DHT keeps."
LISTS_MAX: Final = 64
"Lists of offers that one search gets."
UNASKED_FACTOR: Final = 8
"Where nobody is asked by PING, so many times the limit are verified in search of those of other networks and writers."


class FinderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a search."""

    deadline_s: float = 5.0
    "After that the answer is what is known."
    spare: int = 3
    "Nodes asked beyond the limit at once: some will not answer."
    ping: PingConfig = PingConfig()


class Value(msgspec.Struct, frozen=True, gc=False):
    """What somebody has put under a key."""

    writer: bytes
    data: bytes


class Get(msgspec.Struct, frozen=True):
    """Effect: get what lies under a key; `values` or `failed` is called with it."""

    key: bytes


class AskPing(msgspec.Struct, frozen=True):
    """Effect: ask a node; `measured` is called with the outcome."""

    target: Target


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: the search has ended; what is under way may be given up."""

    found: tuple[Found, ...]
    certain: bool
    "No nearer ones can be missing, but for those that did not answer."
    gets: int
    "Keys that were asked for."
    rounds: int
    "One after the other."
    pings: int
    counters: dict[str, int]
    "What was refused, by `Refusal`, and what became of PINGs."


FindEffect: TypeAlias = Get | AskPing | Done


class Search:
    """One search.

    Args:
        wanted: what is looked for.
        config: settings.
    """

    def __init__(self, wanted: Wanted, config: FinderConfig | None = None) -> None:
        self._wanted = wanted
        self._config = config or FinderConfig()
        self.counters: Counter[str] = Counter()
        self._candidates = Candidates(wanted, self.counters)
        self._rounds: list[tuple[Group, ...]] = list(groups_of(wanted))
        self._started: list[Group] = []
        self._questions: dict[bytes, Question] = {}
        self._waiting: set[bytes] = set()
        self._failed: set[bytes] = set()
        self._counts: dict[bytes, int] = {}
        "Values under the keys that have answered."
        self._lists: dict[bytes, bytes] = {}
        "Keys of lists that are on their way, and their digests."
        self._lists_asked = 0
        self._budget = PingBudget(wanted.limit, self._config.spare, wanted.here, self._config.ping)
        self._certain_km = 0.0
        "All that is nearer is among the candidates."
        self._rounds_begun = 0
        self._unix_from_now = 0.0
        self._now = -math.inf
        self._ends_at = math.inf
        self.done: Done | None = None

    @property
    def keys(self) -> frozenset[bytes]:
        """Keys that were asked for so far; who follows them sees what changes of the answer."""
        return frozenset(self._questions)

    def start(self, now: float, unix_now: float) -> list[FindEffect]:
        """Begin.

        Args:
            now: seconds of the clock that all calls go by.
            unix_now: seconds of the one by which records expire.
        """
        self._unix_from_now = unix_now - now
        self._ends_at = now + self._config.deadline_s
        return [*self._next_round(), *self._go_on(now)]

    def values(self, key: bytes, values: Iterable[Value], now: float) -> list[FindEffect]:
        """Take in all that lies under a key."""
        if key in self._lists:
            self._candidates.listed(self._lists.pop(key), (value.data for value in values))
        elif key in self._waiting:
            self._waiting.discard(key)
            self._take(self._questions[key], values, now)
        return self._go_on(now)

    def failed(self, key: bytes, now: float) -> list[FindEffect]:
        """A key cannot be had."""
        if key in self._lists:
            self._candidates.listed(self._lists.pop(key), ())
        elif key in self._waiting:
            self._waiting.discard(key)
            self._failed.add(key)
            self.counters["failed_gets"] += 1
        return self._go_on(now)

    def known(self, data: bytes, now: float) -> list[FindEffect]:
        """Take in a record that has come another way, as from the link."""
        self._candidates.take(None, None, data, self._unix_from_now + now)
        return self._go_on(now)

    def measured(self, measured: Measured, now: float) -> list[FindEffect]:
        """Take in what came of a PING."""
        self._candidates.measured(measured)
        self._budget.ended(measured.target.public_key, answered=measured.outcome is Outcome.ANSWERED)
        return self._go_on(now)

    def tick(self, now: float) -> list[FindEffect]:
        """Look at the clock."""
        return self._go_on(now)

    def next_deadline(self) -> float:
        """When to tick; `math.inf` for never."""
        if self.done is not None:
            return math.inf
        return min(self._ends_at, self._budget.hope_ends_at(self._now))

    # ---- keys ----------------------------------------------------------------------------------------------------

    def _next_round(self) -> list[FindEffect]:
        groups = self._rounds.pop(0)
        while self._rounds and not may_have(groups[0], self._rounds[0][0], self._counts, self._wanted.limit):
            groups = self._rounds.pop(0)
        reach_km = self._hoped_km()
        groups = tuple(narrowed(self._wanted, each, reach_km) for each in groups)
        self._rounds_begun += 1
        self._started.extend(groups)
        effects: list[FindEffect] = []
        for question in (each for group in groups for each in group.questions):
            if question.key not in self._questions:
                self._questions[question.key] = question
                self._waiting.add(question.key)
                effects.append(Get(question.key))
        return effects

    def _hoped_km(self) -> float:
        """Within that there are enough nodes, if those are what they say that have been heard of."""
        needed = self._wanted.limit + (self._config.spare if self._wanted.ping else 0)
        distances = [one.far_km for one in itertools.islice(self._candidates.nearest_first(), needed)]
        return distances[-1] if len(distances) == needed else math.inf

    def _take(self, question: Question, values: Iterable[Value], now: float) -> None:
        self._counts[question.key] = 0
        for number, value in enumerate(values):
            if number == VALUES_MAX:
                self.counters[Refusal.TOO_MANY] += 1
                break
            self._candidates.take(question, value.writer, value.data, self._unix_from_now + now)
            self._counts[question.key] += 1

    def _covered_km(self) -> float:
        missing = self._waiting | self._failed
        return max(
            (g.covered_km for g in self._started if missing.isdisjoint(each.key for each in g.questions)), default=0.0
        )

    # ---- what follows --------------------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[FindEffect]:
        if self.done is not None:
            return []
        self._now = now
        effects: list[FindEffect] = []
        while True:
            self._certain_km = self._covered_km()
            asked, enough = self._look(now)
            effects += asked
            if self._waiting or self._lists or enough or self._last_round():
                break
            effects += self._next_round()
        return effects + self._end(now)

    def _last_round(self) -> bool:
        """Whether no further keys can have nodes that matter."""
        radius_km = self._wanted.radius_km
        return not self._rounds or (radius_km is not None and radius_km <= self._certain_km)

    def _look(self, now: float) -> tuple[list[FindEffect], bool]:
        """Verify and ask the nearest of those that are certain; whether these may be enough."""
        final = not self._waiting and self._last_round()  # no more comes, so what there is must do
        nearest = (one for one in self._candidates.nearest_first() if final or one.far_km <= self._certain_km)
        return self._look_and_ask(nearest, now) if self._wanted.ping else self._look_only(nearest)

    def _look_and_ask(self, nearest: Iterable[Candidate], now: float) -> tuple[list[FindEffect], bool]:
        needed = self._wanted.limit + self._config.spare
        good = {one.record.public_key for one in self._sound()}
        effects: list[FindEffect] = []
        hopeful = 0
        for one in nearest:
            if hopeful >= needed:
                break
            if one.state is State.CLAIMED:
                effects += self._verify(one)
            if one.state is State.VERIFIED:
                effects += self._ask(one, now)
            key = one.record.public_key
            hopeful += key in good or one.state is State.LISTING or self._budget.hopeful(key, now)
        return effects, hopeful >= self._wanted.limit

    def _look_only(self, nearest: Iterable[Candidate]) -> tuple[list[FindEffect], bool]:
        limit, shares = self._wanted.limit, Shares(share_of(self._wanted.limit))
        effects: list[FindEffect] = []
        verified = uncrowded = 0
        for one in nearest:
            if uncrowded >= limit or verified >= UNASKED_FACTOR * limit:
                break
            if one.state is State.CLAIMED:
                effects += self._verify(one)
            if one.state is State.VERIFIED:
                verified += 1
                uncrowded += shares.take(one.seen())
        return effects, verified >= limit

    def _sound(self) -> list[Seen]:
        """Those that will do."""
        every = self._candidates.nearest_first()
        if not self._wanted.ping:
            return [one.seen() for one in every if one.state is State.VERIFIED]
        seen = [one.seen() for one in every if one.state is State.CONFIRMED]
        return sound(seen, near=self._wanted.near, here=self._wanted.here, limit=self._wanted.limit)

    def _verify(self, one: Candidate) -> list[FindEffect]:
        digest = self._candidates.verify(one)
        if digest is None or list_key(digest) in self._lists:
            return []
        if self._lists_asked >= LISTS_MAX:
            self._candidates.listed(digest, ())
            return []
        self._lists_asked += 1
        self._lists[list_key(digest)] = digest
        return [Get(list_key(digest))]

    def _ask(self, one: Candidate, now: float) -> list[FindEffect]:
        record = one.record
        if not record.ping_port or not record.addresses:
            one.step(Input.HAS_NO_PORT)
            return []
        if not self._budget.take(one, now):
            return []
        one.step(Input.PINGED)
        return [AskPing(Target(record.public_key, (str(record.ip_addresses[0]), record.ping_port)))]

    # ---- the end -------------------------------------------------------------------------------------------------

    def _end(self, now: float) -> list[FindEffect]:
        sound_ones = self._sound()
        enough = len(sound_ones) >= self._wanted.limit
        asked = any(one.state is State.ASKED for one in self._candidates.nearest_first())
        if now < self._ends_at:
            if self._waiting or self._lists or asked:
                if not (enough and self._settled(sound_ones, now)):
                    return []
            elif not enough and self._budget.forgive():
                # Nobody else is left: now those as well whose likes did not answer.
                return self._go_on(now)
        return [self._finish()]

    def _settled(self, sound_ones: list[Seen], now: float) -> bool:
        """Whether nothing that is under way is likely to change the first places."""
        reach_km = self._reach_km(sound_ones)
        if reach_km > self._certain_km:
            return False
        nearer = (one for one in self._candidates.nearest_first() if one.far_km <= reach_km)
        return not any(one.state is State.LISTING or self._budget.hopeful(one.record.public_key, now) for one in nearer)

    def _reach_km(self, sound_ones: list[Seen]) -> float:
        """How far the last of the first places is."""
        keys = {one.record.public_key for one in sound_ones}
        distances = [one.far_km for one in self._candidates.nearest_first() if one.record.public_key in keys]
        return distances[self._wanted.limit - 1]

    def _finish(self) -> Done:
        verified = [one.seen() for one in self._candidates.nearest_first() if one.state not in _UNVERIFIED]
        wanted = self._wanted
        found = rank(verified, near=wanted.near, here=wanted.here, limit=wanted.limit)
        reach_km = max((far_km(one.record, wanted.near) for one in found), default=math.inf)
        radius_km = math.inf if wanted.radius_km is None else wanted.radius_km
        nearest = len(found) == wanted.limit and reach_km <= self._certain_km
        self.done = Done(
            found=tuple(found),
            certain=nearest or radius_km <= self._certain_km,
            gets=len(self._questions) + self._lists_asked,
            rounds=self._rounds_begun,
            pings=self._budget.spent,
            counters={name: count for name, count in sorted(self.counters.items()) if count},
        )
        return self.done


_UNVERIFIED: Final = {State.CLAIMED, State.LISTING}
