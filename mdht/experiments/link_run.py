"""A link on virtual time: shipped hosts on it, packets that may be lost, hosts that crash, sides that are split.

Longer than most modules: time, hosts and packets of one simulation, each with its few lines.
"""

import hashlib
import heapq
import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Generic, TypeVar

from dhtboot.ids import Address
from mdht.signing import SigningKey
from mdht.subnet.effects import (
    LinkMode,
    LinkModeChanged,
    MemberChanged,
    Merged,
    Multicast,
    Reincarnated,
    Settled,
    Unicast,
)
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.host_keys import host_name
from mdht.subnet.identity import Subnet, derive
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Message, State
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.proofs import Proofs, Verdict
from mdht.subnet.replay import ReplayWindows, Seen
from mdht.subnet.wire import Header, LinkCodec, Opened

DELAY_S: Final = 0.0005
OVERLAY_HASH: Final = bytes(20)
TAG: Final = b"tagtagta"
"Of hosts that are a membership and nothing else: they are in one subnet from the start."


class Host:
    """One host of the link; one with more machines than the membership overrides the last four methods.

    Args:
        number: by which its name and its address are made.
        membership: its view of the others.

    Attributes:
        alive: whether it listens and acts.
        tag: of its subnet, put into each of its packets.
        hears_multicast: else it gets unicast only.
        speaks_multicast: else what it sends by multicast reaches nobody.
        side: hosts of different sides do not reach each other.
        changes: of members, with their times.
        modes: of the link, with their times, when they have changed.
        sent: all messages, with their times.
        codec: what makes its datagrams.
        proofs: its judgement of what others sign, where hosts do.
        wake_at: its next deadline, looked up after each call: whatever changes a host goes through `perform`.
    """

    def __init__(self, number: int, membership: Membership) -> None:
        self.number = number
        self.membership = membership
        self.address = address_of(number)
        self.codec = LinkCodec("test")
        self.proofs: Proofs | None = None
        self.alive = True
        self.tag = TAG
        self.hears_multicast = self.speaks_multicast = True
        self.windows = ReplayWindows()
        self.side = 0
        self.seq = 0
        self.changes: list[tuple[float, bytes, State]] = []
        self.modes: list[tuple[float, LinkMode]] = []
        self.sent: list[tuple[float, Message]] = []
        self.wake_at = 0.0

    def start(self, now: float) -> Sequence[object]:
        """Come to the link."""
        return self.membership.start(now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[object]:
        """Act on one message."""
        return self.membership.receive(header, message, source, now, multicast=multicast)

    def tick(self, now: float) -> Sequence[object]:
        """Act on the time."""
        return self.membership.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        return self.membership.next_deadline()


def address_of(number: int) -> Address:
    """Of the host of that number."""
    return (f"192.0.2.{number % 250}", 1024 + number)


def hid_of(number: int) -> bytes:
    """Name of the host of that number, where hosts do not sign."""
    return number.to_bytes(8, "big")


def key_of(number: int) -> SigningKey:
    """Its own key, where they do."""
    return SigningKey.from_seed(hashlib.sha256(hid_of(number)).digest())


H = TypeVar("H", bound=Host)


class LinkOf(Generic[H]):
    """Runs hosts of some kind. Every message passes the codec.

    Args:
        seed: of all chance.
        config: of all memberships.
        host_keys: whether hosts sign what they say of themselves.

    Attributes:
        now: the time.
        multicast_loss: share of the copies of a multicast that are lost, each for itself.
        unicast_loss: share of the unicast packets that are lost.
        hosts: all that were ever started, but those that were started again.
    """

    def __init__(self, seed: int, config: MembershipConfig | None = None, *, host_keys: bool = False) -> None:
        self.seed = seed
        self.host_keys = host_keys
        self.now = 0.0
        self.multicast_loss = 0.0
        self.unicast_loss = 0.0
        self.hosts: list[H] = []
        self.codec = LinkCodec("test")
        self._config = config or MembershipConfig()
        self._rng = Random(f"{seed} link")
        self._order = itertools.count()
        self._queue: list[tuple[float, int, H, Opened, Address, bool]] = []

    def make(self, number: int, membership: Membership) -> H:
        """A host; for whoever has another kind of it."""
        raise NotImplementedError

    def special(self, host: H, effect: object) -> None:
        """An effect that is none of the membership's."""
        raise AssertionError((host.number, effect))

    def on_sent(self, host: H, message: Message, size: int, *, multicast: bool) -> None:  # noqa: ARG002  for others
        """A host sends a datagram of so many bytes; for whoever counts them instead of keeping the messages."""
        host.sent.append((self.now, message))

    @property
    def living(self) -> list[H]:
        """Hosts that have not crashed."""
        return [host for host in self.hosts if host.alive]

    def add(
        self,
        *,
        incarnation: int = 1,
        number: int | None = None,
        epoch: int = 0,
        prepare: Callable[[H], None] | None = None,
    ) -> H:
        """Start a host, which may be prepared for what it is to meet."""
        number = len(self.hosts) if number is None else number
        membership = Membership(
            host_name(key_of(number).public_key) if self.host_keys else hid_of(number),
            incarnation,
            (address_of(number),),
            OVERLAY_HASH,
            self._config,
            Random(f"{self.seed} host {number} {incarnation}"),
            epoch=epoch,
            proven=self.host_keys,
        )
        host = self.make(number, membership)
        if self.host_keys:
            host.codec, host.proofs = LinkCodec("test", signer=key_of(number)), Proofs()
        self.hosts.append(host)
        if prepare is not None:
            prepare(host)
        self.perform(host, host.start(self.now))
        return host

    def started(self, count: int) -> list[H]:
        """So many hosts that know each other and were told to be ready."""
        hosts = [self.add() for _ in range(count)]
        self.run(2.0)
        for host in hosts:
            self.perform(host, host.membership.become(State.READY, self.now))
        self.run(3.0)
        return hosts

    def restart(self, host: H, prepare: Callable[[H], None] | None = None) -> H:
        """The host at the same address with the next incarnation."""
        host.alive = False
        self.hosts.remove(host)
        return self.add(incarnation=host.membership.incarnation + 1, number=host.number, prepare=prepare)

    def perform(self, host: H, effects: Sequence[object]) -> None:
        """Do what a host wants done."""
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._multicast(host, message)
                case Unicast(to=to, message=message, to_all=to_all):
                    self._send(host, message, self._at(to), multicast=False, to_all=to_all)
                case LinkModeChanged(mode=mode):
                    host.modes.append((self.now, mode))
                case MemberChanged(hid=hid, state=state):
                    host.changes.append((self.now, hid, state))
                case Reincarnated():
                    pass
                case _:
                    self.special(host, effect)
        host.wake_at = host.next_deadline()

    def _at(self, address: Address) -> list[H]:
        return [host for host in self.hosts if host.address == address]

    def _multicast(self, host: H, message: Message) -> None:
        """To all, and as copies to those that need some."""
        header = self._send(host, message, [other for other in self.hosts if other is not host], multicast=True)
        for address in host.membership.reach.copies(self.now):
            self._pass(host, header, message, self._at(address), multicast=False)

    def _send(self, host: H, message: Message, to: list[H], *, multicast: bool, to_all: bool = False) -> Header:
        host.seq += 1
        me = host.membership
        header = Header(
            subnet_tag=host.tag,
            hid=me.hid,
            incarnation=me.incarnation,
            seq=host.seq,
            to_all=to_all or multicast,
        )
        self._pass(host, header, message, to, multicast=multicast)
        return header

    def _pass(self, host: H, header: Header, message: Message, to: list[H], *, multicast: bool) -> None:
        data = host.codec.encode(header, message)
        self.on_sent(host, message, len(data), multicast=multicast)
        found = host.codec.open(data)  # the same to all, who change nothing in it
        if found is None or (found.header, found.message) != (header, message):
            raise AssertionError(f"the codec makes {found} of {header, message}")
        for other in to:
            if other.side == host.side and not self._loses(host, other, multicast=multicast):
                self.bring(found, host.address, other, multicast=multicast)

    def bring(self, datagram: Opened, source: Address, to: H, *, multicast: bool) -> None:
        """A datagram will arrive at a host, whoever has made it."""
        arrival = (self.now + DELAY_S, next(self._order), to, datagram, source, multicast)
        heapq.heappush(self._queue, arrival)

    def _loses(self, host: H, to: H, *, multicast: bool) -> bool:
        if multicast:
            passes = host.speaks_multicast and to.hears_multicast
            return not passes or self._rng.random() < self.multicast_loss
        return self.unicast_loss > 0.0 and self._rng.random() < self.unicast_loss

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while True:
            arrival = self._queue[0][0] if self._queue else end
            waker, wake = None, end
            for host in self.hosts:
                if host.alive and host.wake_at < wake:
                    waker, wake = host, host.wake_at
            if min(arrival, wake) >= end:
                self.now = end
                return
            if arrival <= wake:
                self._deliver()
            elif waker is not None:
                self.now = max(self.now, wake)
                self.perform(waker, waker.tick(self.now))

    def _deliver(self) -> None:
        self.now, _, host, opened, source, multicast = heapq.heappop(self._queue)
        if not host.alive:
            return
        header, proofs = opened.header, host.proofs
        verdict = None if proofs is None else proofs.judge(opened, source, self.now)
        if multicast and verdict in {None, Verdict.BELIEVED, Verdict.DUPLICATE}:
            host.membership.reach.heard_by_group(header.hid, self.now)
        if verdict is None:
            seen = host.windows.look(header.hid, header.incarnation, header.seq)
            verdict = Verdict.DUPLICATE if seen is Seen.DUPLICATE else Verdict.BELIEVED
        if verdict is Verdict.BELIEVED:
            self.perform(host, host.receive(header, opened.message, source, self.now, multicast=header.to_all))


class WholeHost(Host):
    """A host that comes to its subnet by itself.

    Args:
        number: by which its name and its address are made.
        membership: its view of the others.
        seed: of its chance.

    Attributes:
        core: all there is of it.
        settled: the subnets that it was in, None for none.
    """

    def __init__(self, number: int, membership: Membership, seed: int) -> None:
        super().__init__(number, membership)
        rng = Random(f"{seed} founding {number} {membership.incarnation}")
        founding = Founding(membership.hid, lambda: derive([], rng), None, FoundingConfig(), rng)
        self.core = SubnetHost(membership, founding, self._make_part)
        self.tag = self.core.tag
        self.settled: list[Subnet | None] = []

    def _make_part(self, subnet: Subnet, now: float) -> NodePart:
        """Of a node that is a ring of its own: there is no bootstrap server."""
        rng = Random(f"part {self.number} {now}")
        return NodePart(subnet, "test", self.membership, lambda: (self.address,), NodePartConfig(), None, rng, now)

    def start(self, now: float) -> Sequence[object]:
        """Come to the link."""
        return self.core.start(now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[object]:
        """Act on one message."""
        return self.core.receive(header, message, source, now, multicast=multicast)

    def tick(self, now: float) -> Sequence[object]:
        """Act on the time."""
        return self.core.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        return self.core.next_deadline()


class WholeLink(LinkOf[WholeHost]):
    """A link of them."""

    def make(self, number: int, membership: Membership) -> WholeHost:
        """One of them."""
        return WholeHost(number, membership, self.seed)

    def special(self, host: WholeHost, effect: object) -> None:
        """It has come to a subnet."""
        match effect:
            case Settled(subnet=subnet):
                host.tag = host.core.tag
                host.settled.append(subnet)
            case Merged():
                pass
            case _:
                super().special(host, effect)

    @property
    def agreed(self) -> bool:
        """Whether all that live are ready, in one subnet, and know exactly each other, as ready and by this start."""
        living = self.living
        subnet = living[0].core.subnet
        names = sorted((host.core.hid, host.core.incarnation) for host in living)
        return subnet is not None and all(host.core.subnet == subnet and _known_to(host) == names for host in living)

    @property
    def served(self) -> bool:
        """Whether what each host tells all gets to all others, by multicast or as copies."""
        return all(
            (host.speaks_multicast and other.hears_multicast) or other.address in host.membership.reach.copies(self.now)
            for host in self.living
            for other in self.living
            if other is not host
        )

    @property
    def by_multicast(self) -> bool:
        """Whether nobody sends copies, or takes anybody for unheard."""
        return all(
            host.membership.reach.mode.mode is LinkMode.MULTICAST and not host.membership.reach.copies(self.now)
            for host in self.living
        )

    def run_until_agreed(self, most_s: float, step_s: float = 0.1) -> float | None:
        """How long that takes; None if it takes longer than `most_s`."""
        began = self.now
        while not self.agreed:
            if self.now - began >= most_s:
                return None
            self.run(step_s)
        return self.now - began


def _known_to(host: WholeHost) -> list[tuple[bytes, int]]:
    """Whom a host has for ready, itself among them."""
    membership = host.membership
    ready = [(member.hid, member.incarnation) for member in membership.view if member.state is State.READY]
    gone = any(member.live and member.state is not State.READY for member in membership.view)
    if gone or membership.state is not State.READY:
        return []
    return sorted([(membership.hid, membership.incarnation), *ready])
