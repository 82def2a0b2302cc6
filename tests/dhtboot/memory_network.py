"""A network in memory, on virtual time: runs protocol cores from one seed, to the same last packet each time.

A core is anything with `receive(packet, source, now)`, `tick(now)` and `next_deadline()`. With a codec every packet is
encoded and decoded on its way, and its size checked; without one the objects travel as they are.

    network = Network(seed=1, loss=0.2, codec=codec)
    network.add(core, ("10.0.0.1", 4000), on_event=events.append)
    network.perform(("10.0.0.1", 4000), core.join(contacts, network.now))
    network.run_until(lambda: events, limit_s=30)
"""

import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from dhtboot.effects import Effect, Send
from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import Address
from dhtboot.udp import Core
from dhtboot.wire import MAX_DATAGRAM, Codec

Observer = Callable[[Address, Address, Any, int], None]
"Called with source, destination, packet and its size in bytes (0 without a codec) when a packet is sent."

STALLED_TICKS = 10_000
"Ticks of one core at one moment: a core whose deadline never moves on is broken."


class _Host:
    """One core at its address."""

    def __init__(self, core: Core, address: Address, on_event: Callable[[Effect], None] | None) -> None:
        self.core = core
        self.address = address
        self.on_event = on_event
        self.wakes_at = math.inf
        self.ticked_at = math.nan
        self.ticks = 0


class Network:
    """Cores joined by a network with delay, loss, duplication and cuts.

    Args:
        seed: of all chance; printed, so that a failing test shows it.
        delay: mean and standard deviation of a packet's delay in seconds; normal, never negative.
        loss: probability that a packet is lost.
        duplicate: probability that a packet arrives twice.
        codec: turns packets into bytes and back on the way; None leaves them objects.
    """

    def __init__(
        self,
        seed: int,
        *,
        delay: tuple[float, float] = (0.01, 0.005),
        loss: float = 0.0,
        duplicate: float = 0.0,
        codec: Codec[Any] | None = None,
    ) -> None:
        print(f"network seed {seed}")
        self.seed = seed
        self.now = 0.0
        self.delay = delay
        self.loss = loss
        self.duplicate = duplicate
        self.counters: Counter[str] = Counter()
        "sent, bytes, delivered, lost, duplicated, cut, nobody (no host at the destination), refused (by the codec)"
        self.observers: list[Observer] = []
        self._codec = codec
        self._random = Random(f"network {seed}")
        self._hosts: dict[Address, _Host] = {}
        self._cuts: list[tuple[frozenset[Address], frozenset[Address]]] = []
        self._order = itertools.count()
        self._packets: list[tuple[float, int, Address, Address, Any]] = []
        self._timers: list[tuple[float, int, _Host]] = []
        self._digest = hashlib.sha256()

    # ---- hosts ---------------------------------------------------------------------------------------------------

    def rng(self, name: object) -> Random:
        """A generator of its own for a core, derived from the seed."""
        return Random(f"{self.seed} {name}")

    def add(self, core: Core, address: Address, on_event: Callable[[Effect], None] | None = None) -> None:
        """Connect a core; `on_event` gets its effects that are not packets."""
        assert address not in self._hosts, f"{address} is in use"
        host = self._hosts[address] = _Host(core, address, on_event)
        self._schedule(host)

    def kill(self, address: Address) -> None:
        """Disconnect a core without a word; packets under way to it go nowhere."""
        host = self._hosts.pop(address)
        host.wakes_at = math.nan

    def core(self, address: Address) -> Any:
        """The core at an address."""
        return self._hosts[address].core

    @property
    def addresses(self) -> list[Address]:
        """Addresses of all connected cores, in the order of their coming."""
        return list(self._hosts)

    def cut(self, group_a: Iterable[Address], group_b: Iterable[Address]) -> None:
        """Stop packets between two groups, both ways, from now on."""
        self._cuts.append((frozenset(group_a), frozenset(group_b)))

    def heal(self) -> None:
        """Undo all cuts."""
        self._cuts.clear()

    # ---- traffic -------------------------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """SHA-256 over time, source, destination and content of everything sent so far."""
        return self._digest.hexdigest()

    def perform(self, address: Address, effects: Iterable[Effect]) -> None:
        """Carry out what a core wants; call it with whatever a call of the core returned."""
        host = self._hosts[address]
        for effect in effects:
            if isinstance(effect, Send):
                self.send(address, effect.to, effect.packet)
            elif host.on_event is not None:
                host.on_event(effect)
        self._schedule(host)

    def send(self, source: Address, to: Address, packet: Any) -> None:
        """Put a packet on its way; `source` need not be a host's, as for a spoofed packet."""
        cargo: Any = packet
        size = 0
        if self._codec is not None:
            cargo = self._codec.encode(packet)
            size = len(cargo)
            assert size <= MAX_DATAGRAM, f"{size} bytes: {packet}"
        self._post(source, to, packet, cargo, size)

    def send_bytes(self, source: Address, to: Address, data: bytes) -> None:
        """Put raw bytes on their way; needs a codec."""
        assert self._codec is not None
        self._post(source, to, None, data, len(data))

    def _post(self, source: Address, to: Address, packet: Any, cargo: Any, size: int) -> None:
        self.counters["sent"] += 1
        self.counters["bytes"] += size
        content = cargo if type(cargo) is bytes else type(getattr(cargo, "message", cargo)).__name__.encode()
        self._digest.update(f"{self.now:.9f} {source} {to} ".encode() + content)
        for observer in self.observers:
            observer(source, to, packet, size)
        if any((source in a and to in b) or (source in b and to in a) for a, b in self._cuts):
            self.counters["cut"] += 1
            return
        if self.loss and self._random.random() < self.loss:
            self.counters["lost"] += 1
            return
        copies = 1
        if self.duplicate and self._random.random() < self.duplicate:
            self.counters["duplicated"] += 1
            copies = 2
        for _ in range(copies):
            at = self.now + max(0.0, self._random.gauss(*self.delay))
            heapq.heappush(self._packets, (at, next(self._order), source, to, cargo))

    # ---- time ----------------------------------------------------------------------------------------------------

    def run(self, duration_s: float) -> None:
        """Let so much virtual time pass."""
        end = self.now + duration_s
        while self._step(end):
            pass
        self.now = end

    def run_until(self, predicate: Callable[[], object], limit_s: float) -> float:
        """Run until the predicate holds, looked at after each step; return the seconds that took.

        Raises:
            AssertionError: it does not hold within `limit_s` of virtual time.
        """
        start = self.now
        end = start + limit_s
        while not predicate():
            if not self._step(end):
                self.now = end
                assert predicate(), f"not within {limit_s} s of virtual time (seed {self.seed})"
        return self.now - start

    def _schedule(self, host: _Host) -> None:
        deadline = host.core.next_deadline()
        if deadline < host.wakes_at or host.wakes_at <= self.now:
            host.wakes_at = deadline
            if deadline < math.inf:
                heapq.heappush(self._timers, (deadline, next(self._order), host))

    def _step(self, end: float) -> bool:
        """Handle the next packet or timer up to `end`; False when there is none."""
        timers = self._timers
        while timers and timers[0][2].wakes_at != timers[0][0]:
            heapq.heappop(timers)  # moved to an earlier time, or the host is gone
        timer_at = timers[0][0] if timers else math.inf
        packet_at = self._packets[0][0] if self._packets else math.inf
        if min(timer_at, packet_at) > end:
            return False
        self.now = max(self.now, min(timer_at, packet_at))
        try:
            if packet_at <= timer_at:
                self._deliver()
            else:
                self._tick(heapq.heappop(timers)[2])
        except Exception as error:
            error.add_note(f"network seed {self.seed}, virtual time {self.now:.6f} s")
            raise
        return True

    def _deliver(self) -> None:
        _at, _order, source, to, cargo = heapq.heappop(self._packets)
        host = self._hosts.get(to)
        if host is None:
            self.counters["nobody"] += 1
            return
        packet = cargo
        if self._codec is not None:
            try:
                packet = self._codec.decode(cargo)
            except RemoteProtocolError:
                self.counters["refused"] += 1
                return
        self.counters["delivered"] += 1
        self.perform(to, host.core.receive(packet, source, self.now))

    def _tick(self, host: _Host) -> None:
        host.wakes_at = -math.inf  # so that the next deadline counts, whichever it is
        host.ticks = host.ticks + 1 if host.ticked_at == self.now else 0
        host.ticked_at = self.now
        assert host.ticks < STALLED_TICKS, "a core asks to be ticked again and again at the same moment"
        effects = [] if host.core.next_deadline() > self.now else host.core.tick(self.now)
        self.perform(host.address, effects)
