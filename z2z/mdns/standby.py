"""Services that another importer of the link shows, and that this one will show when that one ends. No I/O here.

Several importers of one item behave as one: one *serves*, the others stand by, and no browser on the link must notice
when the one that serves stops or dies. It stops with goodbyes, after which a record lives on for a second, so that
whoever else has it can say so (RFC 6762 section 10.1); those that stand by do. One that dies leaves its records in the
caches until their lifetime ends. Browsers ask for them again from four fifths of it on (section 5.2), so a question to
which no answer is heard is the first sign. Without any question, one of its names is asked for every few seconds.

What its exporter took back is not to be shown again: such goodbyes of the unique records come with the cache-flush bit
(`Responder.withdraw`), those of an importer that ends do not (`Responder.shutdown`).
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from random import Random
from typing import Final, Literal

from z2z.mdns.messages import RR_ANY, RR_PTR, RR_SRV, RR_TXT, MdnsMessage, Name, Ptr, Question, Srv, fold
from z2z.mdns.timers import Timers

CHECK_S: Final = 10.0
"One name of each importer is asked for so often: two packets, however many it serves."
ANSWER_S: Final = 1.0
"An answer takes up to 0.62 s: 120 ms (RFC 6762 section 6) half a second after another one to the same question."
QUIET_S: Final = 1.25
"Who has said a record this recently need not say it again (section 6), so silence says nothing."
RESCUE_S: Final = (0.05, 0.4)
"After a goodbye, and before the second is over; several that stand by do not all speak."
JITTER_S: Final = 0.2
"Added to waits, for the same reason."
TAKEN_BACK_S: Final = 30.0
"Our own store says so as well by then, or it is still to be shown."
SOURCES_MAX: Final = 4
"Addresses by which one importer is known: two of each family."


class Watch(Enum):
    """What is known of a service that another importer shows."""

    SERVED = "it was heard"
    EXPECTED = "somebody asked for it, an answer is due"
    DOUBTED = "none was heard, so it was asked for again"
    LEAVING = "the other one said goodbye"
    TAKEN_BACK = "the other one said goodbye as its exporter took it back"


class Happening(Enum):
    """What happens to it."""

    HEARD = "the other one, or a third one, says it"
    GOODBYE = "it says goodbye"
    TAKEN_BACK = "it says goodbye for good"
    QUESTION = "somebody on the link asks for it"
    CHECK = "it is this name's turn to be asked for"
    DOUBT = "another name of the same importer was taken over"
    TIMER = "the wait is over"


class Step(Enum):
    """What is done about it."""

    NOTHING = "nothing"
    REST = "wait for nothing"
    WAIT = "wait for an answer"
    ASK = "ask and wait for an answer"
    RESCUE = "wait a moment"
    BE_PATIENT = "wait for what our own store says"
    TAKE_OVER = "show it"


_ALWAYS: Final = {
    Happening.HEARD: (Watch.SERVED, Step.REST),
    Happening.GOODBYE: (Watch.LEAVING, Step.RESCUE),
    Happening.TAKEN_BACK: (Watch.TAKEN_BACK, Step.BE_PATIENT),
}
TRANSITIONS: Final[Mapping[tuple[Watch, Happening], tuple[Watch, Step]]] = {
    **{(state, what): then for state in Watch for what, then in _ALWAYS.items()},
    (Watch.LEAVING, Happening.GOODBYE): (Watch.LEAVING, Step.NOTHING),  # pointer and SRV, by two address families
    (Watch.SERVED, Happening.QUESTION): (Watch.EXPECTED, Step.WAIT),
    (Watch.SERVED, Happening.CHECK): (Watch.EXPECTED, Step.ASK),
    (Watch.SERVED, Happening.DOUBT): (Watch.DOUBTED, Step.ASK),
    (Watch.EXPECTED, Happening.DOUBT): (Watch.DOUBTED, Step.ASK),
    (Watch.EXPECTED, Happening.TIMER): (Watch.DOUBTED, Step.ASK),
    (Watch.TAKEN_BACK, Happening.TIMER): (Watch.DOUBTED, Step.ASK),
    (Watch.DOUBTED, Happening.TIMER): (Watch.SERVED, Step.TAKE_OVER),
    (Watch.LEAVING, Happening.TIMER): (Watch.SERVED, Step.TAKE_OVER),
}
"A pair that is not listed changes nothing. After a take-over nothing is watched any more."

_CHECK: Final = "check"
"Key of the timer of the checks; the others are names, which are tuples."


class _Watched:
    """One service."""

    __slots__ = ("heard_at", "name", "sources", "state")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.state = Watch.SERVED
        self.sources: dict[str, None] = {}
        self.heard_at = 0.0


class Standby:
    """All services of one link that this importer stands by for. Names in calls are folded ones.

    Args:
        rng: source of the small delays, and of which name is asked for.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._watched: dict[Name, _Watched] = {}
        self._of_type: dict[Name, dict[Name, None]] = {}
        self._timers = Timers[Name | Literal["check"]]()
        self._questions: dict[Name, Question] = {}
        self._taken_over: list[Name] = []

    def watch(self, name: Name, source: str, now: float) -> None:
        """Stand by for a service that `source` has just shown."""
        key = fold(name)
        self._watched[key] = _Watched(name)
        self._of_type.setdefault(key[1:], {})[key] = None
        self._note(self._watched[key], source, now)
        if len(self._watched) == 1:
            self._timers.set(_CHECK, now + self._jittered(CHECK_S))

    def forget(self, key: Name) -> None:
        """Watch it no longer."""
        if self._watched.pop(key, None) is None:
            return
        self._timers.cancel(key)
        self._questions.pop(key, None)
        siblings = self._of_type[key[1:]]
        del siblings[key]
        if not siblings:
            del self._of_type[key[1:]]
        if not self._watched:
            self._timers.cancel(_CHECK)

    def hear(self, message: MdnsMessage, source: str, now: float) -> None:
        """Act on what somebody else says; that it is no device's claim has been made sure of."""
        for record in (*message.answers, *message.additionals):
            match record.data:
                case Srv():
                    key = fold(record.name)
                case Ptr(target=target):
                    key = fold(target)
                case _:
                    continue
            watched = self._watched.get(key)
            if watched is None:
                continue
            if record.ttl_s > 0:
                self._note(watched, source, now)
                self._step(key, Happening.HEARD, now)
            else:
                for_good = record.unique and isinstance(record.data, Srv)
                self._step(key, Happening.TAKEN_BACK if for_good else Happening.GOODBYE, now)

    def asked(self, message: MdnsMessage, now: float) -> None:
        """Act on a query of somebody else, to which an answer should be heard."""
        if message.truncated or not self._watched:
            return  # what is known already follows, and need not be answered
        known = {fold(record.data.target) for record in message.answers if isinstance(record.data, Ptr)}
        for question in message.questions:
            if question.unicast:
                continue  # so may be the answer
            key = fold(question.name)
            if key in self._watched and question.rrtype in {RR_SRV, RR_TXT, RR_ANY}:
                if now - self._watched[key].heard_at >= QUIET_S:
                    self._step(key, Happening.QUESTION, now)
            elif key in self._of_type and question.rrtype in {RR_PTR, RR_ANY}:
                self._ask_one_of_each(self._of_type[key].keys() - known, Happening.QUESTION, now)

    def tick(self, now: float) -> tuple[list[Question], list[Name]]:
        """Do what is due; returns what to ask, and the names to take over, which are watched no more."""
        dead: set[str] = set()
        for key in self._timers.pop_due(now):
            if isinstance(key, str):
                self._timers.set(_CHECK, now + self._jittered(CHECK_S))
                self._ask_one_of_each(self._watched, Happening.CHECK, now)
            else:
                watched = self._watched[key]
                dead.update(watched.sources if watched.state is Watch.DOUBTED else ())
                self._step(key, Happening.TIMER, now)
        for key in [key for key, each in self._watched.items() if not dead.isdisjoint(each.sources)]:
            self._step(key, Happening.DOUBT, now)
        questions, taken_over = list(self._questions.values()), self._taken_over
        self._questions, self._taken_over = {}, []
        return questions, taken_over

    def next_deadline(self) -> float:
        """Return when `tick` should be called next, `math.inf` for never."""
        return self._timers.next_deadline()

    def _ask_one_of_each(self, keys: Iterable[Name], what: Happening, now: float) -> None:
        """Let one name speak for all of its importer: a lost packet must not cost hundreds.

        Which one is drawn, so that one that is served no more without a goodbye comes to light some time.
        """
        asked = {Watch.EXPECTED, Watch.DOUBTED}
        seen = {source for each in self._watched.values() if each.state in asked for source in each.sources}
        drawn = sorted(keys)
        self._rng.shuffle(drawn)
        for key in drawn:
            watched = self._watched[key]
            if seen.isdisjoint(watched.sources) and now - watched.heard_at >= QUIET_S:
                self._step(key, what, now)
            seen.update(watched.sources)

    def _step(self, key: Name, what: Happening, now: float) -> None:
        watched = self._watched[key]
        step = TRANSITIONS.get((watched.state, what))
        if step is None:
            return
        watched.state, action = step
        match action:
            case Step.NOTHING:
                pass
            case Step.REST:
                self._timers.cancel(key)
                self._questions.pop(key, None)
            case Step.WAIT:
                self._timers.set(key, now + self._jittered(ANSWER_S))
            case Step.ASK:
                self._questions[key] = Question(name=watched.name, rrtype=RR_SRV)
                self._timers.set(key, now + self._jittered(ANSWER_S))
            case Step.RESCUE:
                self._timers.set(key, now + self._rng.uniform(*RESCUE_S))
            case Step.BE_PATIENT:
                self._timers.set(key, now + self._jittered(TAKEN_BACK_S))
            case Step.TAKE_OVER:
                self.forget(key)
                self._taken_over.append(key)

    def _note(self, watched: _Watched, source: str, now: float) -> None:
        watched.heard_at = now
        watched.sources.pop(source, None)
        watched.sources[source] = None
        if len(watched.sources) > SOURCES_MAX:
            del watched.sources[next(iter(watched.sources))]

    def _jittered(self, wait_s: float) -> float:
        return wait_s + JITTER_S * self._rng.random()
