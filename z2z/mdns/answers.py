"""Answers to questions: when, to whom, and what need not be said (RFC 6762 sections 5.4, 6 and 7)."""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final, TypeAlias

from z2z.mdns.messages import (
    MDNS_PORT,
    RR_NSEC,
    Identity,
    MdnsMessage,
    Question,
    Record,
    SendUnicast,
    identity,
)
from z2z.mdns.outbox import Outbox, pack, pack_answers
from z2z.mdns.timers import Timers
from z2z.mdns.zone import OwnRecord, Zone

SHARED_DELAY_S: Final = (0.020, 0.120)
"Answers that others may give too wait, so that not all speak at once (section 6)."
TRUNCATED_DELAY_S: Final = (0.400, 0.500)
"How long known answers may follow a truncated query, or the last truncated part of them (section 7.2)."
HELD_S: Final = 5.0
"Longest wait for them: ten parts that come as late as they may; a stream of them must not silence us."
AGGREGATE_S: Final = 0.500
"How much longer an answer may wait to go with others (section 6.4)."
REPEAT_S: Final = 1.0
"A record is multicast at most once in this time (section 6)."
PROBE_REPEAT_S: Final = 0.250
"The same when it defends a name against a probe (section 6)."
SAME_QUERY_S: Final = 0.5
"A query that comes this soon after its answer is taken for the same one over the other address family."
LEGACY_TTL_S: Final = 10
"Lifetime for askers that do not listen to multicast (section 6.7)."
HELD_MAX: Final = 64
"Askers whose truncated queries wait; a link has a few at a time, and more are answered at once."
KNOWN_MAX: Final = 10_000
"Known answers of one asker: as many as a cache of ours has."
BATCHES_MAX: Final = 1_000
"Delayed responses in preparation, each for one query; more queries in 120 ms are a flood and go unanswered."

_TimerKey: TypeAlias = int | str
"Number of a batch, or source of a held query."


class _Held:
    """A truncated query that waits for the rest of its known answers."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.questions: list[Question] = []
        self.known: dict[Identity, int] = {}


class Answers:
    """The answering half of a responder.

    Args:
        zone: our records.
        outbox: where multicast answers go.
        rng: source of the delays.
    """

    def __init__(self, zone: Zone, outbox: Outbox, rng: Random) -> None:
        self._zone = zone
        self._outbox = outbox
        self._rng = rng
        self._timers = Timers[_TimerKey]()
        self._held: dict[str, _Held] = {}
        self._batches: dict[int, dict[Identity, OwnRecord]] = {}
        self._replies: dict[int, tuple[str, list[OwnRecord]]] = {}
        "Delayed unicast answers and whom they go to."
        self._scheduled: dict[Identity, int] = {}
        self._count = 0

    def query(self, message: MdnsMessage, source: str, port: int, now: float) -> list[SendUnicast]:
        """Answer a query, or prepare to; returns the unicast answers, multicast ones are in the outbox."""
        if port != MDNS_PORT:
            return self._answer_legacy(message, source, port, now)
        held = self._held.get(source)
        if held is None and message.truncated and len(self._held) < HELD_MAX:
            held = self._held[source] = _Held(now + HELD_S)
        if held is not None and message.truncated:
            self._timers.set(source, min(now + self._rng.uniform(*TRUNCATED_DELAY_S), held.until))
        known = {identity(record): record.ttl_s for record in message.answers}
        due = now + self._rng.uniform(*SHARED_DELAY_S)
        if held is None:
            return self._answer(message.questions, known, source, now, due, is_probe=bool(message.authorities))
        if len(held.known) + len(held.questions) < KNOWN_MAX:
            held.questions += message.questions
            held.known |= known
        return []

    def hear(self, message: MdnsMessage, now: float) -> None:
        """Take note of another host's response: what it said need not be said again, or must be put right."""
        for record in (*message.answers, *message.additionals):
            own = self._zone.get(identity(record))
            if own is None:
                continue
            if record.ttl_s * 2 < own.record.ttl_s:
                # A goodbye or a short lifetime for what still lives here (sections 6.6 and 10.2).
                self.schedule([own], now, now + self._rng.uniform(*SHARED_DELAY_S))
            elif record.ttl_s >= own.record.ttl_s and own.key in self._scheduled:
                self._batches[self._scheduled.pop(own.key)].pop(own.key)  # section 7.4

    def schedule(self, records: Iterable[OwnRecord], now: float, due: float) -> None:
        """Multicast records at `due`, later if they were sent just before, in one response where possible."""
        by_due: dict[float, dict[Identity, OwnRecord]] = {}
        for own in records:
            if own.key not in self._scheduled:
                by_due.setdefault(max(due, own.sent_at + REPEAT_S), {})[own.key] = own
        for when, batch in by_due.items():
            in_time = (n for n in self._batches if when <= self._timers.get(n) <= when + AGGREGATE_S)
            number = next(in_time, None)
            if number is None:
                if len(self._batches) >= BATCHES_MAX:
                    return
                number = self._next_number()
                self._batches[number] = {}
                self._timers.set(number, max(when, now))
            self._batches[number] |= batch
            self._scheduled |= dict.fromkeys(batch, number)

    def multicast(
        self, records: Iterable[OwnRecord], now: float, known: Mapping[Identity, int], *, defence: bool = False
    ) -> None:
        """Put answers and what askers want next into the outbox."""
        groups: list[tuple[Record, list[Record]]] = []
        for own in self._zone.complete(records):
            own.sent_at = now
            extras = self._zone.complete(
                extra
                for extra in self._zone.additionals(own)
                if now - extra.sent_at >= REPEAT_S and not extra.is_known(known)
            )
            for extra in extras:
                extra.sent_at = now
            groups.append((own.record, [extra.record for extra in extras]))
        push = self._outbox.push_defence if defence else self._outbox.push_answer
        for message in pack_answers(groups):
            push(message, now)

    def defend(self, records: Iterable[OwnRecord], now: float) -> None:
        """Say again what is ours to somebody who says otherwise (section 9)."""
        ours = [own for own in records if own.record.unique and now - own.sent_at >= PROBE_REPEAT_S]
        self.multicast(ours, now, {}, defence=True)

    def announce(self, records: Iterable[OwnRecord], now: float) -> None:
        """Put records into the outbox unasked (section 8.3)."""
        whole = self._zone.complete(records)
        for own in whole:
            own.sent_at = now
        for message in pack(own.record for own in whole):
            self._outbox.push(message)

    def tick(self, now: float) -> list[SendUnicast]:
        """Do what is due."""
        effects: list[SendUnicast] = []
        for key in self._timers.pop_due(now):
            if isinstance(key, str):
                held = self._held.pop(key)
                effects += self._answer(held.questions, held.known, key, now, now, is_probe=False)
                continue
            if key in self._replies:
                effects += self._reply(*self._replies.pop(key), now)
                continue
            batch = self._batches.pop(key)
            for identity_key in batch:
                del self._scheduled[identity_key]
            self.multicast([own for own in batch.values() if own.holders], now, {})
        return effects

    def next_deadline(self) -> float:
        """Return when `tick` should be called next."""
        return self._timers.next_deadline()

    def _answer(
        self,
        questions: Iterable[Question],
        known: Mapping[Identity, int],
        source: str,
        now: float,
        due: float,
        *,
        is_probe: bool,
    ) -> list[SendUnicast]:
        """Answer at once what nobody else can answer, the rest at `due` (sections 6 and 6.3)."""
        found = [(question, self._zone.answers(question)) for question in questions]
        # Who has answers to all questions, and only such as are unique, is the only one to answer.
        alone = all(answers and all(own.record.unique for own in answers) for _, answers in found)
        at_once: dict[Identity, OwnRecord] = {}
        delayed: dict[Identity, OwnRecord] = {}
        direct: dict[Identity, OwnRecord] = {}
        for question, answers in found:
            for own in answers:
                if own.is_known(known):
                    continue
                age_s = now - own.sent_at
                is_fresh = age_s <= own.record.ttl_s / 4  # else everybody gets it, to refresh the caches (section 5.4)
                if question.unicast and (is_fresh or is_probe):
                    direct[own.key] = own
                if question.unicast and is_fresh:
                    continue
                if is_probe:
                    if age_s >= PROBE_REPEAT_S:
                        at_once[own.key] = own
                elif alone and age_s >= REPEAT_S:
                    at_once[own.key] = own
                elif age_s >= SAME_QUERY_S:
                    delayed[own.key] = own
        # Who only asks for defence gets no more of it than his probe is about: unique records, not lists.
        defence = {key: own for key, own in at_once.items() if is_probe and own.record.unique}
        self.multicast(defence.values(), now, known, defence=True)
        self.multicast((own for key, own in at_once.items() if key not in defence), now, known)
        if delayed:
            self.schedule(delayed.values(), now, due)
        if alone or is_probe:
            return self._reply(source, [*direct.values()], now)
        if direct and len(self._replies) < BATCHES_MAX:
            number = self._next_number()
            self._replies[number] = (source, [*direct.values()])
            self._timers.set(number, due)
        return []

    def _next_number(self) -> int:
        self._count += 1
        return self._count

    def _reply(self, source: str, records: Iterable[OwnRecord], now: float) -> list[SendUnicast]:
        """Answer one asker with what has not been withdrawn since."""
        whole = self._zone.complete(own for own in records if own.holders)
        if not whole or not self._outbox.afford(now):
            return []
        groups = [(own.record, [extra.record for extra in self._zone.additionals(own)]) for own in whole]
        return [SendUnicast(message=message, to=source, port=MDNS_PORT) for message in pack_answers(groups)]

    def _answer_legacy(self, message: MdnsMessage, source: str, port: int, now: float) -> list[SendUnicast]:
        """Answer as a plain DNS server would, because the asker is a plain resolver (section 6.7)."""
        answers: dict[Record, None] = {}
        additionals: dict[Record, None] = {}
        owned = False
        for question in message.questions:
            for own in self._zone.answers(question):
                owned = True  # a name of ours without such a record: no error, and no answer
                if own.key[1] != RR_NSEC:
                    answers[_legacy(own.record)] = None
                    extras = (extra.record for extra in self._zone.additionals(own) if extra.key[1] != RR_NSEC)
                    additionals |= {_legacy(extra): None for extra in extras}
        if not owned or not self._outbox.afford(now):
            return []
        reply = MdnsMessage(
            id=message.id,
            is_response=True,
            questions=message.questions,
            answers=tuple(answers),
            additionals=tuple(record for record in additionals if record not in answers),
        )
        return [SendUnicast(message=reply, to=source, port=port)]


def _legacy(record: Record) -> Record:
    return Record(name=record.name, data=record.data, ttl_s=min(record.ttl_s, LEGACY_TTL_S))
