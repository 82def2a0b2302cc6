"""Hello, answers to it, and goodbye: what a host says once or twice (mDHT design, sections 3 and 6)."""

import math
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Final

HELLOS_S: Final = (0.0, 0.25, 0.75)
"When a host that starts says hello, each up to 0.1 s later."
HELLO_JITTER_S: Final = 0.1
BYES_S: Final = (0.0, 0.2)


class Word(Enum):
    """What is to be said now."""

    HELLO = "hello"
    ANSWER = "answer"
    BYE = "bye"


class Greetings:
    """When one host says which.

    Args:
        answers: siblings that answer one hello; whoever has heard so many keeps silent.
        answer_step_s: each waits so long more than the one before it.
    """

    def __init__(self, *, answers: int, answer_step_s: float) -> None:
        self._answers_max = answers
        self._answer_step_s = answer_step_s
        self._hellos: Sequence[float] = ()
        self._byes: Sequence[float] = ()
        self._answers: dict[bytes, tuple[float, int]] = {}

    def come(self, now: float, rng: Random) -> None:
        """Say hello three times."""
        self._hellos = [now + after + rng.random() * HELLO_JITTER_S for after in HELLOS_S]

    def call_at(self, at: float) -> None:
        """Say hello once more at a time, unless that is planned already."""
        if not self._hellos:
            self._hellos = [at]

    def go(self, now: float) -> None:
        """Say goodbye twice, and nothing else."""
        self._hellos, self._answers = (), {}
        self._byes = [now + after for after in BYES_S]

    def answer(self, hid: bytes, place: int, now: float) -> None:
        """Answer somebody's hello when the `place` siblings before this one have had their time.

        Even the first one waits a step: by then the newcomer has shown where he is, and can be told the members.
        """
        self._answers.setdefault(hid, (now + (place + 1) * self._answer_step_s, 0))

    def heard(self) -> None:
        """Somebody else has said that he is here."""
        self._answers = {hid: (at, heard + 1) for hid, (at, heard) in self._answers.items()}

    def due(self, now: float) -> list[Word]:
        """What is to be said now; one answer serves all who said hello."""
        words = []
        if any(at <= now for at in self._hellos):
            self._hellos = [at for at in self._hellos if at > now]
            words.append(Word.HELLO)
        if any(at <= now for at in self._byes):
            self._byes = [at for at in self._byes if at > now]
            words.append(Word.BYE)
        if any(at <= now and heard < self._answers_max for at, heard in self._answers.values()):
            words.append(Word.ANSWER)
        return words

    def answered(self, now: float) -> list[bytes]:
        """Whose hellos are done with; of those whom nobody else has answered, who is to be told all members."""
        done = {hid: heard for hid, (at, heard) in self._answers.items() if at <= now}
        for hid in done:
            del self._answers[hid]
        return [hid for hid, heard in done.items() if heard == 0]

    def next_deadline(self) -> float:
        """When to call `due`."""
        return min([math.inf, *self._hellos, *self._byes, *[at for at, _ in self._answers.values()]])
