"""The broker's end of a ring, in Python: it trusts nothing that stands in the memory.

What the broker must know later (which slots are lent, how far it has read) is kept here, not there.
"""

import os
from collections import Counter, deque
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar

from netserv.forwarding.ring import (
    ANSWERS_HEAD,
    ANSWERS_TAIL,
    BROKER_SLEEPS,
    CHANGED,
    DESCRIPTOR,
    HEADER_BYTES,
    INJECT,
    LATE_HEAD,
    PACKETS_HEAD,
    VERDICTS,
    WORD_MASK,
    map_memory,
)

T = TypeVar("T")
_WAKE: Final = b"\1"
_DRAIN_BYTES: Final = 4_096


class Answer(NamedTuple, Generic[T]):
    """What a container says of one packet, or a packet of its own."""

    token: T | None
    "None: an injected packet."
    verdict: int
    data: bytes = b""
    "A copy of the changed or injected packet."
    number: int = 0
    "Of the filter of an injected packet; 0 for any."


class BrokerEnd(Generic[T]):
    """The broker's end; tokens are what the broker knows of a packet.

    Args:
        memory_fd: of the ring; it may be closed afterwards.
        wake_fd: wakes the container.
        broker_fd: readable when there are answers.
        sequence: where sequence numbers begin: by chance, so that a container that still answers to an earlier broker
            is not heard.

    Raises:
        RemoteProtocolError: this is no ring.
    """

    def __init__(self, memory_fd: int, wake_fd: int, broker_fd: int, *, sequence: int = 0) -> None:
        self._map, self.layout = map_memory(memory_fd)
        self._memory = memoryview(self._map)
        self._words = self._memory[:HEADER_BYTES].cast("I")
        self._wake_fd, self._broker_fd = wake_fd, broker_fd
        self._head = self._words[PACKETS_HEAD]
        self._tail = self._words[ANSWERS_TAIL] = self._words[ANSWERS_HEAD]
        self._words[BROKER_SLEEPS] = 1
        self._sequence = sequence & WORD_MASK
        self._free = list(range(self.layout.slots))
        "The slot freed last is lent next: few pages are touched, and they are in the cache."
        self._lent: dict[int, tuple[int, T | None]] = {}
        "By slot: sequence number and token; None as token: the deadline is over."
        self.counters: Counter[str] = Counter()
        "`foreign`: answers about what is not lent; `rubbish`: what is no answer; `late`: answers after the deadline."

    def fileno(self) -> int:
        """The descriptor that is readable when there are answers."""
        return self._broker_fd

    def post(self, packet: bytes | memoryview, number: int, token: T) -> int | None:
        """Lend a packet to the container; the slot, or None where there is no room for it.

        Args:
            packet: an IP packet.
            number: of the filter.
            token: comes back with the answer.
        """
        if not self._free or len(packet) > self.layout.slot_bytes:
            return None
        slot = self._free.pop()
        self._sequence = (self._sequence + 1) & WORD_MASK
        begin = self.layout.slot_at(slot)
        self._memory[begin : begin + len(packet)] = packet
        at = self.layout.packets_at + (self._head & self.layout.slots - 1) * DESCRIPTOR.size
        DESCRIPTOR.pack_into(self._memory, at, slot, len(packet), number, self._sequence)
        self._head = self._words[PACKETS_HEAD] = (self._head + 1) & WORD_MASK
        self._lent[slot] = self._sequence, token
        return slot

    def wake(self) -> None:
        """Wake the container."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            os.write(self._wake_fd, _WAKE)

    def drain(self) -> bool:
        """Forget wake-ups of the broker; False where the container has closed its side."""
        try:
            return bool(os.read(self._broker_fd, _DRAIN_BYTES))
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False

    def give_up(self, slot: int) -> None:
        """The deadline is over: the slot stays lent until the container answers, but its answer counts no more.

        To be called in the order in which packets were posted, where the container has not answered.
        """
        sequence, _ = self._lent[slot]
        self._lent[slot] = sequence, None
        self._words[LATE_HEAD] = (self._head - (self._sequence - sequence)) & WORD_MASK

    @property
    def lent(self) -> int:
        """How many slots are in the hands of the container."""
        return len(self._lent)

    def collect(self, most: int = 256) -> list[Answer[T]]:
        """Answers that wait, at most so many."""
        head = self._words[ANSWERS_HEAD]
        waiting = (head - self._tail) & WORD_MASK
        if waiting > self.layout.answers:
            self.counters["rubbish"] += 1
            self._tail = self._words[ANSWERS_TAIL] = head
            return []
        found: list[Answer[T]] = []
        for _ in range(min(waiting, most)):
            at = self.layout.answers_at + (self._tail & self.layout.answers - 1) * DESCRIPTOR.size
            answer = self._understand(*DESCRIPTOR.unpack_from(self._memory, at))
            if answer is not None:
                found.append(answer)
            self._tail = (self._tail + 1) & WORD_MASK
        self._words[ANSWERS_TAIL] = self._tail
        return found

    def close(self) -> deque[T]:
        """Forget the memory; returns the tokens of packets that still wait for their verdict."""
        self._words.release()
        self._memory.release()
        self._map.close()
        waiting = deque(token for _, token in self._lent.values() if token is not None)
        self._lent.clear()
        return waiting

    def _understand(self, slot: int, verdict: int, length: int, last: int) -> Answer[T] | None:
        layout = self.layout
        if verdict == INJECT:
            if not (layout.slots <= slot < layout.slots + layout.injected and 0 < length <= layout.slot_bytes):
                self.counters["rubbish"] += 1
                return None
            return Answer(None, INJECT, self._copy(slot, length), last)
        sequence, token = self._lent.get(slot, (None, None))
        if sequence is None or sequence != last:
            self.counters["foreign"] += 1
            return None
        del self._lent[slot]
        self._free.append(slot)
        if token is None:
            self.counters["late"] += 1
            return None
        if verdict not in VERDICTS or (verdict == CHANGED and not 0 < length <= layout.slot_bytes):
            self.counters["rubbish"] += 1
            return Answer(token, 0)
        # The slot is free and this broker alone gives it away, so the copy may come now; the container may still
        # scribble on it, which changes what is copied and nothing else.
        return Answer(token, verdict, self._copy(slot, length) if verdict == CHANGED else b"")

    def _copy(self, slot: int, length: int) -> bytes:
        begin = self.layout.slot_at(slot)
        return bytes(self._memory[begin : begin + length])
