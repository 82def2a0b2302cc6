"""What other nodes ask about the records of this one, and what they are told.

An answer may have to wait for siblings: the host that was asked need not hold the key itself.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from dhtboot.limits import TokenBuckets
from mdht.errors import RefusalCode
from mdht.keeping.config import KeepingConfig
from mdht.keeping.others import Others
from mdht.keeping.shelf import Held, OnPut, Shelf
from mdht.keeping.subscriptions import Subscriptions
from mdht.messages import Answer, Get, Got, Listen, Listening, Offer, Put, Question, Stored, Wanted
from mdht.records import KEY_BYTES, Copy
from mdht.subnet.face_asked import AskedBy
from mdht.subnet.face_messages import RECORDS_ROOM, RIDING_ROOM
from mdht.wire import page

BUSY_S: Final = 1.0
"After which somebody who asks too much may ask again."
OFFER_SLACK: Final = 2
"Ranks behind the replicas at which an offer is still taken: who offers may know of so many more losses than we."
COPIES_MAX: Final = 16
"In one question: more do not fit a datagram."
ENTRIES_MAX: Final = 64

Store = Callable[[Copy, float, OnPut, str], None]
"Stores a copy that comes from an address."
Offered = Callable[[bytes, int, float], None]


class Answering:
    """One host's answers.

    Args:
        shelf: the records of this node.
        others: the nodes that ask.
        subscriptions: who follows which key.
        config: limits.
        store: stores a copy, and tells all who follow its key.
        offered: is told of each key that another node offers, and which node that is.
        counters: of what was refused.
    """

    def __init__(
        self,
        shelf: Shelf,
        others: Others,
        subscriptions: Subscriptions,
        config: KeepingConfig,
        store: Store,
        offered: Offered,
        counters: Counter[str],
    ) -> None:
        self._shelf = shelf
        self._others = others
        self._subscriptions = subscriptions
        self._config = config
        self.store = store
        self._offered = offered
        self._counters = counters
        self._askers = TokenBuckets(rate_per_s=config.questions_per_s, burst=config.questions_burst)

    def on_question(self, question: Question, asker: AskedBy, now: float) -> None:
        """Answer a host, now or later."""
        over_rate = bool(self._askers.take(asker.peer.address[0], now))
        if over_rate:
            self._counters["questions_over_rate"] += 1
        if over_rate or not self._others.inside:
            self._others.answer(asker, _busy(question), now)
            return
        match question:
            case Get(key=key, offset=offset) if len(key) == KEY_BYTES:
                self._shelf.get(
                    key, now, lambda held, at: self._others.answer(asker, _page(held, offset, RECORDS_ROOM), at)
                )
            case Put(copies=copies) if 0 < len(copies) <= COPIES_MAX:
                _Storing(self, asker, copies).start(now)
            case Listen(key=key, lease_s=lease_s) if len(key) == KEY_BYTES:
                granted_s = self._subscriptions.add(key, asker.peer, lease_s, now, held_open=asker.held_open)
                if granted_s:
                    self._shelf.get(key, now, lambda held, at: self._on_followed(asker, granted_s, held, at))
                else:
                    self._others.answer(asker, Listening(0.0, 0, 0), now)
            case Offer(entries=entries) if 0 < len(entries) <= ENTRIES_MAX:
                _Comparing(self, asker, entries).start(now)
            case _:
                self._counters["questions_refused"] += 1

    def on_riding(self, get: Get, now: float) -> Got | None:
        """Answer what rides on a lookup, if this very host can."""
        found: list[Held] = []
        if self._others.inside and self._shelf.holds(get.key):
            self._shelf.get(get.key, now, lambda held, _at: found.append(held))
        answer = _page(found[0], get.offset, RIDING_ROOM) if found else None
        return answer if answer is not None and answer.copies else None  # too large to ride: ask for it

    def _on_followed(self, asker: AskedBy, granted_s: float, held: Held, now: float) -> None:
        self._others.answer(asker, Listening(granted_s, len(held.copies), held.digest), now)

    # ---- what the two below need ---------------------------------------------------------------------------------

    def reply(self, asker: AskedBy, answer: Answer, now: float) -> None:
        """Answer."""
        self._others.answer(asker, answer, now)

    def compare(self, key: bytes, sender: int, now: float, on_held: Callable[[Held | None, float], None]) -> None:
        """What is held under a key that another node offers; None for what does not belong here."""
        self._offered(key, sender, now)
        if len(key) != KEY_BYTES or not self._others.is_replica(key, self._config.replicas + OFFER_SLACK):
            on_held(None, now)
        else:
            self._shelf.get(key, now, on_held)


class _Storing:
    """A `Put` until all of its copies are stored or refused."""

    def __init__(self, answering: Answering, asker: AskedBy, copies: tuple[Copy, ...]) -> None:
        self._answering = answering
        self._asker = asker
        self._copies = copies
        self._codes: dict[int, int] = {}

    def start(self, now: float) -> None:
        for number, copy in enumerate(self._copies):
            source = self._asker.peer.address[0]
            self._answering.store(copy, now, partial(self._done, number), source)

    def _done(self, number: int, refusal: RefusalCode | None, now: float) -> None:
        self._codes[number] = 0 if refusal is None else int(refusal)
        if len(self._codes) == len(self._copies):
            codes = tuple([self._codes[at] for at in range(len(self._copies))])
            later_s = BUSY_S if RefusalCode.BUSY in codes else 0.0
            self._answering.reply(self._asker, Stored(codes, later_s), now)


class _Comparing:
    """An `Offer` until it is known what is wanted of it."""

    def __init__(self, answering: Answering, asker: AskedBy, entries: tuple[tuple[bytes, int], ...]) -> None:
        self._answering = answering
        self._asker = asker
        self._entries = entries
        self._waiting = len(entries)
        self._wanted: list[int] = []

    def start(self, now: float) -> None:
        for number, (key, digest) in enumerate(self._entries):
            self._answering.compare(key, self._asker.node.id, now, partial(self._done, number, digest))

    def _done(self, number: int, digest: int, held: Held | None, now: float) -> None:
        self._waiting -= 1
        if held is not None and held.digest != digest:
            self._wanted.append(number)
        if not self._waiting:
            self._answering.reply(self._asker, Wanted(tuple(sorted(self._wanted))), now)


def _page(held: Held, offset: int, room: int) -> Got:
    rest = list(held.copies[max(offset, 0) :])
    return Got(page(rest, room), len(held.copies), held.digest, held.partial and not held.copies)


def _busy(question: Question) -> Answer:
    """What is told to somebody who asks too much, or too early."""
    match question:
        case Get():
            return Got((), 0, 0, partial=True)
        case Put(copies=copies):
            return Stored((int(RefusalCode.BUSY),) * len(copies), BUSY_S)
        case Listen():
            return Listening(0.0, 0, 0)
        case Offer():
            return Wanted(())
