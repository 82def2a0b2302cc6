"""The caches of a subnet's hosts, each of which knows roughly what the others have (mDHT design, section 15).

A host that wants a record of another node looks into its own cache, then asks a sibling that has said that it cached
the key, and only then the overlay. What comes from a sibling is not cached again: nobody tells how old it is, so it
would be kept without end, and one copy is enough for a link.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable
from random import Random
from typing import Final

from dhtboot.ids import ID_BYTES, Address
from mdht.errors import LocalProtocolError
from mdht.records import Record
from mdht.subnet.announced import Announced
from mdht.subnet.announcing import Announcing
from mdht.subnet.bounded import remember
from mdht.subnet.cache import Cache
from mdht.subnet.effects import Unicast
from mdht.subnet.errors import WireError
from mdht.subnet.holdings import Holdings, have_of
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.membership import Membership
from mdht.subnet.messages import QID_BYTES, Fetch, Have, Message, Nack, State, Value
from mdht.subnet.messages import Inventory as InventoryMessage
from mdht.subnet.query import Action, FetchBulk, OnDone, Outcome, Resolved
from mdht.subnet.siblings import Siblings
from mdht.subnet.view import Member
from mdht.subnet.wire import Header

_ANEW: Final = frozenset({State.JOINING, State.LEFT, State.DEAD})
"A host that becomes this has no cache, or is not there."


class _Question:
    __slots__ = ("bulk", "due_at", "key", "qid", "source", "tried", "waiting")

    def __init__(self, key: bytes, on_done: OnDone) -> None:
        self.key = key
        self.waiting = [on_done]
        self.qid = b""
        "Another one for each sibling, so that a late answer is known as such."
        self.source = b""
        self.tried: set[bytes] = set()
        self.bulk = False
        self.due_at = math.inf


class Inventory:
    """One host's part. A message goes to its membership first, then here if this `takes` it, else to its store.

    Args:
        membership: who the siblings are.
        holdings: tells lawful records; what is held in it is not looked at.
        config: times and limits.
        rng: all chance.
        now: the time.

    Attributes:
        cache: own copies.
        counters: of what was found where, and of what was refused.
    """

    def __init__(
        self, membership: Membership, holdings: Holdings, config: InventoryConfig, rng: Random, now: float
    ) -> None:
        self.cache = Cache(config)
        self.counters: Counter[str] = Counter()
        self._siblings = Siblings(membership, 0)
        self._holdings = holdings
        self._config = config
        self._rng = rng
        self._announcing = Announcing(config, rng, now)
        self._announced = Announced(config)
        self._replaced: OrderedDict[bytes, float] = OrderedDict()
        self._questions: dict[bytes, _Question] = {}
        self._wanted: dict[bytes, _Question] = {}
        self._waiting = 0
        self._effects: list[Action] = []
        self._done: list[tuple[list[OnDone], Resolved]] = []

    # ---- what the layer above wants ----------------------------------------------------------------------------------

    def get(self, key: bytes, now: float, on_done: OnDone) -> list[Action]:
        """Look for a key of another node in the caches of this subnet.

        Args:
            key: 20 bytes.
            now: the time.
            on_done: called once, before this returns when that is known at once; NOT_FOUND says nothing of the overlay.

        Raises:
            LocalProtocolError: the key has another length.
        """
        _check(key)
        own = self.cache.get(key, now)
        question = self._wanted.get(key)
        if own:
            self._hit("own_hits", 1, own)
            self._tell([on_done], key, own)
        elif self._waiting >= self._config.gets_max:
            self.counters["busy"] += 1
            self._tell([on_done], key)
        else:
            self._waiting += 1
            if question is None:
                question = self._wanted[key] = _Question(key, on_done)
                self._ask_next(question, now)
            else:
                question.waiting.append(on_done)
        return self._collect(now)

    def put(self, key: bytes, records: Iterable[bytes], now: float, *, asked_at: float) -> list[Action]:
        """Cache what the overlay has answered, in full, and let the siblings know.

        Args:
            key: 20 bytes; of a node that is not this one.
            records: as they travel.
            now: the time.
            asked_at: when the overlay was asked; not cached is what may be older than a record that was `seen`.

        Raises:
            LocalProtocolError: the key has another length.
        """
        _check(key)
        if asked_at < self._replaced.get(key, -math.inf) + self._config.settle_s:
            self.counters["unsettled"] += 1
        elif self.cache.put(key, self._holdings.merged(key, records), now):
            self._announcing.add(key)
        return self._collect(now)

    def seen(self, record: Record, now: float) -> None:
        """A record of another node has passed, on its way there perhaps: what is cached must not be older.

        Siblings are not asked for its key until what they may have cached before this has ended.
        """
        if self.cache.lacks(record, now):
            self.cache.drop(record.key)
            remember(self._replaced, record.key, now, self._config.keys_max)

    # ---- driver's side -----------------------------------------------------------------------------------------------

    def takes(self, message: Message) -> bool:
        """Whether a message is for this, and not for the store: caches and replicas are asked by the same messages."""
        match message:
            case InventoryMessage():
                return True
            case Fetch(cached=cached):
                return bool(cached)
            case Have(qid=qid) | Value(qid=qid) | Nack(qid=qid):
                return qid in self._questions
            case _:
                return False

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Action]:
        """Act on one message of the link; those that this does not take are ignored."""
        if header.hid == self._siblings.me or not self.takes(message):
            return []
        member = self._siblings.get(header.hid)
        if member is None:
            self.counters["strangers"] += 1  # an answer could be sent anywhere in somebody else's name
            return []
        match message:
            case InventoryMessage():
                self._on_inventory(header, message, now)
            case _ if multicast:
                self.counters["malformed"] += 1
            case Fetch():
                self._on_fetch(message, source if source in member.addresses else member.addresses[0], now)
            case Have() | Value() | Nack():
                question = self._questions[message.qid]
                if question.source == member.hid and question.key == message.key and not question.bulk:
                    self._on_answer(question, member, message, now)
            case _:
                pass
        return self._collect(now)

    def cached(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """What a sibling gets that asks by `FetchBulk` for what is cached."""
        return self.cache.get(key, now)

    def awaits(self, qid: bytes) -> bool:
        """Whether a transfer in bulk of that number is one of this."""
        return qid in self._questions

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[Action]:
        """What came of a `FetchBulk`: records, or none when the transfer has failed; of others' it is ignored."""
        question = self._questions.get(qid)
        if question is not None and question.bulk and question.source == hid:
            self._take(question, records, now)
        return self._collect(now)

    def on_member(self, hid: bytes, state: State, now: float) -> list[Action]:
        """A member has become something else: of one that is gone nothing is believed, and nothing awaited."""
        if state in _ANEW and hid != self._siblings.me:
            self._announced.forget(hid)
            for question in [question for question in self._questions.values() if question.source == hid]:
                self._ask_next(question, now)
        return self._collect(now)

    def tick(self, now: float) -> list[Action]:
        """Act on the time."""
        for question in [question for question in self._questions.values() if question.due_at <= now]:
            self.counters["silent"] += 1
            self._announced.forget(question.source)
            self._disappointed(question, now)
        return self._collect(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        questions = min((question.due_at for question in self._questions.values()), default=math.inf)
        return min(questions, self._announcing.next_deadline())

    # ---- asking siblings ---------------------------------------------------------------------------------------------

    def _ask_next(self, question: _Question, now: float) -> None:
        """Ask the next sibling that probably has it cached, or give up."""
        self._questions.pop(question.qid, None)
        member = self._next(question, now)
        if member is None:
            self.counters["misses"] += len(question.waiting)
            self._end(question)
            return
        question.tried.add(member.hid)
        question.qid, question.source, question.bulk = self._rng.randbytes(QID_BYTES), member.hid, False
        question.due_at = now + self._config.rto_s
        self._questions[question.qid] = question
        self.counters["asked"] += 1
        self._effects.append(Unicast(member.addresses[0], self._fetch(question)))

    def _next(self, question: _Question, now: float) -> Member | None:
        replaced = now < self._replaced.get(question.key, -math.inf) + self._config.keep_s
        if replaced or len(question.tried) >= self._config.siblings_max:
            return None
        return self._siblings.first_answerer(self._announced.holders(question.key, now), question.tried)

    def _disappointed(self, question: _Question, now: float) -> None:
        """The sibling has not cached it, or does not answer."""
        self._announced.denied(question.source, question.key)
        self._ask_next(question, now)

    def _on_answer(self, question: _Question, member: Member, message: Have | Value | Nack, now: float) -> None:
        match message:
            case Value(records=records):
                self._take(question, records, now)
            case Have():
                question.bulk = True
                question.due_at = now + self._config.bulk_s
                self._effects.append(FetchBulk(member.hid, member.addresses[0], self._fetch(question)))
            case Nack():
                self.counters["denied"] += 1
                self._disappointed(question, now)

    def _take(self, question: _Question, records: tuple[bytes, ...], now: float) -> None:
        lawful = self._holdings.merged(question.key, records)
        if lawful:
            self._hit("sibling_hits", len(question.waiting), lawful)
            self._end(question, lawful)
        else:
            self.counters["unlawful"] += bool(records)
            self._disappointed(question, now)

    def _end(self, question: _Question, records: tuple[bytes, ...] = ()) -> None:
        self._questions.pop(question.qid, None)
        del self._wanted[question.key]
        self._waiting -= len(question.waiting)
        self._tell(question.waiting, question.key, records)

    def _hit(self, where: str, times: int, records: tuple[bytes, ...]) -> None:
        self.counters[where] += times
        self.counters["bytes_saved"] += times * sum(map(len, records))

    def _tell(self, waiting: list[OnDone], key: bytes, records: tuple[bytes, ...] = ()) -> None:
        outcome = Outcome.FOUND if records else Outcome.NOT_FOUND
        self._done.append((waiting, Resolved(key=key, outcome=outcome, records=records)))

    # ---- others' questions, and what they say ------------------------------------------------------------------------

    def _on_fetch(self, fetch: Fetch, to: Address, now: float) -> None:
        if len(fetch.key) != ID_BYTES or len(fetch.qid) != QID_BYTES:
            self.counters["malformed"] += 1
            return
        version = self.cache.version(fetch.key, now)
        answer: Have | Value | Nack
        if version is None:
            answer = Nack(qid=fetch.qid, key=fetch.key)
        elif version.size > self._config.inline_max:
            answer = have_of(fetch.qid, fetch.key, version)
        else:
            answer = Value(qid=fetch.qid, key=fetch.key, records=self.cache.get(fetch.key, now))
        self._effects.append(Unicast(to, answer))

    def _on_inventory(self, header: Header, message: InventoryMessage, now: float) -> None:
        try:
            self._announced.hear(header.hid, header.incarnation, message, now)
        except WireError:
            self.counters["malformed"] += 1

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _fetch(self, question: _Question) -> Fetch:
        return Fetch(qid=question.qid, key=question.key, cached=True)

    def _collect(self, now: float) -> list[Action]:
        if now >= self._announcing.next_deadline():
            # To nobody nothing is said: who comes later is told by a filter.
            self._effects += self._announcing.tick([] if self._siblings.alone else self.cache.keys(now), now)
        effects, self._effects = self._effects, []
        done, self._done = self._done, []
        for waiting, result in done:  # last, so that whoever is told may look up more
            for on_done in waiting:
                on_done(result)
        return effects


def _check(key: bytes) -> None:
    if len(key) != ID_BYTES:
        raise LocalProtocolError(f"a key has {ID_BYTES} bytes, not {len(key)}")
