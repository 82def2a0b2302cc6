"""What a querier is about to ask: one message for the needs of a moment, no question again too soon."""

import math
from collections.abc import Iterable
from typing import Final

from z2z.mdns.cache import Cache
from z2z.mdns.messages import RR_PTR, MdnsMessage, Name, Question, Record, fold
from z2z.mdns.outbox import pack_questions

ASK_MIN_S: Final = 0.9
"A question that several needs ask for is not repeated sooner."
ASKED_MAX: Final = 4_096
"Questions remembered as asked just before; about what a full cache refreshes in a second."


class Questions:
    """Questions that wait for the next message.

    Args:
        cache: what is known already.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._asking: dict[tuple[Name, int], Question] = {}
        "What the next message asks, by folded name and type."
        self._asked_at: dict[tuple[Name, int], float] = {}

    def ask(self, name: Name, rrtype: int, now: float) -> None:
        """Ask with the next message, unless the same was asked just before."""
        key = (fold(name), rrtype)
        if now - self._asked_at.get(key, -math.inf) < ASK_MIN_S:
            return
        self._asking[key] = Question(name=name, rrtype=rrtype)
        self._asked_at[key] = now
        if len(self._asked_at) > ASKED_MAX:
            self._asked_at = {asked: when for asked, when in self._asked_at.items() if now - when < ASK_MIN_S}

    def ask_all(self, questions: Iterable[tuple[Name, int]], now: float) -> None:
        """Ask for names and types."""
        for name, rrtype in questions:
            self.ask(name, rrtype, now)

    def take(self, now: float) -> list[MdnsMessage]:
        """Return what waits as messages; nothing waits any more."""
        messages = [self._message(questions, now) for questions in pack_questions(self._asking.values())]
        self._asking.clear()
        return messages

    def _message(self, questions: Iterable[Question], now: float) -> MdnsMessage:
        """Return a query with what is known of the pointers asked for (RFC 6762 section 7.1)."""
        known = [
            Record(name=cached.record.name, data=cached.record.data, ttl_s=int(cached.remaining_s(now)))
            for question in questions
            if question.rrtype == RR_PTR
            for cached in self._cache.get(fold(question.name), RR_PTR)
            if cached.remaining_s(now) > cached.ttl_s / 2
        ]
        return MdnsMessage(questions=tuple(questions), answers=tuple(known))
