"""A link in virtual time whose hosts look keys up among each other; multicasts may be lost, hosts may be silent."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from random import Random

import msgspec

from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.holdings import Version, version_of
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Ask, Have, Message, State, WhoHas
from mdht.subnet.query import Action, FetchBulk, Resolved
from mdht.subnet.resolve import Resolver
from mdht.subnet.resolve_config import ResolveConfig
from mdht.subnet.view import Member, rank
from mdht.subnet.wire import Header, LinkCodec

DELAY_S = 0.0005
BULK_S = 0.01
KEY = bytes(range(20))
OTHER = bytes(20)
LARGE = b"x" * 2000
ROUNDING_S = 1e-6


def hid_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def address_of(number: int) -> tuple[str, int]:
    return (f"192.0.2.{number}", 1024 + number)


class Item(msgspec.Struct, frozen=True, array_like=True):
    """What stands for a record."""

    key: bytes
    writer: bytes
    seq: int
    padding: bytes = b""


class Items:
    """Holdings of a host: the newest item of each writer."""

    def __init__(self) -> None:
        self._items: dict[bytes, dict[bytes, Item]] = {}

    def put(self, *items: Item) -> None:
        for item in items:
            slots = self._items.setdefault(item.key, {})
            slots[item.writer] = max(item, slots.get(item.writer, item), key=lambda one: one.seq)

    def drop(self, key: bytes) -> None:
        self._items.pop(key, None)

    def version(self, key: bytes, now: float) -> Version | None:
        items = self._items.get(key, {}).values()
        return version_of([(item.writer, b"", item.seq) for item in items], sum(map(len, self.records(key, now))))

    def records(self, key: bytes, now: float) -> tuple[bytes, ...]:
        return tuple([msgspec.msgpack.encode(item) for item in self._items.get(key, {}).values()])

    def merged(self, key: bytes, found: Iterable[bytes]) -> tuple[bytes, ...]:
        join = Items()
        for data in found:
            try:
                item = msgspec.msgpack.decode(data, type=Item)
            except msgspec.DecodeError:
                continue
            if item.key == key:
                join.put(item)
        return join.records(key, 0.0)


class Ranked:
    """A policy whose holders are computed: the first so many by rank; none at all where the count is 0."""

    def __init__(self, hosts: Sequence[bytes], count: int, *, single: bool = False) -> None:
        self.single = single
        self._hosts = list(hosts)
        self._count = count

    def targets(self, key: bytes) -> Sequence[bytes]:
        return rank(key, self._hosts)[: self._count]


class Get:
    """A lookup, and what came of it."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.results: list[tuple[float, Resolved]] = []

    @property
    def result(self) -> Resolved:
        ((_, result),) = self.results
        return result

    @property
    def took_s(self) -> float:
        ((at, _),) = self.results
        return at - self.at


class Host:
    def __init__(self, number: int, membership: Membership, items: Items, resolver: Resolver) -> None:
        self.number = number
        self.hid = membership.hid
        self.address = address_of(number)
        self.membership = membership
        self.items = items
        self.resolver = resolver
        self.alive = True
        self.hears_multicast = True
        self.bulk_works = True
        self.seq = 0
        self.sent: list[tuple[float, Message]] = []
        self.asked: set[bytes] = set()
        "Keys of the questions that reached it."


class ResolveNetwork:
    """Hosts that all know each other and are READY. Every message passes the codec."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        targets: int = 0,
        single: bool = False,
        delay_s: float = DELAY_S,
        config: ResolveConfig | None = None,
    ) -> None:
        self.now = 0.0
        self.multicast_loss = 0.0
        self.bulk_s = BULK_S
        self.codec = LinkCodec("test")
        self._delay_s = delay_s
        self._rng = Random(f"{seed} link")
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Host, Callable[[], list[Action]]]] = []
        hids = [hid_of(number) for number in range(count)]
        placement = Ranked(hids, targets, single=single)
        self.hosts = [self._host(number, hids, placement, config, seed) for number in range(count)]

    def _host(self, number: int, hids: list[bytes], placement: Ranked, config: ResolveConfig | None, seed: int) -> Host:
        rng = Random(f"{seed} host {number}")
        membership = Membership(hids[number], 1, (address_of(number),), bytes(20), MembershipConfig(), rng)
        membership.state = State.READY
        for other, hid in enumerate(hids):
            if other != number:
                member = Member(hid, 1, (address_of(other),), State.READY, 0.0)
                member.multicast_at = math.inf  # heard at all times, without heartbeats in the way of the test
                membership.view.add(member)
        items = Items()
        resolver = Resolver(membership, items, placement, config or ResolveConfig(), rng)
        return Host(number, membership, items, resolver)

    def seen_as(self, number: int, state: State) -> None:
        """What all others take a host for."""
        for host in self.hosts:
            member = host.membership.view.get(hid_of(number))
            if member is not None:
                member.state = state

    def get(self, host: Host, key: bytes, ask: Ask = Ask.ANY) -> Get:
        get = Get(self.now)
        effects = host.resolver.get(key, ask, self.now, lambda result: get.results.append((self.now, result)))
        self.perform(host, effects)
        return get

    def send(self, host: Host, message: Message, to: int | None = None) -> None:
        """Say something, to one or to all."""
        self.perform(host, [Multicast(message) if to is None else Unicast(address_of(to), message)])

    def perform(self, host: Host, effects: list[Action]) -> None:
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._send(host, message, [other for other in self.hosts if other is not host], multicast=True)
                case Unicast(to=to, message=message):
                    self._send(host, message, [other for other in self.hosts if other.address == to], multicast=False)
                case FetchBulk():
                    self._bulk(host, effect)

    def _send(self, host: Host, message: Message, to: list[Host], *, multicast: bool) -> None:
        host.seq += 1
        host.sent.append((self.now, message))
        header = Header(subnet_tag=b"tagtagta", hid=host.hid, incarnation=1, seq=host.seq)
        data = self.codec.encode(header, message)
        for other in to:
            if multicast and (not other.hears_multicast or self._rng.random() < self.multicast_loss):
                continue
            self._later(self._delay_s, other, self._arrival(host, other, data, multicast=multicast))

    def _arrival(self, host: Host, other: Host, data: bytes, *, multicast: bool) -> Callable[[], list[Action]]:
        def arrive() -> list[Action]:
            found = self.codec.decode(data)
            assert found is not None
            header, message = found
            if isinstance(message, WhoHas):
                other.asked.add(message.key)
            other.membership.receive(header, message, host.address, self.now, multicast=multicast)
            return other.resolver.receive(header, message, host.address, self.now, multicast=multicast)

        return arrive

    def _bulk(self, host: Host, effect: FetchBulk) -> None:
        (holder,) = [other for other in self.hosts if other.hid == effect.hid]

        def arrive() -> list[Action]:
            works = holder.alive and holder.bulk_works
            records = holder.items.records(effect.message.key, self.now) if works else ()
            return host.resolver.on_bulk(effect.message.qid, holder.hid, records, self.now)

        self._later(self.bulk_s, host, arrive)

    def _later(self, after_s: float, host: Host, what: Callable[[], list[Action]]) -> None:
        heapq.heappush(self._queue, (self.now + after_s, next(self._order), host, what))

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.now + seconds
        while True:
            arrival = self._queue[0][0] if self._queue else math.inf
            living = [host for host in self.hosts if host.alive]
            waker = min(living, key=lambda host: host.resolver.next_deadline())
            wake = waker.resolver.next_deadline()
            if min(arrival, wake) > end:
                self.now = end
                return
            if arrival <= wake:
                self.now, _, host, arrive = heapq.heappop(self._queue)
                if host.alive:
                    self.perform(host, arrive())
            else:
                self.now = max(self.now, wake)
                self.perform(waker, waker.resolver.tick(self.now))

    def sent(self, kind: type) -> list[tuple[float, int]]:
        """When a kind of message was sent, and by whom."""
        return sorted(
            (at, host.number) for host in self.hosts for at, message in host.sent if isinstance(message, kind)
        )


def put(host: Host, seq: int = 1, *, key: bytes = KEY, writer: bytes = b"w", padding: bytes = b"") -> Item:
    item = Item(key, writer, seq, padding)
    host.items.put(item)
    return item


def seqs(result: Resolved) -> dict[bytes, int]:
    items = [msgspec.msgpack.decode(data, type=Item) for data in result.records]
    return {item.writer: item.seq for item in items}


def have_of(host: Host, qid: bytes = b"queryqid", key: bytes = KEY) -> Have:
    version = host.items.version(key, 0.0)
    assert version is not None
    return Have(
        qid=qid,
        key=key,
        stamp=version.stamp,
        newest=version.newest,
        records=version.records,
        size=version.size,
    )


def idle(network: ResolveNetwork) -> bool:
    return all(
        not host.resolver._queries
        and not host.resolver._wanted
        and not host.resolver._waiting
        and not len(host.resolver._answering)
        and host.resolver.next_deadline() == math.inf
        for host in network.hosts
        if host.alive
    )
