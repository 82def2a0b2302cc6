"""What the broker does with packets, in Python: from a queue of the kernel into rings, and verdicts back.

`_packetpath.c` does the same in a tenth of the time; where it was not built, this serves. Both pass the same tests.
"""

import math
import os
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from netserv.forwarding.base import COUNTERS
from netserv.forwarding.broker_end import Answer, BrokerEnd
from netserv.forwarding.matching import EgressError, Matcher, Rule, outgoing, read
from netserv.forwarding.ring import ACCEPT, ACCEPT_FLOW, CHANGED, COUNT_FLOW, DROP, INJECT
from netserv.signaling.transport import netlink, nfqueue
from netserv.signaling.transport.raw import RawSender

BATCH: Final = 64
"Packets that one queue gives in one turn, and answers of one ring, so that none starves another."
_NF_DROP: Final = 0
_NF_ACCEPT: Final = 1


class Engine(Protocol):
    """Moves packets."""

    def add_ring(self, ring: int, memory: int, wake_box: int, wake_broker: int) -> None:
        """Use a ring; the descriptors are the engine's from now on.

        Raises:
            RemoteProtocolError: it is none.
        """
        ...

    def remove_ring(self, ring: int) -> None:
        """Forget a ring; packets in it go by the policy of their filter."""
        ...

    def add_filter(self, rule: Rule, ring: int, later: tuple[int, ...]) -> None:
        """Know a filter, or know it anew.

        Args:
            rule: the filter.
            ring: where its packets go; 0: nowhere for now.
            later: filters after it that may want the same packets.
        """
        ...

    def remove_filter(self, number: int) -> None:
        """Forget a filter; packets of it that still wait go on."""
        ...

    def add_queue(self, number: int, queue: int, sock: socket.socket) -> None:
        """Read the queue of a filter."""
        ...

    def remove_queue(self, number: int) -> None:
        """Read what is in the queue of a filter, and close it."""
        ...

    def run(self, control: int, patience_s: float) -> None:
        """Move packets until a descriptor is readable, or the time is up; it never is where that is negative."""
        ...

    def counters(self, number: int) -> dict[str, int]:
        """Of a filter."""
        ...

    def ring_counters(self, ring: int) -> dict[str, int]:
        """Of a ring."""
        ...

    def close(self) -> None:
        """Let go on what waits, and close everything."""
        ...


class _Filter:
    __slots__ = ("counters", "later", "matcher", "ring", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule, self.matcher = rule, Matcher(rule.wanted)
        self.ring, self.later = 0, ()  # type: int, tuple[int, ...]
        self.counters = dict.fromkeys(COUNTERS, 0)


class _Waiting:
    """A packet that waits for its verdict."""

    __slots__ = ("changed", "data", "deadline", "filter", "number", "queue", "ring", "slot")

    def __init__(self, queue: "_Queue", number: int, data: bytes, found: _Filter) -> None:
        self.queue, self.number, self.data, self.filter = queue, number, data, found
        self.changed = False
        self.ring: _Ring | None = None
        self.slot, self.deadline = 0, 0.0


class _Queue:
    def __init__(self, number: int, queue: int, sock: socket.socket) -> None:
        self.filter, self.queue, self.socket = number, queue, sock

    def decide(self, number: int, decision: int, changed: bytes | None = None) -> None:
        # A verdict that is not taken is one about a packet that is gone: its interface went down.
        with suppress(OSError):
            self.socket.sendto(nfqueue.verdict(self.queue, number, decision, changed), (0, 0))


class _Ring:
    def __init__(self, number: int, end: BrokerEnd[_Waiting], descriptors: tuple[int, ...]) -> None:
        self.number, self.end, self.descriptors = number, end, descriptors
        self.waiting: deque[_Waiting] = deque()
        "In the order of their deadlines, with some that have been answered."
        self.unwoken = False


class PythonEngine:
    """An `Engine` without a compiler.

    Args:
        deadline_s: longest time that a module has.
        raw: sends injected packets.
        clock: seconds.
        sequence: where sequence numbers of rings begin.
    """

    def __init__(
        self,
        deadline_s: float,
        raw: RawSender,
        *,
        clock: Callable[[], float] = time.monotonic,
        sequence: int = 0,
    ) -> None:
        self._deadline_s, self._raw, self._clock, self._sequence = deadline_s, raw, clock, sequence
        self._filters: dict[int, _Filter] = {}
        self._rings: dict[int, _Ring] = {}
        self._queues: dict[int, _Queue] = {}
        self._by_descriptor: dict[int, _Queue | _Ring] = {}
        self._poll = select.epoll()

    def add_ring(self, ring: int, memory: int, wake_box: int, wake_broker: int) -> None:
        """Use a ring; the descriptors are the engine's from now on."""
        end: BrokerEnd[_Waiting] = BrokerEnd(memory, wake_box, wake_broker, sequence=self._sequence)
        found = _Ring(ring, end, (memory, wake_box, wake_broker))
        self._rings[ring] = self._by_descriptor[wake_broker] = found
        self._poll.register(wake_broker, select.EPOLLIN)

    def remove_ring(self, ring: int) -> None:
        """Forget a ring; packets in it go by the policy of their filter."""
        found = self._rings.pop(ring, None)
        if found is None:
            return
        self._unwatch(found.end.fileno())
        for waiting in found.end.close():
            self._fail(waiting, "absent")
        for each in self._filters.values():
            if each.ring == ring:
                each.ring = 0
        for descriptor in found.descriptors:
            os.close(descriptor)

    def add_filter(self, rule: Rule, ring: int, later: tuple[int, ...]) -> None:
        """Know a filter, or know it anew."""
        known = self._filters.get(rule.number)
        if known is None:
            known = self._filters[rule.number] = _Filter(rule)
        known.ring, known.later = ring, later

    def remove_filter(self, number: int) -> None:
        """Forget a filter; packets of it that still wait go on."""
        gone = self._filters.pop(number, None)
        for ring in self._rings.values():
            for waiting in ring.waiting:
                if waiting.filter is gone and waiting.ring is ring:
                    ring.end.give_up(waiting.slot)
                    waiting.ring = None
                    self._accept(waiting)

    def add_queue(self, number: int, queue: int, sock: socket.socket) -> None:
        """Read the queue of a filter."""
        found = _Queue(number, queue, sock)
        self._queues[number] = self._by_descriptor[sock.fileno()] = found
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def remove_queue(self, number: int) -> None:
        """Read what is in the queue of a filter, and close it; without its filter, which goes first, all goes on."""
        queue = self._queues.pop(number, None)
        if queue is not None:
            while self._read(queue):
                pass
            self._unwatch(queue.socket.fileno())
            queue.socket.close()

    def run(self, control: int, patience_s: float) -> None:
        """Move packets until a descriptor is readable, or the time is up; it never is where that is negative."""
        until = math.inf if patience_s < 0 else self._clock() + patience_s
        self._poll.register(control, select.EPOLLIN)
        try:
            while not self._turn(control, until) and self._clock() < until:
                pass
        finally:
            self._poll.unregister(control)

    def counters(self, number: int) -> dict[str, int]:
        """Of a filter."""
        return dict(self._filters[number].counters)

    def ring_counters(self, ring: int) -> dict[str, int]:
        """Of a ring."""
        end = self._rings[ring].end
        return {**Counter(foreign=0, rubbish=0, late=0), **end.counters, "lent": end.lent}

    def close(self) -> None:
        """Let go on what waits, and close everything."""
        for number in list(self._filters):
            self.remove_filter(number)
        for number in list(self._queues):
            self.remove_queue(number)
        for ring in list(self._rings):
            self.remove_ring(ring)
        self._poll.close()

    def _unwatch(self, descriptor: int) -> None:
        if self._by_descriptor.pop(descriptor, None) is not None:
            with suppress(FileNotFoundError):
                self._poll.unregister(descriptor)

    def _turn(self, control: int, until: float) -> bool:
        ended = False
        for descriptor, _ in self._poll.poll(self._patience_s(until)):
            found = self._by_descriptor.get(descriptor)
            if isinstance(found, _Ring):
                if not found.end.drain():  # it has closed its side; answers that are there are heard
                    self._poll.unregister(descriptor)
            elif found is not None:
                self._read(found)
            ended |= descriptor == control
        self._hear()
        for ring in self._rings.values():
            if ring.unwoken:
                ring.unwoken = False
                ring.end.wake()
        return ended

    def _patience_s(self, until: float) -> float:
        """Do what is due, and say how long to wait."""
        now, first = self._clock(), until
        for ring in self._rings.values():
            while ring.waiting and (ring.waiting[0].ring is not ring or ring.waiting[0].deadline <= now):
                waiting = ring.waiting.popleft()
                if waiting.ring is ring:
                    ring.end.give_up(waiting.slot)
                    waiting.ring = None
                    self._fail(waiting, "late")
            if ring.waiting:
                first = min(first, ring.waiting[0].deadline)
        return -1 if first is math.inf else max(first - now, 0)

    def _read(self, queue: _Queue) -> int:
        """Take packets of a queue; returns how many there were."""
        for count in range(BATCH):
            try:
                data, (sender, _) = queue.socket.recvfrom(netlink.READ_BYTES)
            except BlockingIOError:
                return count
            except OSError:  # packets that did not fit into the socket's buffer; the next read goes on
                continue
            if sender != 0:
                continue
            with suppress(netlink.NetlinkError):
                for said in netlink.messages(data):
                    if said.kind == nfqueue.PACKET:
                        self._came(queue, nfqueue.read_packet(said.body))
        return BATCH

    def _came(self, queue: _Queue, queued: nfqueue.Queued) -> None:
        found = self._filters.get(queue.filter)
        if found is None:
            queue.decide(queued.number, _NF_ACCEPT)
            return
        waiting = _Waiting(queue, queued.number, queued.data, found)
        parts = read(waiting.data)
        if parts is not None and found.matcher.wants(parts, waiting.data):
            self._hand_over(waiting, found)
        else:
            found.counters["passed"] += 1
            self._go_on(waiting)

    def _hand_over(self, waiting: _Waiting, found: _Filter) -> None:
        found.counters["packets"] += 1
        found.counters["bytes"] += len(waiting.data)
        waiting.filter = found
        ring = self._rings.get(found.ring)
        if ring is None:
            self._fail(waiting, "absent")
            return
        slot = ring.end.post(waiting.data, found.rule.number, waiting)
        if slot is None:
            self._fail(waiting, "full")
            return
        waiting.ring, waiting.slot, waiting.deadline = ring, slot, self._clock() + self._deadline_s
        ring.waiting.append(waiting)
        ring.unwoken = True

    def _hear(self) -> None:
        for ring in self._rings.values():
            for answer in ring.end.collect(BATCH):
                if answer.token is None:
                    self._inject(ring, answer)
                else:
                    answer.token.ring = None
                    self._answered(answer.token, answer)

    def _answered(self, waiting: _Waiting, answer: Answer[_Waiting]) -> None:
        found = waiting.filter
        match answer.verdict:
            case v if v in {ACCEPT, ACCEPT_FLOW, COUNT_FLOW}:
                found.counters["accepted"] += 1
                self._go_on(waiting)
            case v if v == DROP:
                found.counters["dropped"] += 1
                waiting.queue.decide(waiting.number, _NF_DROP)
            case v if v == CHANGED:
                try:
                    waiting.data = outgoing(answer.data, [found.matcher], found.rule.allowed)
                except EgressError:
                    self._fail(waiting, "refused")
                    return
                waiting.changed = True
                found.counters["changed"] += 1
                self._go_on(waiting)
            case _:
                self._fail(waiting, "rubbish")

    def _inject(self, ring: _Ring, answer: Answer[_Waiting]) -> None:
        mine = [each for each in self._filters.values() if each.ring == ring.number]
        if answer.number:
            mine = [each for each in mine if each.rule.number == answer.number]
        if answer.verdict != INJECT or not mine:
            return
        allowed = [prefix for each in mine for prefix in each.rule.allowed]
        try:
            packet = outgoing(answer.data, [each.matcher for each in mine], allowed)
        except EgressError:
            mine[0].counters["refused"] += 1
            return
        ends = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
        if self._raw.send(packet, *ends):
            mine[0].counters["injected"] += 1

    def _go_on(self, waiting: _Waiting) -> None:
        """To the next filter that wants it, or on its way."""
        if waiting.filter.later and (parts := read(waiting.data)) is not None:
            for number in waiting.filter.later:
                found = self._filters.get(number)
                if found is not None and found.matcher.wants(parts, waiting.data):
                    self._hand_over(waiting, found)
                    return
        self._accept(waiting)

    def _accept(self, waiting: _Waiting) -> None:
        waiting.queue.decide(waiting.number, _NF_ACCEPT, waiting.data if waiting.changed else None)

    def _fail(self, waiting: _Waiting, why: str) -> None:
        waiting.filter.counters[why] += 1
        if waiting.filter.rule.closed:
            waiting.queue.decide(waiting.number, _NF_DROP)
        else:
            self._go_on(waiting)
