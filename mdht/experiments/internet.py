"""Many subnets on virtual time: shipped hosts on links, the overlay between them, a bootstrap server.

Time runs in ticks of a millisecond, as in `dhtboot.sim`: what happens in one stands in a list. Messages are values; the
codecs have tests of their own.
"""

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from dhtboot.bootstrap import BootstrapConfig, BootstrapServer
from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.effects import Effect, Multicast, Unicast
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import Subnet, named
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Message, State
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.wire import Header

OVERLAY: Final = "experiment"
OVERLAY_HASH: Final = bytes(20)
SERVER: Final[Address] = ("192.0.2.1", 27184)
TICKS_PER_S: Final = 1000
LINK_TICKS: Final = 1
"Of one message on a link: half a millisecond (design, section 16), rounded up."
DELAY_S: Final = 0.050
JITTER_S: Final = 0.005
"Of one message between subnets, evenly to both sides."
NEVER: Final = 1 << 62


class SimHost:
    """One host at its place.

    Attributes:
        number: by which its name and its address are made.
        link: where it is.
        core: None once it has crashed, or has left for good.
        born_at: when it was started.
        ready_at: when it could first answer for its subnet, infinite as long as it cannot.
        sent: messages to the link, and to other subnets.
    """

    def __init__(self, number: int, link: int, address: Address, now: float) -> None:
        self.number = number
        self.link = link
        self.address = address
        self.core: SubnetHost | None = None
        self.born_at = now
        self.ready_at = math.inf
        self.sent_here = self.sent_away = 0
        self.seq = 0
        self.wakes_at = NEVER


class Internet:
    """All of it.

    Args:
        seed: of all chance.
        config: of each host's part of its node.
        membership: settings of all memberships.

    Attributes:
        now: the time in seconds.
        hosts: those that live, by number.
        links: the same, by link.
        changes: structural changes that hosts have found which do not live any more.
        to_server: packets to the bootstrap server.
    """

    def __init__(self, seed: int, config: NodePartConfig, membership: MembershipConfig | None = None) -> None:
        self.seed = seed
        self.hosts: dict[int, SimHost] = {}
        self.links: dict[int, dict[Address, SimHost]] = {}
        self.changes = 0
        self.to_server = 0
        self._config = config
        self._membership = membership or MembershipConfig()
        self._tick = 0
        self._buckets: dict[int, list[Any]] = {}
        self._by_address: dict[Address, SimHost] = {}
        self._numbers = 0
        self._rng = Random(f"{seed} internet")
        lists = BootstrapConfig(
            nodes_max=1_000_000, nodes_per_source_max=1_000_000, requests_per_s=1e6, requests_burst=1e6
        )
        self._server = BootstrapServer(lists, Random(f"{seed} server"), 0.0)

    @property
    def now(self) -> float:
        """Virtual time."""
        return self._tick / TICKS_PER_S

    # ---- hosts ---------------------------------------------------------------------------------------------------

    def add(self, link: int) -> SimHost:
        """Start a host on a link."""
        number = self._numbers
        self._numbers += 1
        address = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 27183)
        host = SimHost(number, link, address, self.now)
        host.core = self._make(host)
        self.hosts[number] = self._by_address[address] = host
        self.links.setdefault(link, {})[address] = host
        self.perform(host, host.core.start(self.now))
        return host

    def _make(self, host: SimHost) -> SubnetHost:
        rng = Random(f"{self.seed} host {host.number}")
        hid = host.number.to_bytes(8, "big")
        membership = Membership(hid, 1, (host.address,), OVERLAY_HASH, self._membership, rng)
        identity = named(f"link {host.link}")
        founding = Founding(hid, lambda: identity, None, FoundingConfig(), rng)

        def make_part(subnet: Subnet, now: float) -> NodePart:
            def make_client(on_contact: OnContact) -> BootstrapClient:
                node_id = subnet.identity.node_id(OVERLAY)
                return BootstrapClient(node_id, SERVER, ClientConfig(), rng, on_contact=on_contact)

            return NodePart(subnet, OVERLAY, membership, (host.address,), self._config, make_client, rng, now)

        return SubnetHost(membership, founding, make_part)

    def crash(self, host: SimHost) -> None:
        """End a host without a word."""
        self.changes += structural_changes(host)
        host.core = None
        del self.hosts[host.number]
        del self._by_address[host.address]
        del self.links[host.link][host.address]
        if not self.links[host.link]:
            del self.links[host.link]

    def leave(self, host: SimHost) -> None:
        """Have a host say goodbye; it is gone when it has said so twice."""
        if host.core is not None:
            self.perform(host, host.core.leave(self.now))

    @property
    def structural_changes(self) -> int:
        """Found by all hosts so far; what siblings are told counts once."""
        return self.changes + sum(map(structural_changes, self.hosts.values()))

    # ---- messages ------------------------------------------------------------------------------------------------

    def perform(self, host: SimHost, effects: Iterable[Effect]) -> None:
        """Carry out what a host wants; call it with whatever a call of its core returned."""
        core = host.core
        if core is None:
            return
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    packet = self._packet(host, core, message, multicast=True)
                    host.sent_here += 1
                    for other in self.links[host.link].values():
                        if other is not host:
                            self._schedule(self._tick + LINK_TICKS, other, packet, host.address)
                case Unicast(to=to, message=message):
                    host.sent_here += 1
                    receiver = self.links[host.link].get(to)
                    if receiver is not None:
                        packet = self._packet(host, core, message, multicast=False)
                        self._schedule(self._tick + LINK_TICKS, receiver, packet, host.address)
                case Send(to=to, packet=packet):
                    host.sent_away += 1
                    self._send_away(to, packet, host.address)
        if host.ready_at == math.inf and core.membership.state is State.READY:
            host.ready_at = self.now
        if core.membership.state is State.LEFT and core.next_deadline() == math.inf:
            self.crash(host)
            return
        self._wake_at(host, core.next_deadline())

    def _packet(
        self, host: SimHost, core: SubnetHost, message: Message, *, multicast: bool
    ) -> tuple[Header, Message, bool]:
        host.seq += 1
        header = Header(subnet_tag=core.tag, hid=core.hid, incarnation=core.incarnation, seq=host.seq)
        return header, message, multicast

    def _send_away(self, to: Address, packet: Any, source: Address) -> None:
        delay = round(TICKS_PER_S * (DELAY_S + JITTER_S * (2.0 * self._rng.random() - 1.0)))
        if to == SERVER:
            self.to_server += 1
            self._schedule(self._tick + delay, None, packet, source)
        elif (receiver := self._by_address.get(to)) is not None:
            self._schedule(self._tick + delay, receiver, packet, source)

    def _schedule(self, tick: int, host: SimHost | None, packet: Any, source: Address | None) -> None:
        self._buckets.setdefault(tick, []).extend((host, packet, source))

    def _wake_at(self, host: SimHost, deadline: float) -> None:
        if deadline == math.inf:
            return
        tick = max(self._tick + 1, math.ceil(round(deadline * TICKS_PER_S, 6)))
        if tick < host.wakes_at:
            host.wakes_at = tick
            self._schedule(tick, host, None, None)

    # ---- time ----------------------------------------------------------------------------------------------------

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        """Call something at a time."""
        self._schedule(max(self._tick + 1, round(time_s * TICKS_PER_S)), None, call, None)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self._tick + round(seconds * TICKS_PER_S)
        while self._tick < end:
            self._tick += 1
            bucket = self._buckets.get(self._tick)
            if bucket is not None:
                self._run_tick(bucket)
                del self._buckets[self._tick]

    def _run_tick(self, bucket: list[Any]) -> None:
        at = 0
        while at < len(bucket):  # it may grow meanwhile
            host, packet, source = bucket[at : at + 3]
            at += 3
            if host is None:
                self._on_special(packet, source)
            elif host.core is not None:
                self._on_event(host, packet, source)

    def _on_event(self, host: SimHost, packet: Any, source: Address | None) -> None:
        core, now = host.core, self.now
        if core is None:
            return
        if source is None:
            if host.wakes_at == self._tick:
                host.wakes_at = NEVER
                self.perform(host, core.tick(now) if core.next_deadline() <= now else ())
        elif type(packet) is tuple:
            header, message, multicast = packet
            self.perform(host, core.receive(header, message, source, now, multicast=multicast))
        else:
            self.perform(host, core.receive_overlay(packet, source, now))

    def _on_special(self, packet: Any, source: Address | None) -> None:
        """The bootstrap server's, or a call."""
        if source is None:
            packet()
            return
        for effect in [*self._server.receive(packet, source, self.now), *self._server.tick(self.now)]:
            if isinstance(effect, Send):
                self._send_away(effect.to, effect.packet, SERVER)


def structural_changes(host: SimHost) -> int:
    """Found by one host itself."""
    part = None if host.core is None else host.core.part
    return 0 if part is None else part.step.state.changes.made
