"""What leaves a responder: records packed into messages, and a budget of multicast packets for the link."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from z2z.mdns.messages import (
    RR_ANY,
    Address4,
    Address6,
    Data,
    MdnsMessage,
    Name,
    Nsec,
    Opaque,
    Ptr,
    Question,
    Record,
    Srv,
    Txt,
)

PACKED_MAX: Final = 1_280
"Estimated bytes of one message; leaves room below `PAYLOAD_SOFT_MAX` for names that cannot be compressed."
PACE_PACKETS: Final = 16
"Packets sent back to back: far fewer than the 90 that a socket with the kernel's usual buffer can hold."
PACE_S: Final = 0.02


class Outbox:
    """A queue behind a token bucket; answers that wait too long are dropped and counted, the rest waits.

    Args:
        packets_per_minute: sustained budget.
        burst: packets that may go out at once after a quiet time.
        answer_patience_s: seconds after which a waiting answer is dropped: its asker asks again by then.
    """

    def __init__(self, packets_per_minute: int, burst: int, answer_patience_s: float) -> None:
        self._rate = packets_per_minute / 60
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = -math.inf
        self._patience_s = answer_patience_s
        self._queue: deque[tuple[float, MdnsMessage]] = deque()
        self._paced_until = -math.inf
        self.drops = 0
        "Messages dropped because the budget was used up."

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return len(self._queue)

    def push_answer(self, message: MdnsMessage, now: float) -> None:
        """Queue a message that is worth sending only soon."""
        self._queue.append((now + self._patience_s, message))

    def push(self, message: MdnsMessage) -> None:
        """Queue a message that has to go out some time."""
        self._queue.append((math.inf, message))

    def spend(self, now: float, packets: int) -> None:
        """Charge packets that could not wait; others wait the longer."""
        self._fill(now)
        self._tokens = max(self._tokens - packets, -self._burst)

    def afford(self, now: float) -> bool:
        """Charge one packet that is dropped (and counted) if the budget is used up."""
        self._fill(now)
        if self._tokens < 1:
            self.drops += 1
            return False
        self._tokens -= 1
        return True

    def take(self, now: float) -> list[MdnsMessage]:
        """Return the messages that may go out now, at most `PACE_PACKETS`."""
        taken: list[MdnsMessage] = []
        if now < self._paced_until:
            return taken
        self._fill(now)
        while self._queue and len(taken) < PACE_PACKETS:
            give_up_at, message = self._queue[0]
            if now > give_up_at:
                self._queue.popleft()
                self.drops += 1
                continue
            if self._tokens < 1:
                break
            self._queue.popleft()
            self._tokens -= 1
            taken.append(message)
        if self._queue and taken:
            self._paced_until = now + PACE_S
        return taken

    def next_deadline(self) -> float:
        """Return when `take` should be called next, `math.inf` for never."""
        if not self._queue:
            return math.inf
        ready_at = self._filled_at + max(0.0, 1 - self._tokens) / self._rate
        return max(self._paced_until, ready_at)

    def _fill(self, now: float) -> None:
        if self._filled_at > -math.inf:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


def estimated_size(record: Record) -> int:
    """Return about how many bytes a record takes in a message where its parent names have been written already."""
    owner = record.name[0] if record.name else b""
    return len(owner) + 13 + _estimated_data_size(record.data)


def _estimated_data_size(data: Data) -> int:
    match data:
        case Ptr(target=target):
            return len(target[0]) + 3 if target else 1
        case Srv(target=target):
            return len(target[0]) + 9 if target else 7
        case Txt(data=text) | Opaque(data=text):
            return len(text)
        case Address4():
            return 4
        case Address6():
            return 16
        case Nsec(next_name=next_name):
            return sum(map(len, next_name)) + len(next_name) + 9  # written without compression


def pack_answers(groups: Iterable[tuple[Record, Sequence[Record]]]) -> list[MdnsMessage]:
    """Return responses for answers, each with its additional records beside it; no record twice in a message."""
    messages: list[MdnsMessage] = []
    answers: dict[Record, None] = {}
    additionals: dict[Record, None] = {}
    size = 0
    for answer, extras in groups:
        fresh = [record for record in (answer, *extras) if record not in answers and record not in additionals]
        grown = sum(map(estimated_size, fresh))
        if answers and size + grown > PACKED_MAX:
            messages.append(_response(answers, additionals))
            answers, additionals, size = {}, {}, 0
            grown = estimated_size(answer) + sum(map(estimated_size, extras))
        additionals.pop(answer, None)
        answers[answer] = None
        additionals |= {record: None for record in extras if record not in answers}
        size += grown
    if answers:
        messages.append(_response(answers, additionals))
    return messages


def pack(records: Iterable[Record]) -> list[MdnsMessage]:
    """Return responses that carry records as answers."""
    return pack_answers((record, ()) for record in records)


def pack_questions(questions: Iterable[Question]) -> list[list[Question]]:
    """Return questions in portions of one message each."""
    portions: list[list[Question]] = []
    size = PACKED_MAX
    for question in questions:
        grown = sum(map(len, question.name)) + len(question.name) + 5
        size += grown
        if size > PACKED_MAX:
            portions.append([])
            size = grown
        portions[-1].append(question)
    return portions


def pack_probes(names: Iterable[tuple[Name, Sequence[Record]]]) -> list[MdnsMessage]:
    """Return probes for names, each with the records that are proposed for it (RFC 6762 section 8.1)."""
    messages: list[MdnsMessage] = []
    questions: list[Question] = []
    proposals: list[Record] = []
    size = 0
    for name, records in names:
        grown = sum(map(len, name)) + 8 + sum(map(estimated_size, records))
        if questions and size + grown > PACKED_MAX:
            messages.append(MdnsMessage(questions=tuple(questions), authorities=tuple(proposals)))
            questions, proposals, size = [], [], 0
        questions.append(Question(name=name, rrtype=RR_ANY))
        proposals += [Record(name=record.name, data=record.data, ttl_s=record.ttl_s) for record in records]
        size += grown
    if questions:
        messages.append(MdnsMessage(questions=tuple(questions), authorities=tuple(proposals)))
    return messages


def _response(answers: Iterable[Record], additionals: Iterable[Record]) -> MdnsMessage:
    return MdnsMessage(is_response=True, answers=tuple(answers), additionals=tuple(additionals))
