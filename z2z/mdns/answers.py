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
"How long known answers may follow a truncated query (section 7.2)."
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

    def __init__(self) -> None:
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
        self._scheduled: dict[Identity, int] = {}
        self._count = 0

    def query(self, message: MdnsMessage, source: str, port: int, now: float) -> list[SendUnicast]:
        """Answer a query, or prepare to; returns the unicast answers, multicast ones are in the outbox."""
        if port != MDNS_PORT:
            return self._answer_legacy(message, source, port, now)
        held = self._held.get(source)
        if held is None and message.truncated and len(self._held) < HELD_MAX:
            held = self._held[source] = _Held()
            self._timers.set(source, now + self._rng.uniform(*TRUNCATED_DELAY_S))
        known = {identity(record): record.ttl_s for record in message.answers}
        if held is None:
            return self._answer(message.questions, known, source, now, is_probe=bool(message.authorities))
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
            if len(self._batches) >= BATCHES_MAX:
                return
            self._count += 1
            self._batches[self._count] = batch
            self._scheduled |= dict.fromkeys(batch, self._count)
            self._timers.set(self._count, max(when, now))

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
                effects += self._answer(held.questions, held.known, key, now, is_probe=False)
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
        self, questions: Iterable[Question], known: Mapping[Identity, int], source: str, now: float, *, is_probe: bool
    ) -> list[SendUnicast]:
        at_once: dict[Identity, OwnRecord] = {}
        delayed: dict[Identity, OwnRecord] = {}
        direct: dict[Identity, OwnRecord] = {}
        for question in questions:
            for own in self._zone.answers(question):
                age_s = now - own.sent_at
                if own.is_known(known):
                    continue
                if question.unicast and age_s <= own.record.ttl_s / 4:
                    direct[own.key] = own  # else everybody gets it, to refresh the caches (section 5.4)
                elif is_probe:
                    if age_s >= PROBE_REPEAT_S:
                        at_once[own.key] = own
                elif own.record.unique and age_s >= REPEAT_S:
                    at_once[own.key] = own
                elif age_s >= SAME_QUERY_S:
                    delayed[own.key] = own
        # Who only asks for defence gets no more of it than his probe is about: unique records, not lists.
        defence = {key: own for key, own in at_once.items() if is_probe and own.record.unique}
        self.multicast(defence.values(), now, known, defence=True)
        self.multicast((own for key, own in at_once.items() if key not in defence), now, known)
        if delayed:
            self.schedule(delayed.values(), now, now + self._rng.uniform(*SHARED_DELAY_S))
        if not direct or not self._outbox.afford(now):
            return []
        groups = [(own.record, [extra.record for extra in self._zone.additionals(own)]) for own in direct.values()]
        return [SendUnicast(message=message, to=source, port=MDNS_PORT) for message in pack_answers(groups)]

    def _answer_legacy(self, message: MdnsMessage, source: str, port: int, now: float) -> list[SendUnicast]:
        """Answer as a plain DNS server would, because the asker is a plain resolver (section 6.7)."""
        answers: dict[Record, None] = {}
        additionals: dict[Record, None] = {}
        for question in message.questions:
            for own in self._zone.answers(question):
                if own.key[1] != RR_NSEC:
                    answers[_legacy(own.record)] = None
                    additionals |= {_legacy(extra.record): None for extra in self._zone.additionals(own)}
        if not answers or not self._outbox.afford(now):
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
