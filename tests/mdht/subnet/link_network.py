"""A link in virtual time: hosts with a membership each, multicast that may be lost, hosts cut off, sides split."""

import heapq
import itertools
from collections.abc import Sequence
from random import Random
from typing import Generic, TypeVar

from mdht.subnet.effects import MemberChanged, Multicast, Reincarnated, Unicast
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Message, State
from mdht.subnet.wire import Header, LinkCodec

DELAY_S = 0.0005
OVERLAY_HASH = bytes(20)
TAG = b"tagtagta"


class Host:
    """One host of the link; one with more machines than the membership overrides the last four methods."""

    def __init__(self, number: int, membership: Membership) -> None:
        self.number = number
        self.membership = membership
        self.address = membership_address(number)
        self.alive = True
        self.tag = TAG
        self.hears_multicast = True
        self.side = 0
        self.seq = 0
        self.changes: list[tuple[float, bytes, State]] = []
        self.sent: list[tuple[float, Message]] = []
        self.wake_at = 0.0
        "Its next deadline, looked up after each call: whatever changes a host goes through `perform`."

    def start(self, now: float) -> Sequence[object]:
        return self.membership.start(now)

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        return self.membership.receive(header, message, source, now, multicast=multicast)

    def tick(self, now: float) -> Sequence[object]:
        return self.membership.tick(now)

    def next_deadline(self) -> float:
        return self.membership.next_deadline()


def membership_address(number: int) -> tuple[str, int]:
    return (f"192.0.2.{number % 250}", 1024 + number)


def hid_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


H = TypeVar("H", bound=Host)


class LinkOf(Generic[H]):
    """Runs hosts of some kind. Every message passes the codec."""

    def __init__(self, seed: int, config: MembershipConfig | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.multicast_loss = 0.0
        self.hosts: list[H] = []
        self.codec = LinkCodec("test")
        self._config = config or MembershipConfig()
        self._rng = Random(f"{seed} link")
        self._order = itertools.count()
        self._queue: list[tuple[float, int, H, Header, Message, tuple[str, int], bool]] = []

    def make(self, number: int, membership: Membership) -> H:
        """A host; for whoever has another kind of it."""
        raise NotImplementedError

    def special(self, host: H, effect: object) -> None:
        """An effect that is none of the membership's."""
        raise AssertionError(effect)

    def add(self, *, incarnation: int = 1, number: int | None = None, epoch: int = 0) -> H:
        number = len(self.hosts) if number is None else number
        membership = Membership(
            hid_of(number),
            incarnation,
            (membership_address(number),),
            OVERLAY_HASH,
            self._config,
            Random(f"{self.seed} host {number} {incarnation}"),
            epoch=epoch,
        )
        host = self.make(number, membership)
        self.hosts.append(host)
        self.perform(host, host.start(self.now))
        return host

    def started(self, count: int) -> list[H]:
        """So many hosts that know each other and are ready."""
        hosts = [self.add() for _ in range(count)]
        self.run(2.0)
        for host in hosts:
            self.perform(host, host.membership.become(State.READY, self.now))
        self.run(3.0)
        return hosts

    def restart(self, host: H) -> H:
        """The host at the same address with the next incarnation."""
        host.alive = False
        self.hosts.remove(host)
        return self.add(incarnation=host.membership.incarnation + 1, number=host.number)

    def perform(self, host: H, effects: Sequence[object]) -> None:
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._send(host, message, [other for other in self.hosts if other is not host], multicast=True)
                case Unicast(to=to, message=message):
                    self._send(host, message, [other for other in self.hosts if other.address == to], multicast=False)
                case MemberChanged(hid=hid, state=state):
                    host.changes.append((self.now, hid, state))
                case Reincarnated():
                    pass
                case _:
                    self.special(host, effect)
        host.wake_at = host.next_deadline()

    def _send(self, host: H, message: Message, to: list[H], *, multicast: bool) -> None:
        host.seq += 1
        host.sent.append((self.now, message))
        me = host.membership
        header = Header(subnet_tag=host.tag, hid=me.hid, incarnation=me.incarnation, seq=host.seq)
        found = self.codec.decode(self.codec.encode(header, message))  # the same to all, who change nothing in it
        assert found == (header, message)
        for other in to:
            lost = multicast and (not other.hears_multicast or self._rng.random() < self.multicast_loss)
            if other.side == host.side and not lost:
                arrival = (self.now + DELAY_S, next(self._order), other, header, message, host.address, multicast)
                heapq.heappush(self._queue, arrival)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while True:
            arrival = self._queue[0][0] if self._queue else end
            living = [host for host in self.hosts if host.alive]
            waker = min(living, key=lambda host: host.wake_at, default=None)
            wake = waker.wake_at if waker else end
            if min(arrival, wake) >= end:
                self.now = end
                return
            if arrival <= wake:
                self._deliver()
            elif waker is not None:
                self.now = max(self.now, wake)
                self.perform(waker, waker.tick(self.now))

    def _deliver(self) -> None:
        self.now, _, host, header, message, source, multicast = heapq.heappop(self._queue)
        if host.alive:
            self.perform(host, host.receive(header, message, source, self.now, multicast=multicast))


class LinkNetwork(LinkOf[Host]):
    """Hosts with a membership and nothing else."""

    def make(self, number: int, membership: Membership) -> Host:
        return Host(number, membership)


def sees(host: Host) -> dict[int, State]:
    """State of every member that a host knows, by number."""
    return {int.from_bytes(member.hid, "big"): member.state for member in host.membership.view}
