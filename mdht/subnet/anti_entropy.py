"""Comparisons with siblings, one at a time, and what is fetched and sent because of them (mDHT design, section 10).

Where a key has one holder there are no two digests to compare. A host then learns from a sibling's list who owns what,
and says so where both take themselves for the owner.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from typing import Final

from mdht.subnet.asking import Asking
from mdht.subnet.bounded import remember
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.digest import BUCKETS, bucket_of
from mdht.subnet.listing import Listing, learnt
from mdht.subnet.messages import State
from mdht.subnet.policies import Action, CopyTo, Full, Single
from mdht.subnet.sync_messages import LAST_BUCKET, BucketHash, Compare, Differ, KeyEntry, KeyList, ListKeys
from mdht.subnet.transfers import Urgency

COPIES_MAX: Final = 8
"Keys that are sent to a host without asking it whether it has them."
PAUSE_S: Final = 0.1
"Until it is seen again whether there is room for what a comparison finds."
ROOTS_MAX: Final = 1_024
"Siblings whose roots are followed, as many as a subnet has members."


class _Round:
    """One comparison."""

    __slots__ = ("common", "differing", "entries", "found", "peer", "to_compare")

    def __init__(self, peer: bytes, *, common: bool) -> None:
        self.peer = peer
        self.common = common
        self.to_compare = deque(range(BUCKETS))
        self.differing: deque[int] = deque()
        self.entries: dict[bytes, KeyEntry] = {}
        self.found = 0


class AntiEntropy:
    """One host's comparisons.

    Args:
        commons: what belongs where, who is there, what this host holds.
        carrying: sends and fetches.
        listing: what this host would say itself.
        asking: asks a sibling.
    """

    def __init__(self, commons: Commons, carrying: CarryingOut, listing: Listing, asking: Asking) -> None:
        self._commons, self._policy, self._stock = commons, commons.policy, commons.stock
        self._config, self._rng, self._counters = commons.config, commons.rng, commons.counters
        self._carrying, self._listing, self._asking = carrying, listing, asking
        self._round: _Round | None = None
        self._roots: OrderedDict[bytes, int] = OrderedDict()
        self._soon: dict[bytes, float] = {}
        self._fetched: dict[bytes, tuple[bytes, bytes]] = {}
        self._peers: list[bytes] = []
        self._round_at = math.inf
        self._go_on_at = math.inf

    # ---- when to compare ---------------------------------------------------------------------------------------------

    @property
    def _by_root(self) -> bool:
        return isinstance(self._policy, Full)

    def start(self, now: float) -> None:
        """This host is READY."""
        if self._round_at == math.inf:
            self._round_at = now + self._config.compare_s * (0.5 + self._rng.random())

    def soon(self, hid: bytes, now: float, *, wait: bool = True) -> None:
        """A host has come, or come back, or may lack much: compare with it."""
        if len(self._soon) < ROOTS_MAX:
            self._soon[hid] = now + (self._config.compare_soon_s * (0.5 + self._rng.random()) if wait else 0.0)

    def made_alike(self, actions: Iterable[Action], now: float) -> list[Action]:
        """Of copies for a host that another one may have made already, so many that it is asked first; the rest."""
        actions = list(actions)
        count = Counter(action.hid for action in actions if isinstance(action, CopyTo))
        many = {hid for hid, copies in count.items() if copies > COPIES_MAX}
        for hid in many:
            self.soon(hid, now, wait=False)
        return [action for action in actions if not isinstance(action, CopyTo) or action.hid not in many]

    def gone(self, hid: bytes) -> None:
        """A host is not there any more."""
        self._soon.pop(hid, None)
        self._roots.pop(hid, None)

    def on_here(self, hid: bytes, root: bytes, state: State, now: float) -> None:
        """A heartbeat tells the root of a sibling's digest."""
        if not self._by_root or state is not State.READY or self._commons.state is not State.READY:
            return
        count = 0 if root == self._stock.digest.root else self._roots.get(hid, 0) + 1
        remember(self._roots, hid, count, ROOTS_MAX)
        if count >= self._config.differing_heartbeats and self._round is None:
            self._roots[hid] = 0
            self._begin(hid, now)

    def tick(self, now: float) -> None:
        """Act on the time."""
        if now >= self._go_on_at:
            self._go_on_at = math.inf
            self._go_on(now)
        if self._commons.state is not State.READY or self._round is not None:
            return
        due = [hid for hid, at in self._soon.items() if at <= now]
        if due:
            del self._soon[due[0]]
            if due[0] in self._commons.ready():
                self._begin(due[0], now)
        elif now >= self._round_at:
            self._round_at = now + self._config.compare_s
            peer = self._next_peer()
            if peer is not None and not self._by_root:
                self._begin(peer, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        if self._commons.state is not State.READY or self._round is not None:
            return self._go_on_at
        return min(self._go_on_at, self._round_at, min(self._soon.values(), default=math.inf))

    def _next_peer(self) -> bytes | None:
        """A random one, and each once before one comes twice."""
        others = set(self._commons.ready()) - {self._commons.me}
        self._peers = [hid for hid in self._peers if hid in others]
        if not self._peers:
            self._peers = sorted(others)
            self._rng.shuffle(self._peers)
        return self._peers.pop() if self._peers else None

    # ---- a comparison ------------------------------------------------------------------------------------------------

    def _begin(self, peer: bytes, now: float) -> None:
        self._round = _Round(peer, common=not self._by_root)
        self._counters["comparisons"] += 1
        if isinstance(self._policy, Single):
            self._learn(self._round, 0, b"", now)
        else:
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        found = self._round
        if found is None:
            return
        if self._carrying.copying.full or self._carrying.pulling.full:
            self._go_on_at = now + PAUSE_S
        elif found.differing:
            self._list(found, found.differing[0], b"", now)
        elif found.to_compare:
            self._compare(found, now)
        else:
            self._counters["comparisons_that_found"] += found.found > 0
            self._round = None

    def _compare(self, found: _Round, now: float) -> None:
        numbers = self._listing.chunk(found.to_compare, free=not found.common)
        hashes = self._listing.hashes(numbers, found.peer if found.common else None)
        buckets = tuple([BucketHash(number, own) for number, own in zip(numbers, hashes, strict=True)])

        def answered(answer: Differ | KeyList | None, now: float) -> None:
            if not isinstance(answer, Differ):
                self._break_off(found, now)
                return
            for number in numbers[: answer.compared]:
                found.to_compare.popleft()
                if number in answer.buckets:
                    found.differing.append(number)
            self._go_on(now)

        self._asking.ask(found.peer, lambda qid: Compare(qid=qid, common=found.common, buckets=buckets), answered, now)

    def _list(self, found: _Round, number: int, after: bytes, now: float) -> None:
        def answered(answer: Differ | KeyList | None, now: float) -> None:
            if not isinstance(answer, KeyList):
                self._break_off(found, now)
                return
            for entry in answer.entries:
                if bucket_of(entry.key) == number and len(found.entries) < self._config.sync_keys_max:
                    found.entries[entry.key] = entry
            if answer.more and answer.first == number and answer.after > after:
                self._list(found, number, answer.after, now)
                return
            found.differing.popleft()
            entries, found.entries = found.entries, {}
            self._settle(found, number, entries, now)
            self._go_on(now)

        self._asking.ask(
            found.peer,
            lambda qid: ListKeys(qid=qid, common=found.common, first=number, last=number, after=after),
            answered,
            now,
        )

    def _learn(self, found: _Round, first: int, after: bytes, now: float) -> None:
        """A page of all that the other one holds."""

        def answered(answer: Differ | KeyList | None, now: float) -> None:
            if not isinstance(answer, KeyList):
                self._break_off(found, now)
                return
            for entry in answer.entries:
                self._learn_owner(entry, now)
            if answer.more and (answer.first, answer.after) > (first, after):
                self._learn(found, answer.first, answer.after, now)
            else:
                self._round = None

        self._asking.ask(
            found.peer,
            lambda qid: ListKeys(qid=qid, common=False, first=first, last=LAST_BUCKET, after=after),
            answered,
            now,
        )

    def _learn_owner(self, entry: KeyEntry, now: float) -> None:
        told = learnt(entry)
        mine = self._policy.stats(entry.key) if entry.key in self._stock.keys else None
        if mine is not None and mine.holders[:1] == (self._commons.me,):
            self._counters["two_owners"] += 1
            if not self._carrying.notices.saying(entry.key):
                self._carrying.notices.say(entry.key, mine, now)
        elif told is not None:
            self._policy.learn(entry.key, told, self._commons.scene(now))

    def _break_off(self, found: _Round, now: float) -> None:
        """No answer: once more, if the other one is still there then."""
        self._round = None
        self._counters["comparisons_broken_off"] += 1
        if found.peer in self._commons.ready():
            self.soon(found.peer, now)

    # ---- what it finds -----------------------------------------------------------------------------------------------

    def _settle(self, found: _Round, number: int, entries: dict[bytes, KeyEntry], now: float) -> None:
        """Fetch and send what differs in a bucket."""
        scene = self._commons.scene(now)
        for key, entry in entries.items():
            stats = learnt(entry)
            if stats is not None and stats != self._policy.stats(key):
                self._policy.learn(key, stats, scene)
            if entry.hash != self._stock.hash(key) and self._commons.me in self._commons.targets(key):
                found.found += 1
                if len(self._fetched) < self._config.transfers_max:
                    self._fetched[key] = (found.peer, entry.hash)
                self._carrying.pull(key, found.peer, (), now)
        for key in self._stock.in_bucket(number):
            if key not in entries and (not found.common or self._listing.shared(key, found.peer)):
                found.found += 1
                self._carrying.perform([CopyTo(key, found.peer)], now, Urgency.REPAIR)

    def on_pulled(self, key: bytes, now: float) -> None:
        """A key has come, or cannot be had: does the other one lack something of what is here?"""
        fetched = self._fetched.pop(key, None)
        if fetched is not None and key in self._stock.keys and self._stock.hash(key) != fetched[1]:
            self._carrying.perform([CopyTo(key, fetched[0])], now, Urgency.REPAIR)
