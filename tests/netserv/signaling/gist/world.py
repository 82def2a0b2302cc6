"""A network in memory on virtual time: GIST nodes, plain routers and hosts, links that lose, double and delay."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import (
    Caught,
    CloseAssociation,
    Deliver,
    Effect,
    Forward,
    Notify,
    OpenAssociation,
    Outgoing,
    Report,
    SendAlongFlow,
    SendDatagram,
    SendOnAssociation,
)
from netserv.signaling.gist.node import GistNode
from netserv.signaling.gist.service import (
    SendMessage,
)
from tests.netserv.signaling.gist.recorder import Recorder


@dataclass
class Link:
    """A cable between two hosts."""

    ends: tuple["Host", "Host"]
    delay_s: float = 0.001
    loss: float = 0.0
    duplication: float = 0.0
    jitter_s: float = 0.0
    up: bool = True
    mtu: int = 1500

    def other(self, host: "Host") -> "Host":
        return self.ends[1] if self.ends[0] is host else self.ends[0]


@dataclass
class Packet:
    """UDP over IP."""

    payload: bytes
    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    ttl: int
    dscp: int = 0
    router_alert: bool = False


@dataclass
class Connection:
    """A TCP connection: what each end sends arrives at the other in order, until it is cut."""

    ends: dict["Host", int]
    "Number of the association at each."
    secure: bool
    alive: bool = True

    def other(self, host: "Host") -> "Host":
        return next(one for one in self.ends if one is not host)


@dataclass(eq=False)
class Host:
    """One machine: with a GIST node, or without."""

    world: "World"
    name: str
    address: bytes
    node: GistNode | None = None
    nslp: Recorder = field(default_factory=Recorder)
    config: GistConfig = field(default_factory=GistConfig)
    icmp: bool = True
    "Says that nobody listens on a port."
    refuses: bool = False
    "Takes no connections."
    incarnation: int = 0
    links: list[Link] = field(default_factory=list)
    connections: dict[int, Connection] = field(default_factory=dict)
    accepted: itertools.count = field(default_factory=lambda: itertools.count(2, 2))
    sent: list[Packet] = field(default_factory=list)
    "Datagrams of the node itself."
    gateway: Link | None = None
    "The way to addresses that nobody has."
    foreign: set[bytes] = field(default_factory=set)
    "Sources that the ingress filter refuses."

    # What the topology of the kernel is for the node.

    def outgoing(self, destination: bytes) -> Outgoing | None:
        link = self.world.way(self, destination) or self.gateway
        if link is None:
            return None
        return Outgoing(interface=self.links.index(link) + 1, address=self.address, mtu=link.mtu)

    def is_own(self, address: bytes) -> bool:
        return address == self.address

    def may_come_from(self, source: bytes, prefix: int, interface: int) -> bool:
        return source not in self.foreign

    # The driver.

    def start(self) -> None:
        """Start the node, with a new identity."""
        self.incarnation += 1
        identity = f"{self.name}-{self.incarnation}".encode().ljust(16, b".")
        self.node = GistNode(
            config=self.config,
            identity=identity,
            topology=self,
            applications={NSLP_NETSERV: self.nslp},
            rng=Random(self.world.rng.getrandbits(64)),
            now=self.world.now,
        )

    def kill(self) -> None:
        """End the node without a word; its kernel closes the connections."""
        self.node = None
        for number in list(self.connections):
            self.world.cut(self, number)

    def send(self, request: SendMessage) -> None:
        assert self.node is not None
        self.perform(self.node.send(request, self.world.now))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendDatagram(payload, to, source_port, ip_ttl):
                    self._datagram(Packet(payload, (self.address, source_port), to, ip_ttl))
                case SendAlongFlow():
                    source = (self.address if effect.source is None else effect.source, effect.source_port)
                    to = (effect.destination, GIST_PORT)
                    packet = Packet(effect.payload, source, to, effect.ip_ttl, effect.dscp, effect.router_alert)
                    self._datagram(packet)
                case Forward(caught, payload):
                    packet = Packet(
                        payload, caught.source, caught.destination, caught.ip_ttl - 1, caught.dscp, caught.router_alert
                    )
                    self.world.carry(self, packet)
                case OpenAssociation(association=number, to=to, secure=secure):
                    self.world.connect(self, number, to, secure)
                case SendOnAssociation(number, data):
                    self.world.stream(self, number, data)
                case CloseAssociation(number):
                    self.world.cut(self, number, by_node=True)
                case Deliver(delivered):
                    self.nslp.received.append(delivered)
                    self.nslp.on_received(delivered)
                case Report(status):
                    self.nslp.reported.append(status)
                case Notify(notification):
                    self.nslp.notified.append(notification)

    def _datagram(self, packet: Packet) -> None:
        self.sent.append(packet)
        self.world.carry(self, packet)

    def arrived(self, packet: Packet, link: Link) -> None:
        """A packet has come by a link."""
        own = packet.destination[0] == self.address
        if self.node is not None and packet.destination[1] == (GIST_PORT if not own else packet.destination[1]):
            caught = Caught(
                payload=packet.payload,
                source=packet.source,
                destination=packet.destination,
                in_transit=not own,
                ip_ttl=packet.ttl,
                dscp=packet.dscp,
                router_alert=packet.router_alert,
                interface=self.links.index(link) + 1,
            )
            self.perform(self.node.caught(caught, self.world.now))
        elif not own:
            packet.ttl -= 1
            if packet.ttl > 0:
                self.world.carry(self, packet)
        elif self.icmp:
            self.world.icmp(self, packet)


class World:
    """Hosts, links and the time."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.now = 1000.0
        self.hosts: dict[str, Host] = {}
        self.links: list[Link] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def host(self, name: str, address: str, *, config: GistConfig | None = None, gist: bool = True) -> Host:
        """Add a host; `gist` false: it only forwards, or only is there."""
        host = Host(self, name, packed(address), config=config or GistConfig())
        self.hosts[name] = host
        if gist:
            host.start()
        return host

    def link(self, one: Host, other: Host, **how) -> Link:
        link = Link((one, other), **how)
        self.links.append(link)
        one.links.append(link)
        other.links.append(link)
        return link

    def way(self, start: Host, destination: bytes) -> Link | None:
        """The first link of the shortest way, links in the order in which they were added."""
        queue = deque([(start, None)])
        seen = {id(start)}
        while queue:
            host, first = queue.popleft()
            if host.address == destination and first is not None:
                return first
            for link in host.links:
                other = link.other(host)
                if link.up and id(other) not in seen:
                    seen.add(id(other))
                    queue.append((other, first or link))
        return None

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._count), what))

    # UDP.

    def carry(self, host: Host, packet: Packet) -> None:
        """Send a packet by the way of its destination."""
        link = self.way(host, packet.destination[0])
        if link is None:
            return
        copies = 0 if self.rng.random() < link.loss else 1 + (self.rng.random() < link.duplication)
        for _ in range(copies):
            copy = Packet(
                packet.payload, packet.source, packet.destination, packet.ttl, packet.dscp, packet.router_alert
            )
            delay_s = link.delay_s + self.rng.random() * link.jitter_s
            other = link.other(host)
            self.at(self.now + delay_s, lambda copy=copy, other=other, link=link: other.arrived(copy, link))

    def icmp(self, host: Host, packet: Packet) -> None:
        """Port unreachable, to whoever has the source address."""
        for other in self.hosts.values():
            if other.address == packet.source[0] and other.node is not None:
                self.at(self.now + 0.001, lambda other=other: self._unreachable(other, host.address, packet.payload))

    def _unreachable(self, host: Host, destination: bytes, quoted: bytes) -> None:
        if host.node is not None:
            host.perform(host.node.unreachable(destination, quoted, self.now))

    # TCP.

    def connect(self, host: Host, number: int, to: tuple[bytes, int], secure: bool) -> None:
        self.at(self.now + 0.002, lambda: self._connected(host, host.incarnation, number, to, secure))

    def _connected(self, host: Host, incarnation: int, number: int, to: tuple[bytes, int], secure: bool) -> None:
        if host.node is None or host.incarnation != incarnation:
            return
        other = next((one for one in self.hosts.values() if one.address == to[0]), None)
        port = None if other is None else other.config.secure_port if secure else other.config.association_port
        if other is None or other.node is None or other.refuses or port != to[1]:
            host.perform(host.node.association_closed(number, "refused", self.now))
            return
        theirs = next(other.accepted)
        connection = Connection({host: number, other: theirs}, secure)
        host.connections[number] = other.connections[theirs] = connection
        other.perform(other.node.association_accepted(theirs, (host.address, 40000), secure=secure, now=self.now))
        host.perform(host.node.association_opened(number, now=self.now))

    def stream(self, host: Host, number: int, data: bytes) -> None:
        connection = host.connections.get(number)
        if connection is not None:
            other = connection.other(host)
            self.at(self.now + 0.001, lambda: self._streamed(other, connection, data))

    def _streamed(self, host: Host, connection: Connection, data: bytes) -> None:
        number = connection.ends[host]
        if connection.alive and host.node is not None and host.connections.get(number) is connection:
            half = self.rng.randrange(len(data) + 1)  # TCP knows no messages
            for part in (data[:half], data[half:]):
                host.perform(host.node.association_data(number, part, self.now))

    def cut(self, host: Host, number: int, *, by_node: bool = False) -> None:
        """End a connection: at once, or after what was sent on it if the node closes it."""
        connection = host.connections.pop(number, None)
        if connection is None:
            return
        other = connection.other(host)
        if not by_node:
            connection.alive = False
        self.at(self.now + 0.001, lambda: self._ended(other, connection))

    def _ended(self, host: Host, connection: Connection) -> None:
        connection.alive = False
        number = connection.ends[host]
        if host.connections.pop(number, None) is not None and host.node is not None:
            host.perform(host.node.association_closed(number, "closed by the peer", self.now))

    def cut_both(self, host: Host, number: int) -> None:
        """A connection breaks, and both ends see it."""
        connection = host.connections.pop(number)
        other = connection.other(host)
        connection.alive = False
        if host.node is not None:
            host.perform(host.node.association_closed(number, "reset", self.now))
        other.connections.pop(connection.ends[other], None)
        if other.node is not None:
            other.perform(other.node.association_closed(connection.ends[other], "reset", self.now))

    # Time.

    def run(self, for_s: float) -> None:
        """Let so much time pass."""
        end = self.now + for_s
        while True:
            deadlines = [(h.node.next_deadline(), h) for h in self.hosts.values() if h.node is not None]
            deadline, host = min(deadlines, key=lambda pair: pair[0], default=(math.inf, None))
            event_at = self._events[0][0] if self._events else math.inf
            if min(deadline, event_at) > end:
                break
            if event_at <= deadline:
                at, _, what = heapq.heappop(self._events)
                self.now = max(self.now, at)
                what()
            else:
                self.now = max(self.now, deadline)
                host.perform(host.node.tick(self.now))
        self.now = end


def line(seed: int = 1, *, between: int = 0, config: GistConfig | None = None, **how) -> tuple[World, Host, Host, Host]:
    """Sender and two nodes in a row, with plain routers between them, and a receiver that runs nothing.

    Returns:
        World, sender's node, second node, receiver.
    """
    world = World(seed)
    sender = world.host("a", "10.0.0.1", config=config)
    second = world.host("b", "10.0.1.1", config=config)
    receiver = world.host("r", "10.0.9.1", gist=False)
    chain = [sender, *(world.host(f"p{n}", f"10.0.8.{n + 1}", gist=False) for n in range(between)), second, receiver]
    for one, other in itertools.pairwise(chain):
        world.link(one, other, **how)
    return world, sender, second, receiver
