"""Virtual time: carries packets between cores and wakes them, from one seed to the same last message each time.

Time runs in ticks of one millisecond; what happens in one tick stands in one list (a calendar queue), in the order in
which it was scheduled. A packet's delay of 50 ms is 50 lists ahead, so nothing is ever sorted.
"""

import hashlib
import heapq
import itertools
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from dhtboot.core import Core
from dhtboot.effects import Effect, Send
from dhtboot.errors import LocalProtocolError
from dhtboot.ids import Address

TICKS_PER_S: Final = 1000
NEVER: Final = 1 << 62
STALLED_WAKES: Final = 10_000
"Wakes of one core in one tick: a core whose deadline never moves on is broken."
DELAYS: Final = 1 << 16
"Delays drawn beforehand; packets use them in turn."
_DELAY_MASK: Final = DELAYS - 1
_KIND_BITS: Final = 8
_INDEX_BITS: Final = 27
_TIME_MARK: Final = 1 << 63
"Set in what follows the messages of a tick: the tick itself."
_STREAM_MAX: Final = 1 << 16
"Messages and ticks collected before the digest is brought up to date."


class Wire(Protocol):
    """Turns packets into bytes and back."""

    def encode(self, packet: Any) -> bytes:
        """The datagram of a packet."""

    def decode(self, data: bytes) -> Any:
        """The packet in a datagram."""


class Host:
    """A core at its address.

    Attributes:
        core: None once it is dead.
        side: of a cut network; packets pass between equal sides only.
    """

    __slots__ = ("address", "core", "index", "on_event", "side", "wakes", "wakes_at", "wakes_s")

    def __init__(self, core: Core, address: Address, index: int, on_event: Callable[[Effect, float], None]) -> None:
        self.core: Core | None = core
        self.address = address
        self.index = index
        self.on_event = on_event
        self.side = 0
        self.wakes_at = NEVER
        self.wakes_s = math.inf
        self.wakes = 0


class Engine:
    """Hosts, the packets under way between them, and the time.

    Args:
        delays: `DELAYS` delays of packets in ticks, used round and round.
        losses: for each packet whether it is lost, drawn beforehand likewise; empty for a network that loses none.
        kinds: a small number for each type of message, for the digest.
        start_s: time at which the engine begins.
        wire: encodes and decodes each packet on its way; None leaves them objects.

    Attributes:
        now: virtual time in seconds.
        messages: packets sent.
        events: packets delivered and wakes.
        dropped: packets lost, cut off, or sent to nobody.
    """

    def __init__(
        self,
        delays: Sequence[int],
        losses: bytes,
        kinds: dict[type, int],
        *,
        start_s: float = 0.0,
        wire: Wire | None = None,
    ) -> None:
        self.tick = round(start_s * TICKS_PER_S)
        self.now = start_s
        self.messages = 0
        self.events = 0
        self.dropped = 0
        if len(delays) != DELAYS:
            raise LocalProtocolError(f"{DELAYS} delays are wanted, not {len(delays)}")
        self._delays = list(delays)
        self._losses = losses
        self._cut = False
        self._hazards = bool(losses)
        self._kinds = kinds
        self._wire = wire
        self._hosts: dict[Address, Host] = {}
        # For each event three entries in a row: receiver, packet, sender; the latter two None for a wake. A tuple for
        # each of them would be one object more to make, and one more for the memory to fetch.
        self._buckets: dict[int, list[Any]] = {}
        self._calls: list[tuple[int, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._count = 0
        self._stream: list[int] = []
        self._digest = hashlib.sha256()

    # ---- hosts ---------------------------------------------------------------------------------------------------

    def add(self, core: Core, address: Address, on_event: Callable[[Effect, float], None]) -> Host:
        """Connect a core; at the address of a dead one it takes that host's place."""
        host = self._hosts.get(address)
        if host is None:
            host = self._hosts[address] = Host(core, address, self._count, on_event)
            self._count += 1
        elif host.core is not None:
            raise AssertionError(f"{address} is in use")
        else:
            host.core, host.on_event, host.wakes_at, host.wakes_s = core, on_event, NEVER, math.inf
        return host

    def kill(self, host: Host) -> None:
        """Disconnect a core without a word; packets under way to it go nowhere."""
        host.core = None

    @property
    def cut(self) -> bool:
        """Whether packets pass between hosts of the same side only."""
        return self._cut

    @cut.setter
    def cut(self, value: bool) -> None:
        self._cut = value
        self._hazards = value or bool(self._losses)

    def at(self, time_s: float, call: Callable[[float], None]) -> None:
        """Call `call(now)` at a time, before anything else in its tick."""
        heapq.heappush(self._calls, (max(self.tick, _tick_of(time_s)), next(self._order), call))

    # ---- traffic -------------------------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """SHA-256 over (time, from, to, kind) of all messages so far, in hexadecimal."""
        self._flush()
        return self._digest.hexdigest()

    def perform(self, host: Host, effects: Iterable[Effect]) -> None:
        """Carry out what a core wants; call it with whatever a call of the core returned."""
        for effect in effects:
            if type(effect) is not Send:
                host.on_event(effect, self.now)
                continue
            count = self.messages
            self.messages = count + 1
            packet = effect.packet
            receiver = self._hosts.get(effect.to)
            if receiver is None:
                self.dropped += 1
                continue
            kind = self._kinds[type(packet.message)]
            self._stream.append((host.index << _INDEX_BITS | receiver.index) << _KIND_BITS | kind)
            if self._hazards and self._is_dropped(host, receiver, count):
                self.dropped += 1
                continue
            if self._wire is not None:
                packet = self._wire.decode(self._wire.encode(packet))
            self._schedule(self.tick + self._delays[count & _DELAY_MASK], receiver, packet, host.address)
        core = host.core
        if core is not None:
            deadline = core.next_deadline()
            if deadline < host.wakes_s:
                self._wake_at(host, deadline)

    def _is_dropped(self, host: Host, receiver: Host, count: int) -> bool:
        if self._cut and host.side != receiver.side:
            return True
        return bool(self._losses) and self._losses[count % len(self._losses)] != 0

    def _schedule(self, tick: int, host: Host, packet: Any, source: Address | None) -> None:
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [host, packet, source]
        else:
            bucket.append(host)
            bucket.append(packet)
            bucket.append(source)

    def _wake_at(self, host: Host, deadline: float) -> None:
        # Never in the same tick for a moment that is still to come, however near it is.
        tick = max(self.tick + (deadline > self.now), math.ceil(deadline * TICKS_PER_S))
        if tick < host.wakes_at:
            host.wakes_at = tick
            self._schedule(tick, host, None, None)
        host.wakes_s = deadline

    # ---- time ----------------------------------------------------------------------------------------------------

    def run(self, until_s: float) -> None:
        """Let virtual time pass until `until_s`, what happens then included."""
        end = round(until_s * TICKS_PER_S)
        while self.tick <= end:
            self._run_tick()
            self.tick += 1
            self.now = self.tick / TICKS_PER_S

    def _run_tick(self) -> None:
        tick = self.tick
        now = self.now
        calls = self._calls
        while calls and calls[0][0] <= tick:
            heapq.heappop(calls)[2](now)
        bucket = self._buckets.get(tick)
        if bucket is None:
            return
        at = 0
        while at < len(bucket):  # it may grow meanwhile
            host: Host = bucket[at]
            packet = bucket[at + 1]
            source = bucket[at + 2]
            bucket[at + 1] = None  # so that it is let go of before the next one, while it is still in the cache
            at += 3
            core = host.core
            if core is None:
                self.dropped += packet is not None
            elif source is not None:
                self.perform(host, core.receive(packet, source, now))
            elif host.wakes_at == tick:
                self._wake(host, core, now)
        self.events += at // 3
        del self._buckets[tick]
        if self._stream:
            self._stream.append(_TIME_MARK | tick % _TIME_MARK)
        if len(self._stream) >= _STREAM_MAX:
            self._flush()

    def _wake(self, host: Host, core: Core, now: float) -> None:
        host.wakes_at, host.wakes_s = NEVER, math.inf
        self.perform(host, core.tick(now) if core.next_deadline() <= now else ())
        if host.wakes_at != self.tick:
            host.wakes = 0
            return
        host.wakes += 1
        if host.wakes > STALLED_WAKES:
            raise AssertionError(f"the core at {host.address} asks to be woken again and again at {now:.3f} s")

    def _flush(self) -> None:
        self._digest.update(array("Q", self._stream).tobytes())
        self._stream.clear()


def _tick_of(time_s: float) -> int:
    return math.ceil(round(time_s * TICKS_PER_S, 6))
