"""Lookup inside a subnet: one host finds the records of a key among its siblings (mDHT design, section 7).

Own records come first, then a host that probably holds the key, then a question to all by multicast. Where the subnet
is small every host answers, so that nobody has to wait for what does not exist; and whoever still has said nothing,
since multicasts may be lost, is asked by unicast before the lookup ends.

Longer than most modules: one machine of states, whose parts that stand alone have modules of their own.
"""

import math
from collections import Counter
from random import Random
from typing import Final

from dhtboot.ids import ID_BYTES, Address
from dhtboot.limits import TokenBuckets
from mdht.errors import LocalProtocolError
from mdht.subnet.answering import Answering
from mdht.subnet.durations import Durations
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.hints import Hints, Questions
from mdht.subnet.holdings import Holdings
from mdht.subnet.membership import Membership
from mdht.subnet.messages import HID_BYTES, QID_BYTES, Ask, Fetch, Have, Message, Nack, Note, Value, WhoHas
from mdht.subnet.query import Action, FetchBulk, OnDone, Outcome, Phase, Query, Resolved
from mdht.subnet.resolve_config import Placement, ResolveConfig
from mdht.subnet.siblings import Siblings
from mdht.subnet.view import Member
from mdht.subnet.wire import Header

SENDERS_MAX: Final = 1024
"Senders whose rates are followed, as many as a subnet has members."


class Resolver:
    """One host's part.

    Args:
        membership: who the siblings are; it must see each message first.
        holdings: this host's records.
        placement: who should hold a key, by the replication policy.
        config: times and limits.
        rng: all chance.

    Attributes:
        hints: who holds what, as overheard.
        counters: of what was saved, lost and refused.
        took: how long those lookups took that own records did not answer.
    """

    def __init__(
        self, membership: Membership, holdings: Holdings, placement: Placement, config: ResolveConfig, rng: Random
    ) -> None:
        self.hints = Hints(ttl_s=config.hint_s, most=config.hints_max)
        self.counters: Counter[str] = Counter()
        self.took = Durations()
        self._siblings = Siblings(membership, config.denial_members_max)
        self._holdings = holdings
        self._placement = placement
        self._config = config
        self._rng = rng
        self._answering = Answering(membership.hid, holdings, placement, config, rng, self.counters)
        self._questions = Questions()
        self._senders = TokenBuckets(
            rate_per_s=config.sender_asks_per_s, burst=config.sender_asks_per_s, members_max=SENDERS_MAX
        )
        self._link = TokenBuckets(rate_per_s=config.link_asks_per_s, burst=config.link_asks_per_s, members_max=1)
        self._queries: dict[bytes, Query] = {}
        self._wanted: dict[tuple[bytes, bool], Query] = {}
        self._waiting = 0
        self._effects: list[Action] = []
        self._done: list[tuple[list[OnDone], Resolved]] = []

    # ---- driver's side -------------------------------------------------------------------------------------------

    def get(self, key: bytes, ask: Ask, now: float, on_done: OnDone, *, hops: int = 0) -> list[Action]:
        """Look a key up.

        Args:
            key: 20 bytes.
            ask: `LATEST` for all versions merged, else the first that is found; whether denials are wanted follows
                from the size of the subnet.
            now: the time.
            on_done: called once with the result, before this returns when that is known at once.
            hops: that the question has made through the overlay.

        Raises:
            LocalProtocolError: the key has another length.
        """
        if len(key) != ID_BYTES:
            raise LocalProtocolError(f"a key has {ID_BYTES} bytes, not {len(key)}")
        latest = Ask.LATEST in ask
        own = self._holdings.records(key, now)
        if own and (not latest or self._siblings.alone):
            self.counters["own"] += 1
            self._done.append(([on_done], Resolved(key=key, outcome=Outcome.FOUND, records=own)))
        elif self._waiting >= self._config.gets_max:
            self.counters["busy"] += 1
            self._done.append(([on_done], Resolved(key=key, outcome=Outcome.BUSY, partial=True)))
        else:
            self._waiting += 1
            query = self._wanted.get((key, latest))
            if query is None:
                self._start(key, latest, own, on_done, hops, now)
            else:
                query.waiting.append(on_done)
        return self._collect(now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Action]:
        """Act on one message of the link; those of other layers are ignored."""
        if header.hid == self._siblings.me or not isinstance(message, _OURS):
            return []
        if not _well_formed(message):
            self.counters["malformed"] += 1
            return []
        member = self._siblings.get(header.hid)
        if member is None:
            self.counters["strangers"] += 1  # an answer could be sent anywhere in somebody else's name
            return []
        # Only to an address that has answered a ping.
        reply_to = source if source in member.addresses else member.addresses[0]
        match message:
            case WhoHas():
                self._on_who_has(member, message, reply_to, now)
            case Have():
                self._on_have(member, message, now, multicast=multicast)
            case Note(key=key, holders=holders):
                others = [hid for hid in holders if len(hid) == HID_BYTES and hid != self._siblings.me]
                self.hints.learn(key, tuple(others), now)
            case Fetch() | Value() | Nack() if multicast:
                self.counters["malformed"] += 1
            case Fetch():
                self._effects.append(self._answering.fetched(message, reply_to, now))
            case Value() | Nack():
                query = self._queries.get(message.qid)
                if query is not None and query.key == message.key:
                    self._on_answer(query, member, message, now)
        return self._collect(now)

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[Action]:
        """What came of a `FetchBulk`: records, or none when the transfer has failed."""
        query = self._queries.get(qid)
        if query is None or hid not in query.transfers:
            return []
        query.transfers.discard(hid)
        taken = self._take(query, hid, records, now)
        if query.qid in self._queries and not query.transfers:
            self._after_transfers(query, now, failed=not taken)
        return self._collect(now)

    def tick(self, now: float) -> list[Action]:
        """Act on the time."""
        for query in [query for query in self._queries.values() if query.deadline <= now]:
            self._step(query, now)
        return self._collect(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        queries = min((query.deadline for query in self._queries.values()), default=math.inf)
        return min(queries, self._answering.next_deadline())

    # ---- steps of a lookup ---------------------------------------------------------------------------------------

    def _start(self, key: bytes, latest: bool, own: tuple[bytes, ...], on_done: OnDone, hops: int, now: float) -> None:
        qid = self._rng.randbytes(QID_BYTES)
        query = Query(qid, key, now, latest=latest, hops=hops, end_at=now + self._config.give_up_s)
        query.found = own
        query.waiting.append(on_done)
        self._queries[qid] = self._wanted[key, latest] = query
        if latest:  # one host does not know whether others have newer versions
            self._ask(query, now)
        else:
            self._try_next(query, now)

    def _step(self, query: Query, now: float) -> None:
        if query.end_at <= now:
            self._finish(query, now)
            return
        match query.phase:
            case Phase.FETCHING if self._candidate(query, now) is not None:
                self.counters["fetches_hedged"] += 1
                self._try_next(query, now)
            case Phase.FETCHING:
                self.counters["fetch_timeouts"] += 1
                self._disappointed(query, now)
            case Phase.ASKING:
                self._ask_again(query, now)
            case Phase.COLLECTING if query.transfers:
                query.step_at = math.inf
            case Phase.COLLECTING:
                self._finish(query, now)
            case _:
                self._try_next(query, now)

    def _try_next(self, query: Query, now: float) -> None:
        """Fetch from the next probable holder, else wait for an answer that somebody else will get, else ask all."""
        holder = self._holder(query, now)
        heard_at = self._questions.asked_at(query.key, now - self._config.overhear_s)
        if holder is not None:
            self._fetch_from(query, holder, now)
        elif heard_at is not None and not query.overheard:
            query.overheard = True
            query.enter(Phase.OVERHEARING, heard_at + self._config.overhear_wait_s)
        else:
            self._ask(query, now)

    def _holder(self, query: Query, now: float) -> Member | None:
        member = self._candidate(query, now)
        self.counters["hints_used"] += member is not None and member.hid in self.hints.holders(query.key, now)
        return member

    def _candidate(self, query: Query, now: float) -> Member | None:
        """Who probably holds the key and was not asked."""
        if len(query.tried) >= self._config.fetches_max:
            return None
        hints = self.hints.holders(query.key, now)
        return self._siblings.first_answerer((*self._placement.targets(query.key), *hints), query.tried)

    def _fetch_from(self, query: Query, holder: Member, now: float) -> None:
        query.source = holder.hid
        self._fetch(query, holder)
        alone = self._candidate(query, now) is None
        query.enter(Phase.FETCHING, now + (self._config.fetch_rto_s if alone else self._config.hedge_s))

    def _fetch(self, query: Query, holder: Member) -> None:
        query.tried.add(holder.hid)
        self._effects.append(Unicast(holder.addresses[0], Fetch(qid=query.qid, key=query.key)))

    def _disappointed(self, query: Query, now: float) -> None:
        """The probable holder has nothing, or does not answer."""
        if query.source is not None:
            self.hints.forget(query.key, query.source)
        self._try_next(query, now)

    def _ask(self, query: Query, now: float) -> None:
        if self._siblings.all_among(query.nacks):
            self._finish(query, now)
            return
        query.asked_at = now
        query.enter(Phase.ASKING, now)
        self._ask_again(query, now)
        if query.found:  # own records are the first answer, where the latest is wanted
            query.enter(Phase.COLLECTING, now + self._config.collect_s)

    def _ask_again(self, query: Query, now: float) -> None:
        """Whatever is due of: a question to all, a question to each that has said nothing."""
        asks_s = self._config.asks_s
        if query.attempts < len(asks_s) and query.asked_at + asks_s[query.attempts] <= now:
            query.attempts += 1
            if self._within_limits(self._siblings.me, now):
                query.asks += 1
                ask = (Ask.LATEST if query.latest else Ask.ANY) | (Ask.DENIAL if self._siblings.small else Ask.ANY)
                self._effects.append(Multicast(WhoHas(qid=query.qid, key=query.key, ask=ask, hops=query.hops)))
        if self._siblings.small and not query.swept and query.started_at + self._config.sweep_s <= now:
            query.swept = True
            for member in self._siblings.answerers():
                if member.hid not in query.nacks:
                    self._fetch(query, member)
        self._schedule(query)

    def _schedule(self, query: Query) -> None:
        asks_s = self._config.asks_s
        ask_at = query.asked_at + asks_s[query.attempts] if query.attempts < len(asks_s) else math.inf
        sweep_at = query.started_at + self._config.sweep_s if self._siblings.small and not query.swept else math.inf
        query.step_at = min(ask_at, sweep_at)

    def _finish(self, query: Query, now: float) -> None:
        del self._queries[query.qid]
        del self._wanted[query.key, query.latest]
        self._waiting -= len(query.waiting)
        self.took.add(now - query.started_at)
        result = Resolved(
            key=query.key,
            outcome=Outcome.FOUND if query.found else Outcome.NOT_FOUND,
            records=query.found,
            partial=self._partial(query, now),
            asks=query.asks,
        )
        self._done.append((query.waiting, result))

    # ---- answers to this host ------------------------------------------------------------------------------------

    def _on_answer(self, query: Query, member: Member, message: Value | Nack, now: float) -> None:
        if isinstance(message, Value):
            query.claimed |= bool(message.records)
            if self._take(query, member.hid, message.records, now):
                return
        else:
            query.nacks.add(member.hid)
        if query.phase is Phase.FETCHING and query.source == member.hid and not query.transfers:
            self._disappointed(query, now)
        elif query.phase is Phase.ASKING and self._siblings.all_among(query.nacks):
            self._finish(query, now)

    def _on_have(self, member: Member, have: Have, now: float, *, multicast: bool) -> None:
        self.hints.learn(have.key, (member.hid,), now)
        if multicast:
            self._answering.heard(have, now)
        for latest in (False, True):
            query = self._wanted.get((have.key, latest))
            if query is not None:
                self._on_claim(query, member, have, now)

    def _on_claim(self, query: Query, member: Member, have: Have, now: float) -> None:
        query.claimed = True
        if have.size > self._config.inline_max:
            self._transfer(query, member)
        elif have.qid != query.qid and member.hid not in query.tried:  # else its records are on their way
            if query.phase is Phase.OVERHEARING:
                self._fetch_from(query, member, now)
            elif query.phase is Phase.ASKING:
                self._fetch(query, member)

    def _transfer(self, query: Query, holder: Member) -> None:
        """Fetch in bulk: all versions at once, or one after the other until there is one."""
        busy = query.transfers and not query.latest
        if busy or holder.hid in query.bulk_from or len(query.bulk_from) >= self._config.values_max:
            return
        query.bulk_from.add(holder.hid)
        query.transfers.add(holder.hid)
        query.end_at = query.started_at + max(self._config.bulk_s, self._config.give_up_s)
        if query.phase is not Phase.COLLECTING and not query.latest:
            query.step_at = math.inf
        fetch = Fetch(qid=query.qid, key=query.key)
        self._effects.append(FetchBulk(holder.hid, holder.addresses[0], fetch))

    def _after_transfers(self, query: Query, now: float, *, failed: bool) -> None:
        """No transfer is under way any more, and the query has not ended with the last one."""
        self.counters["bulk_failed"] += failed
        query.end_at = query.started_at + self._config.give_up_s
        if query.end_at <= now or (query.phase is Phase.COLLECTING and query.step_at == math.inf):
            self._finish(query, now)
        elif query.phase is Phase.ASKING:
            self._schedule(query)
        elif query.phase is not Phase.COLLECTING:
            self._disappointed(query, now)

    def _take(self, query: Query, hid: bytes, records: tuple[bytes, ...], now: float) -> bool:
        """Merge what somebody sent; whether there was anything in it."""
        if not records:
            return False
        if hid in query.answered or len(query.answered) >= self._config.values_max:
            self.counters["surplus_values"] += 1
            return False
        query.answered.add(hid)
        lawful = self._holdings.merged(query.key, records)
        if not lawful:
            self.counters["unlawful"] += 1
            return False
        query.found = self._holdings.merged(query.key, (*query.found, *lawful)) if query.found else lawful
        if not query.latest:
            self._finish(query, now)
        elif query.phase is not Phase.COLLECTING:
            query.enter(Phase.COLLECTING, now + self._config.collect_s)
        return True

    # ---- others' questions ---------------------------------------------------------------------------------------

    def _on_who_has(self, member: Member, question: WhoHas, reply_to: Address, now: float) -> None:
        if not self._within_limits(member.hid, now):
            return
        self._questions.heard(question.key, now)
        if self._siblings.answering:
            self._answering.asked(question, reply_to, self._siblings.size, now)

    def _within_limits(self, hid: bytes, now: float) -> bool:
        """Own questions are counted as well: others would drop what is over the limits."""
        if self._senders.take(hid, now):
            self.counters["sender_over_rate"] += 1
        elif self._link.take("link", now):
            self.counters["link_over_rate"] += 1
        else:
            return True
        return False

    def _partial(self, query: Query, now: float) -> bool:
        """Whether there may be more than what was found."""
        doubtful = self._siblings.doubtful(now)
        if query.found:
            return query.latest and (doubtful or not query.bulk_from <= query.answered)
        # Of a small subnet somebody has said nothing; of a large one that is all there is, if it was asked at all.
        unheard = (self._siblings.small or not query.asks) and not self._siblings.all_among(query.nacks)
        return doubtful or query.claimed or unheard

    def _collect(self, now: float) -> list[Action]:
        effects = [*self._effects, *self._answering.tick(now)]
        self._effects = []
        done, self._done = self._done, []
        for waiting, result in done:  # last, so that whoever is told may look up more
            for on_done in waiting:
                on_done(result)
        return effects


_OURS: Final = (WhoHas, Have, Note, Fetch, Value, Nack)


def _well_formed(message: WhoHas | Have | Note | Fetch | Value | Nack) -> bool:
    """Whether what an answer repeats has its length; the codec checks that too, a caller without one may not."""
    qid_fits = isinstance(message, Note) or len(message.qid) == QID_BYTES
    return qid_fits and len(message.key) == ID_BYTES
