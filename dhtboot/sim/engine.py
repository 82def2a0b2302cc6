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

from dhtboot.effects import Effect, Send
from dhtboot.ids import Address

TICKS_PER_S: Final = 1000
NEVER: Final = 1 << 62
STALLED_WAKES: Final = 10_000
"Wakes of one core in one tick: a core whose deadline never moves on is broken."
_KIND_BITS: Final = 8
_INDEX_BITS: Final = 28


class Core(Protocol):
    """What the engine needs of a protocol core."""

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on a packet."""

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never. May be too early, never too late."""


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

    __slots__ = ("address", "core", "index", "on_event", "side", "wakes", "wakes_at")

    def __init__(self, core: Core, address: Address, index: int, on_event: Callable[[Effect, float], None]) -> None:
        self.core: Core | None = core
        self.address = address
        self.index = index
        self.on_event = on_event
        self.side = 0
        self.wakes_at = NEVER
        self.wakes = 0


class Engine:
    """Hosts, the packets under way between them, and the time.

    Args:
        delays: delay of each packet in ticks, drawn beforehand, used round and round; a power of two of them.
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
        self.cut = False
        self._delays = list(delays)
        self._losses = losses
        self._kinds = kinds
        self._wire = wire
        self._hosts: dict[Address, Host] = {}
        self._buckets: dict[int, list[tuple[Host, Any, Address | None]]] = {}
        self._calls: list[tuple[int, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._count = 0
        self._stream = array("Q")
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
            host.core, host.on_event, host.wakes_at = core, on_event, NEVER
        return host

    def kill(self, host: Host) -> None:
        """Disconnect a core without a word; packets under way to it go nowhere."""
        host.core = None

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
            if type(effect) is Send:
                self._send(host, effect.to, effect.packet)
            else:
                host.on_event(effect, self.now)
        core = host.core
        if core is not None:
            deadline = core.next_deadline()
            if deadline * TICKS_PER_S <= host.wakes_at - 1:
                self._wake_at(host, deadline)

    def _send(self, host: Host, to: Address, packet: Any) -> None:
        count = self.messages
        self.messages = count + 1
        receiver = self._hosts.get(to)
        if receiver is None:
            self.dropped += 1
            return
        kind = self._kinds[type(packet.message)]
        self._stream.append((host.index << _INDEX_BITS | receiver.index) << _KIND_BITS | kind)
        if (self.cut and host.side != receiver.side) or (self._losses and self._losses[count % len(self._losses)]):
            self.dropped += 1
            return
        if self._wire is not None:
            packet = self._wire.decode(self._wire.encode(packet))
        delays = self._delays
        tick = self.tick + delays[count & (len(delays) - 1)]
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [(receiver, packet, host.address)]
        else:
            bucket.append((receiver, packet, host.address))

    def _wake_at(self, host: Host, deadline: float) -> None:
        if deadline == math.inf:
            return
        # Never in the same tick for a moment that is still to come, however near it is.
        tick = max(self.tick + (deadline > self.now), math.ceil(deadline * TICKS_PER_S))
        host.wakes_at = tick
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [(host, None, None)]
        else:
            bucket.append((host, None, None))

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
        for host, packet, source in bucket:  # it may grow meanwhile
            core = host.core
            if core is None:
                self.dropped += packet is not None
            elif source is not None:
                self.perform(host, core.receive(packet, source, now))
            elif host.wakes_at == tick:
                self._wake(host, core, now)
        self.events += len(bucket)
        del self._buckets[tick]
        if len(self._stream) >= 1 << 16:
            self._flush()
        if self._stream:
            self._stream.append((1 << 64) - 1 - tick % (1 << 63))  # the time, which no message can look like

    def _wake(self, host: Host, core: Core, now: float) -> None:
        tick = self.tick
        host.wakes = host.wakes + 1 if host.wakes_at == tick else 0
        host.wakes_at = NEVER
        if core.next_deadline() > now:
            self.perform(host, ())
            return
        effects = core.tick(now)
        self.perform(host, effects)
        if host.wakes_at == tick and host.wakes > STALLED_WAKES:
            raise AssertionError(f"the core at {host.address} asks to be woken again and again at {now:.3f} s")
        if host.wakes_at != tick:
            host.wakes = 0

    def _flush(self) -> None:
        self._digest.update(self._stream.tobytes())
        del self._stream[:]


def _tick_of(time_s: float) -> int:
    return math.ceil(round(time_s * TICKS_PER_S, 6))
