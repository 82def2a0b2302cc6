"""A link in virtual time: hosts with a membership each, multicast that may be lost, hosts cut off, sides split."""

import heapq
import itertools
from random import Random

from mdht.subnet.effects import Effect, MemberChanged, Multicast, Reincarnated, Unicast
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Message, State
from mdht.subnet.wire import Header, LinkCodec

DELAY_S = 0.0005
OVERLAY_HASH = bytes(20)
TAG = b"tagtagta"


class Host:
    """One host of the link."""

    def __init__(self, number: int, membership: Membership) -> None:
        self.number = number
        self.membership = membership
        self.address = membership_address(number)
        self.alive = True
        self.hears_multicast = True
        self.side = 0
        self.seq = 0
        self.changes: list[tuple[float, bytes, State]] = []
        self.sent: list[tuple[float, Message]] = []


def membership_address(number: int) -> tuple[str, int]:
    return (f"192.0.2.{number % 250}", 1024 + number)


def hid_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


class LinkNetwork:
    """Runs the hosts. Every message passes the codec."""

    def __init__(self, seed: int, config: MembershipConfig | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.multicast_loss = 0.0
        self.hosts: list[Host] = []
        self.codec = LinkCodec("test")
        self._config = config or MembershipConfig()
        self._rng = Random(f"{seed} link")
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Host, bytes, tuple[str, int], bool]] = []

    def add(self, *, incarnation: int = 1, number: int | None = None) -> Host:
        number = len(self.hosts) if number is None else number
        membership = Membership(
            hid_of(number),
            incarnation,
            (membership_address(number),),
            OVERLAY_HASH,
            self._config,
            Random(f"{self.seed} host {number} {incarnation}"),
        )
        host = Host(number, membership)
        self.hosts.append(host)
        self.perform(host, membership.start(self.now))
        return host

    def started(self, count: int) -> list[Host]:
        """So many hosts that know each other and are ready."""
        hosts = [self.add() for _ in range(count)]
        self.run(2.0)
        for host in hosts:
            self.perform(host, host.membership.become(State.READY, self.now))
        self.run(3.0)
        return hosts

    def restart(self, host: Host) -> Host:
        """The host at the same address with the next incarnation."""
        host.alive = False
        self.hosts.remove(host)
        return self.add(incarnation=host.membership.incarnation + 1, number=host.number)

    def perform(self, host: Host, effects: list[Effect]) -> None:
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

    def _send(self, host: Host, message: Message, to: list[Host], *, multicast: bool) -> None:
        host.seq += 1
        host.sent.append((self.now, message))
        header = Header(subnet_tag=TAG, hid=host.membership.hid, incarnation=host.membership.incarnation, seq=host.seq)
        data = self.codec.encode(header, message)
        for other in to:
            lost = multicast and (not other.hears_multicast or self._rng.random() < self.multicast_loss)
            if other.side == host.side and not lost:
                heapq.heappush(
                    self._queue, (self.now + DELAY_S, next(self._order), other, data, host.address, multicast)
                )

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while True:
            arrival = self._queue[0][0] if self._queue else end
            living = [host for host in self.hosts if host.alive]
            waker = min(living, key=lambda host: host.membership.next_deadline(), default=None)
            wake = waker.membership.next_deadline() if waker else end
            if min(arrival, wake) >= end:
                self.now = end
                return
            if arrival <= wake:
                self._deliver()
            elif waker is not None:
                self.now = max(self.now, wake)
                self.perform(waker, waker.membership.tick(self.now))

    def _deliver(self) -> None:
        self.now, _, host, data, source, multicast = heapq.heappop(self._queue)
        found = self.codec.decode(data)
        if host.alive and found is not None:
            header, message = found
            self.perform(host, host.membership.receive(header, message, source, self.now, multicast=multicast))


def sees(host: Host) -> dict[int, State]:
    """State of every member that a host knows, by number."""
    return {int.from_bytes(member.hid, "big"): member.state for member in host.membership.view}
