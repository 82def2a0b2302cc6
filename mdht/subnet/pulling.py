"""Records that this host fetches from siblings, since they belong here (mDHT design, section 9)."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from mdht.errors import RefusalCode
from mdht.subnet.commons import Commons
from mdht.subnet.effects import Unicast
from mdht.subnet.holdings import COPIES_MAX
from mdht.subnet.messages import QID_BYTES, Fetch, Have, Nack, Value
from mdht.subnet.query import FetchBulk
from mdht.subnet.timers import Timers
from mdht.wire import read_copy

SOURCES_MAX: Final = 4
"Hosts asked for one key, one after the other."
TRIES: Final = 3
"Questions to each: with a fifth of the datagrams lost both are heard once in 19 of 20 cases."

OnPulled = Callable[[bytes, bytes, bool, float], None]
"Key, whom it was asked of first, whether it has come, time."


class Pull:
    """A key that is wanted."""

    __slots__ = ("bulk", "first", "key", "qid", "sent_at", "source", "sources", "tries")

    def __init__(self, key: bytes, source: bytes, others: Iterable[bytes]) -> None:
        self.key = key
        self.first = source
        self.source = source
        rest = dict.fromkeys(hid for hid in others if hid != source)
        self.sources = deque(itertools.islice(rest, SOURCES_MAX - 1))
        self.qid = b""
        self.tries = 0
        self.sent_at = 0.0
        self.bulk = False


class Pulling:
    """One host's.

    Args:
        commons: where they go, whom it can reach.
        on_pulled: told of each end.
    """

    def __init__(self, commons: Commons, on_pulled: OnPulled) -> None:
        self._stock, self._siblings, self._config = commons.stock, commons.siblings, commons.config
        self._rng, self._counters, self._out = commons.rng, commons.counters, commons.out
        self._on_pulled = on_pulled
        self._pulls: dict[bytes, Pull] = {}
        self._by_qid: dict[bytes, Pull] = {}
        self._waiting: deque[Pull] = deque()
        self._timers = Timers()

    def __len__(self) -> int:
        return len(self._pulls)

    @property
    def full(self) -> bool:
        """Whether no more may be added by what is not urgent."""
        return len(self._pulls) >= self._config.transfers_max // 2

    def pull(self, key: bytes, source: bytes, others: Iterable[bytes], now: float) -> None:
        """Fetch a key from a host, from others if it has none."""
        if key in self._pulls:
            return
        if len(self._pulls) >= self._config.transfers_max:
            self._counters["not_pulled"] += 1
            return
        pull = self._pulls[key] = Pull(key, source, others)
        self._waiting.append(pull)
        self._pump(now)

    def cancel(self, hid: bytes, now: float) -> None:
        """A host is gone: whatever was asked of it is asked of others."""
        for pull in [pull for pull in self._by_qid.values() if pull.source == hid]:
            self._next_source(pull, now)
        self._pump(now)

    # ---- what comes --------------------------------------------------------------------------------------------------

    def receive(self, hid: bytes, message: Value | Nack | Have, now: float) -> bool:
        """Act on an answer; False if it is none to a question of this."""
        pull = self._by_qid.get(message.qid)
        if pull is None or pull.source != hid or pull.key != message.key:
            return False
        if isinstance(message, Have):
            self._in_bulk(pull, now)
        elif isinstance(message, Value) and self.store(pull.key, message.records, now - pull.sent_at, now):
            self._end(pull, now, well=True)
        else:
            self._next_source(pull, now)
        self._pump(now)
        return True

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> bool:
        """What came of a `FetchBulk`; False if it is none of this."""
        pull = self._by_qid.get(qid)
        if pull is None or pull.source != hid or not pull.bulk:
            return False
        if records and self.store(pull.key, records, now - pull.sent_at, now):
            self._end(pull, now, well=True)
        else:
            self._next_source(pull, now)
        self._pump(now)
        return True

    def store(self, key: bytes, records: Iterable[bytes], age_s: float, now: float) -> bool:
        """Keep records of a key that were sent at most so long ago; whether any was right."""
        lawful = False
        for data in itertools.islice(records, COPIES_MAX):
            copy = read_copy(data)
            if copy is None or copy.record.key != key:
                self._counters["unlawful"] += 1
                continue
            outcome = self._stock.put(copy.aged(age_s), now)
            lawful = lawful or outcome.refusal in {None, RefusalCode.STALE}
            if outcome.refusal not in {None, RefusalCode.STALE}:
                self._counters["pulls_refused"] += 1
        return lawful

    def tick(self, now: float) -> None:
        """Act on the time."""
        self._timers.tick(now)
        self._pump(now)

    def next_deadline(self) -> float:
        """When to call `tick`; there may be nothing to do then."""
        return self._timers.next_deadline()

    # ---- asking ------------------------------------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        while self._waiting and len(self._by_qid) < self._config.window:
            self._ask(self._waiting.popleft(), now)

    def _ask(self, pull: Pull, now: float) -> None:
        member = self._siblings.get(pull.source)
        if member is None:
            self._next_source(pull, now)
            return
        pull.tries += 1
        if pull.tries == 1:
            pull.qid = self._rng.randbytes(QID_BYTES)
            self._by_qid[pull.qid] = pull
            pull.sent_at = now
        self._out.append(Unicast(member.addresses[0], Fetch(qid=pull.qid, key=pull.key)))
        self._at(now + self._config.rto_s * 2.0 ** (pull.tries - 1), pull)

    def _overdue(self, qid: bytes, now: float) -> None:
        pull = self._by_qid.get(qid)
        if pull is None:
            return
        if pull.tries < TRIES and not pull.bulk:
            self._counters["pulls_repeated"] += 1
            self._ask(pull, now)
        else:
            self._next_source(pull, now)

    def _in_bulk(self, pull: Pull, now: float) -> None:
        member = self._siblings.get(pull.source)
        if pull.bulk or member is None:
            return
        del self._by_qid[pull.qid]  # a new number: else timers of the old one would end it
        pull.qid, pull.bulk, pull.sent_at = self._rng.randbytes(QID_BYTES), True, now
        self._by_qid[pull.qid] = pull
        self._out.append(FetchBulk(pull.source, member.addresses[0], Fetch(qid=pull.qid, key=pull.key)))
        self._at(now + self._config.bulk_s, pull)

    def _next_source(self, pull: Pull, now: float) -> None:
        self._by_qid.pop(pull.qid, None)
        pull.tries, pull.bulk, pull.qid = 0, False, b""
        if not pull.sources:
            self._counters["pulls_failed"] += 1
            self._end(pull, now, well=False)
            return
        pull.source = pull.sources.popleft()
        self._waiting.append(pull)

    def _end(self, pull: Pull, now: float, *, well: bool) -> None:
        self._by_qid.pop(pull.qid, None)
        del self._pulls[pull.key]
        self._on_pulled(pull.key, pull.first, well, now)

    def _at(self, when: float, pull: Pull) -> None:
        self._timers.at(when, partial(self._overdue, pull.qid))
