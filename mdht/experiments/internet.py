"""Many subnets on virtual time: shipped hosts on links, the overlay between them, a bootstrap server.

Time runs in ticks of a millisecond, as in `dhtboot.sim`: what happens in one stands in a list. Messages are values; the
codecs have tests of their own.

A node lives while one of its hosts is READY. In each run it is asserted that hosts which come and go change nothing in
the overlay's structure while their node lives: see `Internet.at_rest`.

Longer than most modules: time, hosts and messages of one simulation, each with its few lines.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.experiments.ring_truth import following, wrong_tables
from mdht.experiments.sim_core import OVERLAY, SERVER, identity_of, make_core
from mdht.experiments.sim_host import NEVER, SimHost, structural_changes
from mdht.keeping.config import KeepingConfig
from mdht.subnet.effects import Effect, Multicast, Settled, Unicast
from mdht.subnet.host import SubnetHost
from mdht.subnet.identity import Identity, Subnet
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import AckStatus, Fetch, Message, State
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.query import FetchBulk
from mdht.subnet.store_effects import BulkTo
from mdht.subnet.wire import Header

TICKS_PER_S: Final = 1000
LINK_TICKS: Final = 1
"Of one message on a link: half a millisecond (design, section 16), rounded up."
DELAY_S: Final = 0.050
JITTER_S: Final = 0.005
"Of one message between subnets, evenly to both sides."
LOOK_TICKS: Final = 1000
"Between two looks whether the structure has changed."
QUIET_S: Final = 30.0
"""No host has found a change for so long before the overlay is at rest: a request to a node that is gone, whose end
would be one, is not under way for longer."""


class StructureError(AssertionError):
    """The overlay's structure has changed, though no node has died or been born."""


class Internet:
    """All of it.

    Args:
        seed: of all chance.
        config: of each host's part of its node.
        membership: settings of all memberships.
        keeping: settings of what keeps records; None where there are none.
        identity_of: of the subnet that is founded on a link.
        lease_s: after which the bootstrap server forgets who has not reported again.
        strict: whether a structural change without a death or birth of a node is an error, or only counted.

    Attributes:
        now: the time in seconds.
        hosts: those that live, by number.
        links: the same, by link.
        changes: structural changes that hosts have found which do not live any more.
        to_server: packets to the bootstrap server.
        node_events: when nodes have died and been born: the time, the link, whether it was a birth.
        on_sent: is told each message that a host sends, with the header it has on a link.
        keeping: settings of what keeps records, at hosts that are started from now on.
        loss: share of the messages between subnets that are lost.
        cut: links that do not reach each other.
        multicast_loss: share of the copies of multicasts that are lost, each for itself.
        at_rest: whether each host of the overlay, which is Chord, has the right predecessor, successors and fingers,
            and none has found a change for a while. Until the next death or birth of a node nobody may find one from
            then on: `run` raises `StructureError`.
        unexplained: how often that has happened, where it is not an error.
    """

    def __init__(
        self,
        seed: int,
        config: NodePartConfig,
        membership: MembershipConfig | None = None,
        *,
        keeping: KeepingConfig | None = None,
        identity_of: Callable[[int], Identity] = identity_of,
        lease_s: float = 600.0,
        strict: bool = True,
    ) -> None:
        self.seed = seed
        self.hosts: dict[int, SimHost] = {}
        self.links: dict[int, dict[Address, SimHost]] = {}
        self.changes = self.to_server = self.unexplained = 0
        self.node_events: list[tuple[float, int, bool]] = []
        self.on_sent: Callable[[SimHost, Any, Header | None], None] | None = None
        self.loss = self.multicast_loss = 0.0
        self.cut: frozenset[int] = frozenset()
        self.at_rest = False
        self._strict = strict
        self._changes_seen, self._quiet_from = 0, 0.0
        self._look_tick = LOOK_TICKS
        self._ready: Counter[int] = Counter()
        self._ids: dict[int, int] = {}
        self._live: list[int] | None = None
        self._config = config
        self._membership = membership or MembershipConfig()
        self.keeping = keeping
        self._identity_of = identity_of
        self._tick = 0
        self._buckets: dict[int, list[Any]] = {}
        self._by_address: dict[Address, SimHost] = {}
        self._numbers = 0
        self._rng = Random(f"{seed} internet")
        many, fast = 1_000_000, 1e6
        lists = BootstrapConfig(
            lease_s=lease_s, nodes_max=many, nodes_per_source_max=many, requests_per_s=fast, requests_burst=fast
        )
        self._server = BootstrapServer(lists, Random(f"{seed} server"), 0.0)

    @property
    def now(self) -> float:
        """Virtual time."""
        return self._tick / TICKS_PER_S

    # ---- hosts ---------------------------------------------------------------------------------------------------

    def add(self, link: int) -> SimHost:
        """Start a fresh host on a link."""
        number = self._numbers
        self._numbers += 1
        address = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 27183)
        host = SimHost(number, link, address, self.now)
        self._start(host)
        return host

    def restart(self, former: SimHost) -> SimHost:
        """Start a host that has crashed again, where it was: it has its name, and remembers its subnet."""
        host = SimHost(former.number, former.link, former.address, self.now)
        host.incarnation = former.incarnation + 1
        host.kept, host.ended_at = former.kept, former.ended_at
        self._start(host)
        return host

    def _start(self, host: SimHost) -> None:
        if not self._ready[host.link]:
            self._disturb()
        identity = self._identity_of(host.link)
        host.core = make_core(host, self.seed, self._config, self._membership, self.keeping, identity, self.now)
        self.hosts[host.number] = self._by_address[host.address] = host
        self.links.setdefault(host.link, {})[host.address] = host
        self.perform(host, host.core.start(self.now))

    def crash(self, host: SimHost) -> None:
        """End a host without a word."""
        self._note_ready(host, ready=False)
        self.changes += structural_changes(host)
        host.ended_at = self.now
        host.core = None
        del self.hosts[host.number]
        del self._by_address[host.address]
        del self.links[host.link][host.address]
        if not self.links[host.link]:
            del self.links[host.link]

    def move(self, host: SimHost, link: int) -> None:
        """Plug a host into another link, as it is."""
        ready = host.ready
        self._note_ready(host, ready=False)
        del self.links[host.link][host.address]
        if not self.links[host.link]:
            del self.links[host.link]
        host.link = link
        self.links.setdefault(link, {})[host.address] = host
        self._note_ready(host, ready=ready)

    def leave(self, host: SimHost) -> None:
        """Have a host say goodbye; it is gone when it has said so twice."""
        if host.core is not None:
            self.perform(host, host.core.leave(self.now))

    @property
    def structural_changes(self) -> int:
        """Found by all hosts so far; what siblings are told counts once."""
        return self.changes + sum(map(structural_changes, self.hosts.values()))

    # ---- nodes ---------------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[int]:
        """Identifiers of the nodes that live, ascending."""
        if self._live is None:
            self._live = sorted(self.node_id(link) for link, count in self._ready.items() if count)
        return self._live

    def node_id(self, link: int) -> int:
        """Of the node that the hosts of a link are."""
        if link not in self._ids:
            self._ids[link] = self._identity_of(link).node_id(OVERLAY)
        return self._ids[link]

    def responsible(self, key: int) -> int | None:
        """The live node that a key belongs to, as Chord has it."""
        return following(self.live, key)

    def wrong_tables(self) -> list[tuple[SimHost, str]]:
        """READY hosts of a ring of Chord of which a table is not what it should be, and which."""
        return [
            (host, what)
            for host in self.hosts.values()
            if host.ready and host.core is not None and host.core.part is not None
            for what in wrong_tables(host.core.part.face.core, self.live, self._config.overlay)
        ]

    def _note_ready(self, host: SimHost, *, ready: bool) -> None:
        if ready == host.ready:
            return
        host.ready = ready
        if ready:
            host.ready_at = min(host.ready_at, self.now)
        self._ready[host.link] += 1 if ready else -1
        if self._ready[host.link] == int(ready):
            self._disturb()
            self._live = None
            self.node_events.append((self.now, host.link, ready))

    def _disturb(self) -> None:
        """A node dies or is born, or begins to be: until now nothing may have changed, from now on it may."""
        self._look()
        self.at_rest = False
        self._quiet_from = self.now

    def _look(self) -> None:
        """Whether the structure has changed since the last look, and may."""
        changes = self.structural_changes
        if changes != self._changes_seen:
            if self.at_rest:
                self.unexplained += 1
                if self._strict:
                    raise StructureError(
                        f"seed {self.seed}, {self.now:.3f} s: a structural change, but no node's death"
                    )
            self.at_rest = False
            self._changes_seen = changes
            self._quiet_from = self.now
        elif not self.at_rest and self.now >= self._quiet_from + QUIET_S:
            self.at_rest = all(self._ready[link] for link in self.links) and not self.wrong_tables()

    # ---- messages ------------------------------------------------------------------------------------------------

    def perform(self, host: SimHost, effects: Iterable[Effect]) -> None:
        """Carry out what a host wants; call it with whatever a call of its core returned."""
        core = host.core
        if core is None:
            return
        for effect in effects:
            match effect:
                case Multicast(message=message):
                    self._send_here(host, core, message, None)
                case Unicast(to=to, message=message, to_all=to_all):
                    self._send_here(host, core, message, to, to_all=to_all)
                case Send(to=to, packet=packet):
                    host.sent_away += 1
                    if self.on_sent is not None:
                        self.on_sent(host, packet, None)
                    self._send_away(to, packet, host.address)
                case Settled(subnet=Subnet() as subnet):
                    host.kept = subnet, self.now
                case FetchBulk(hid=hid, to=to, message=fetch):
                    self._bulk(host, to, hid, fetch.qid, fetch=fetch)
                case BulkTo(hid=hid, to=to, qid=qid, records=records):
                    self._bulk(host, to, hid, qid, records=records)
        self._note_ready(host, ready=core.membership.state is State.READY)
        if core.membership.state is State.LEFT and core.next_deadline() == math.inf:
            self.crash(host)
            return
        self._wake_at(host, core.next_deadline())

    def _send_here(
        self, host: SimHost, core: SubnetHost, message: Message, to: Address | None, *, to_all: bool = False
    ) -> None:
        """To one host of the link, or to all others, where multicast always passes."""
        packet = self._header(host, core, message, to_all=to_all or to is None), message, to is None
        link = self.links[host.link]
        if to is None:
            for other in link.values():
                if other is not host and not (self.multicast_loss and self._rng.random() < self.multicast_loss):
                    self._schedule(self._tick + LINK_TICKS, other, packet, host.address)
        elif (receiver := link.get(to)) is not None:
            self._schedule(self._tick + LINK_TICKS, receiver, packet, host.address)

    def _header(self, host: SimHost, core: SubnetHost, message: Message, *, to_all: bool) -> Header:
        host.seq += 1
        host.sent_here += 1
        header = Header(subnet_tag=core.tag, hid=core.hid, incarnation=core.incarnation, seq=host.seq, to_all=to_all)
        if self.on_sent is not None:
            self.on_sent(host, message, header)
        return header

    def _bulk(
        self,
        host: SimHost,
        to: Address,
        hid: bytes,
        qid: bytes,
        *,
        fetch: Fetch | None = None,
        records: tuple[bytes, ...] = (),
    ) -> None:
        """Over the channel for what is too large for datagrams: there and back takes as long as two of them."""
        core = host.core

        def transfer() -> None:
            other = self.links.get(host.link, {}).get(to)
            served = None if other is None else other.core
            if core is None or host.core is not core:
                return
            if fetch is not None:
                cached = bool(fetch.cached)
                found = () if served is None else served.records(fetch.key, self.now, cached=cached)
                self.perform(host, core.on_bulk(qid, hid, found, self.now))
                return
            statuses: tuple[AckStatus, ...] = ()
            if other is not None and served is not None:
                statuses, effects = served.take_bulk(core.hid, records, self.now)
                self.perform(other, effects)
            self.perform(host, core.on_bulk_sent(qid, statuses, self.now))

        self._schedule(self._tick + 2 * LINK_TICKS, None, transfer, None)

    def _send_away(self, to: Address, packet: Any, source: Address) -> None:
        delay = round(TICKS_PER_S * (DELAY_S + JITTER_S * (2.0 * self._rng.random() - 1.0)))
        if to == SERVER:
            self.to_server += 1
            self._schedule(self._tick + delay, None, packet, source)
        elif (receiver := self._by_address.get(to)) is not None and not self._loses(source, receiver):
            self._schedule(self._tick + delay, receiver, packet, source)

    def _loses(self, source: Address, receiver: SimHost) -> bool:
        if self.loss and self._rng.random() < self.loss:
            return True
        sender = self._by_address.get(source)
        return sender is not None and {sender.link, receiver.link} <= self.cut and sender.link != receiver.link

    def _schedule(self, tick: int, host: SimHost | None, packet: Any, source: Address | None) -> None:
        self._buckets.setdefault(tick, []).extend((host, packet, source))

    def _wake_at(self, host: SimHost, deadline: float) -> None:
        if deadline == math.inf:
            return
        tick = max(self._tick + 1, math.ceil(round(max(deadline, 0.0) * TICKS_PER_S, 6)))  # it may be -math.inf
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
            if self._tick >= self._look_tick:
                self._look_tick = self._tick + LOOK_TICKS
                self._look()

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
            header, message, by_group = packet
            if by_group:
                core.heard_by_group(header.hid, now)
            self.perform(host, core.receive(header, message, source, now, multicast=header.to_all))
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
