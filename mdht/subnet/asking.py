"""Questions to one sibling each, asked again until they are answered or given up."""

import math
from collections.abc import Callable

from mdht.subnet.commons import Commons
from mdht.subnet.effects import Unicast
from mdht.subnet.messages import QID_BYTES
from mdht.subnet.sync_messages import Compare, Differ, KeyList, ListKeys

Question = Compare | ListKeys
MakeQuestion = Callable[[bytes], Question]
OnAnswer = Callable[[Differ | KeyList | None, float], None]
"None: there is none."


class _Asked:
    __slots__ = ("due_at", "hid", "message", "on_answer", "tries")

    def __init__(self, hid: bytes, message: Question, on_answer: OnAnswer, due_at: float) -> None:
        self.hid, self.message, self.on_answer, self.due_at = hid, message, on_answer, due_at
        self.tries = 1


class Asking:
    """One host's; how many are open at a time is up to those who ask.

    Args:
        commons: whom it can reach.
    """

    def __init__(self, commons: Commons) -> None:
        self._siblings, self._config, self._rng = commons.siblings, commons.config, commons.rng
        self._counters, self._out = commons.counters, commons.out
        self._asked: dict[bytes, _Asked] = {}

    def ask(self, hid: bytes, make: MakeQuestion, on_answer: OnAnswer, now: float) -> None:
        """Ask a sibling; the answer comes, or None, but never before this returns."""
        qid = self._rng.randbytes(QID_BYTES)
        asked = self._asked[qid] = _Asked(hid, make(qid), on_answer, now + self._config.rto_s)
        self._send(asked, now)

    def receive(self, hid: bytes, message: Differ | KeyList, now: float) -> None:
        """Somebody answers."""
        asked = self._asked.get(message.qid)
        if asked is None or asked.hid != hid or isinstance(message, Differ) != isinstance(asked.message, Compare):
            self._counters["unknown_answers"] += 1
            return
        del self._asked[message.qid]
        asked.on_answer(message, now)

    def cancel(self, hid: bytes) -> None:
        """A host is gone: at the next tick that is known of its answers."""
        for asked in self._asked.values():
            if asked.hid == hid:
                asked.due_at, asked.tries = -math.inf, self._config.questions

    def tick(self, now: float) -> None:
        """Ask again what is due."""
        for qid, asked in [(qid, asked) for qid, asked in self._asked.items() if asked.due_at <= now]:
            if asked.tries < self._config.questions:
                asked.due_at = now + min(self._config.rto_s * 2.0**asked.tries, self._config.rto_max_s)
                asked.tries += 1
                self._counters["questions_repeated"] += 1
                self._send(asked, now)
            else:
                del self._asked[qid]
                self._counters["questions_unanswered"] += 1
                asked.on_answer(None, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min((asked.due_at for asked in self._asked.values()), default=math.inf)

    def _send(self, asked: _Asked, now: float) -> None:
        member = self._siblings.get(asked.hid)
        if member is None:
            asked.due_at, asked.tries = now, self._config.questions
        else:
            self._out.append(Unicast(member.addresses[0], asked.message))
