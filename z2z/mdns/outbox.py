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
PACE_S: Final = 0.04
"At twice this pace Avahi, which reads some 300 packets a second, missed some, and asked for what it had missed."
PACKETS_PER_MINUTE: Final = 1_200
"A link's budget unless the user sets another one."
BURST_S: Final = 20
"Seconds of the budget that may be spent at once after a quiet time."
ROUNDING: Final = 1e-6
"Of a token."


def burst_of(packets_per_minute: int) -> int:
    """Return the packets that may go out at once with a budget."""
    return max(1, packets_per_minute * BURST_S // 60)


class _Lane:
    """Messages of one urgency, first come, first served."""

    def __init__(self) -> None:
        self._queue: deque[tuple[float, MdnsMessage]] = deque()
        self._counted = 0
        "So many at the head were counted as delayed."

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: MdnsMessage, give_up_at: float = math.inf) -> None:
        self._queue.append((give_up_at, message))

    def pop(self) -> MdnsMessage:
        self._counted = max(0, self._counted - 1)
        return self._queue.popleft()[1]

    def drop_late(self, now: float) -> int:
        """Drop what has waited too long; returns how many messages."""
        dropped = 0
        while self._queue and now > self._queue[0][0]:
            self.pop()
            dropped += 1
        return dropped

    def count_delayed(self) -> int:
        """Return how many messages wait that were not counted before."""
        fresh = len(self._queue) - self._counted
        self._counted = len(self._queue)
        return fresh


UPDATES_MAX: Final = 10
UPDATES_S: Final = 60.0
"A service changes what it announces at most ten times a minute (RFC 6762 section 8.4)."


class UpdatePace:
    """When the changes of one service may be announced."""

    def __init__(self) -> None:
        self._at: deque[float] = deque(maxlen=UPDATES_MAX)

    def next(self, now: float) -> float:
        """Return when a change may be announced; it counts, but for one that goes with another that still waits."""
        if self._at and self._at[-1] > now:
            return self._at[-1]
        full = len(self._at) == UPDATES_MAX
        self._at.append(max(now, self._at[0] + UPDATES_S) if full else now)
        return self._at[-1]


class Outbox:
    """Queues behind a token bucket. What nobody else can say goes before answers, which are asked for again.

    Goodbyes are sent at once, outside of it, and charged. Defence of a name may use as much again as the burst, since a
    probing host takes a name that is not defended within 750 ms (RFC 6762 section 8.1). Then come probes and
    announcements, each made once, and at last answers: of these alone there can be more than the budget for long, so
    those that wait too long are dropped and counted. In any time, then, at most `packets_per_minute` and twice `burst`
    go out beside the goodbyes.

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
        self._defence, self._own, self._answers = _Lane(), _Lane(), _Lane()
        self._paced_until = -math.inf
        self.drops = 0
        "Messages dropped because the budget was used up."
        self.delays = 0
        "Messages that had to wait for the budget."

    @property
    def backlog(self) -> int:
        """Messages that wait."""
        return len(self._defence) + len(self._own) + len(self._answers)

    @property
    def congested(self) -> bool:
        """Whether a probe or an announcement would have to wait behind another one."""
        return bool(self._own)

    def push_answer(self, message: MdnsMessage, now: float) -> None:
        """Queue a message that is worth sending only soon."""
        self._answers.add(message, now + self._patience_s)

    def push_defence(self, message: MdnsMessage, now: float) -> None:
        """Queue a message that keeps a name of ours, before all others."""
        self._defence.add(message, now + self._patience_s)

    def push(self, message: MdnsMessage) -> None:
        """Queue a message that has to go out some time."""
        self._own.add(message)

    def push_last(self, message: MdnsMessage) -> None:
        """Queue a message that has to go out after all that waits now."""
        self._answers.add(message)

    def spend(self, now: float, packets: int) -> None:
        """Charge packets that could not wait; others wait the longer."""
        self._fill(now)
        self._tokens = max(self._tokens - packets, -self._burst)

    def afford(self, now: float) -> bool:
        """Charge one packet that is dropped (and counted) if the budget is used up."""
        self._fill(now)
        if not self._has(1.0):
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
        self.drops += self._defence.drop_late(now) + self._answers.drop_late(now)
        while len(taken) < PACE_PACKETS and (lane := self._next_lane()) is not None:
            taken.append(lane.pop())
            self._tokens -= 1
            self.drops += lane.drop_late(now)
        if self.backlog and taken:
            self._paced_until = now + PACE_S
        if self.backlog and self._next_lane() is None:
            self.delays += sum(lane.count_delayed() for lane in (self._defence, self._own, self._answers))
        return taken

    def next_deadline(self) -> float:
        """Return when `take` should be called next, `math.inf` for never."""
        if not self.backlog:
            return math.inf
        wanted = self._reserve if self._defence else 1.0
        ready_at = self._filled_at + max(0.0, wanted - self._tokens) / self._rate
        return max(self._paced_until, ready_at)

    @property
    def _reserve(self) -> float:
        """Tokens that are needed for one packet of defence."""
        return 1.0 - self._burst

    def _has(self, tokens: float) -> bool:
        # A deadline is computed by a division: at that very time there may be a little less than was wanted.
        return self._tokens >= tokens - ROUNDING

    def _next_lane(self) -> _Lane | None:
        """The lane whose first message may go out now, if any."""
        if self._defence:
            return self._defence if self._has(self._reserve) else None
        if not self._has(1.0):
            return None
        return self._own or self._answers or None

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
        case Nsec():
            return 10  # its name is that of the record, and so a pointer


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
