"""A host's face towards other subnets: the overlay's core behind it takes each subnet for one node (section 0 and 5).

The core runs unchanged, one at each host, under the identifier of the subnet. Other nodes have a pseudo-address for it;
here a request to one becomes datagrams to hosts of it, one after another until somebody answers, and the answer comes
back as from the node. The core hears of a node's silence only when no host of it is left: so no change of hosts is a
change of the overlay's structure.

Senders are believed to be what they say when they have shown that they receive at their address (`gate`). Whoever
checks keys does that before `receive`.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef, id_bytes, id_from
from dhtboot.overlay import OverlayNode
from dhtboot.shared import give_up, predecessor
from mdht.subnet.bounded import remember
from mdht.subnet.face_call import Call
from mdht.subnet.face_calls import CallKey, Calls
from mdht.subnet.face_claims import Claims
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import (
    NAMED_MAX,
    Carried,
    HostsChanged,
    HostsHeard,
    ItIs,
    Knock,
    OverlayDatagram,
    Taken,
    Welcome,
    WhoIs,
)
from mdht.subnet.face_nodes import NodeTable, contact, pseudo_address
from mdht.subnet.face_packets import (
    KINDS,
    Kind,
    contacts_of,
    nearest,
    reachable_part,
    waits_for_answer,
)
from mdht.subnet.face_pulls import Pulls
from mdht.subnet.face_speech import Speech
from mdht.subnet.hostset_choice import Copy
from mdht.subnet.hostset_handout import Own
from mdht.subnet.messages import Reason
from mdht.subnet.push import Peer
from mdht.subnet.view import View


class Face:
    """One host; to its driver a core as the overlay's, but that it sends an `OverlayDatagram` each, to hosts.

    Args:
        core: of the overlay, made with `face_config`; joined, asked and left by its own methods, whose effects go
            through `perform`.
        overlay: its name.
        own: what this host tells of itself, now.
        view: the members of its subnet.
        config: limits.
        rng: source of all chance.
        payload_bytes: what the layer above the overlay has put into a packet.
        asked: is told who asks, for pushes.
        ring_id: of the ring that the node is in, for whoever knocks; None as long as it is in none.
        heard: is told what a host has answered to a push, and of which node it is; gives what to send because of that.
        welcomed: is told what a host has answered to a knock, and of which node it is.

    Attributes:
        core: the same.
        nodes: other nodes, with their hosts.
        counters: copies of requests, to alternates too, duplicates suppressed, pulls, nodes given up, and what was
            refused; those of `nodes` are its own.
    """

    def __init__(
        self,
        core: OverlayNode,
        overlay: str,
        own: Callable[[], Own],
        view: View,
        config: FaceConfig,
        rng: Random,
        *,
        payload_bytes: Callable[[Any], int] = lambda _packet: 0,
        asked: Callable[[Peer, float], object] = lambda _peer, _now: None,
        ring_id: Callable[[], bytes | None] = lambda: None,
        heard: Callable[[HostsHeard, int, float], list[Send]] = lambda _heard, _node, _now: [],
        welcomed: Callable[[Welcome, NodeRef, float], object] = lambda _welcome, _node, _now: None,
    ) -> None:
        self.core = core
        self.counters: Counter[str] = Counter()
        self.nodes = NodeTable(core.id, overlay, config, rng, self._kept)
        self._speech = Speech(self.nodes, own, view, config, rng, payload_bytes)
        self._address = pseudo_address(core.id)
        self._overlay = overlay
        self._own = own
        self._config = config
        self._rng = rng
        self._on_asked = asked
        self._ring_id = ring_id
        self._on_heard = heard
        self._on_welcomed = welcomed
        self._calls = Calls()
        self._pulls = Pulls()
        self._claims = Claims(config.claim_s)
        self._asked: OrderedDict[CallKey, Peer] = OrderedDict()
        self._entry_points: frozenset[Address] = frozenset()

    # ---- driver's side -------------------------------------------------------------------------------------------

    def join(self, contacts: Sequence[NodeRef], now: float) -> list[Effect]:
        """Join the overlay through these nodes, of which hosts are known; a ring of its own where there are none."""
        self._entry_points = frozenset(contact.address for contact in contacts)
        return self.perform(self.core.join(contacts, now), now)

    def receive(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Effect]:
        """Act on one datagram of a host of another subnet."""
        if self._config.verify and not self._speech.gate.admits(datagram, source, now):
            return [*self._speech.gate.turned_away(datagram, source, now)]
        sender = self._learn(datagram, source, now)
        asked = self._ask_former(datagram, source, now) if self.nodes.claims else []
        if sender is None:
            return asked
        self._speech.note_held(source, datagram.held)
        return asked + self._hear(datagram, sender, source, now)

    def _hear(self, datagram: OverlayDatagram, sender: NodeRef, source: Address, now: float) -> list[Effect]:
        peer = Peer(sender.id, datagram.hid, source)
        match datagram.body:
            case Carried(packet=packet, reply_to=reply_to):
                return self._on_packet(packet, sender, peer, reply_to, now)
            case Taken(request_id=request_id):
                self._answered((sender.address, request_id), datagram.hid, now, receipt=True)
                return []
            case WhoIs(number=number, node_id=node_id):
                target = id_from(node_id)
                near = nearest(self.core, (), target)[: self._config.pull_nodes]
                known = self._speech.named([contact(target), *near], now)
                return [self._speech.datagram(sender.address, peer, ItIs(number=number), now, entries=known)]
            case ItIs(number=number):
                node = self._pulls.answered(number)
                return [] if node is None else self._pulled(node, now)
            case Knock(number=number) if (ring := self._ring_id()) is not None:
                alone = not contacts_of(self.core)
                welcome = Welcome(number=number, ring_id=ring, alone=alone)
                return [self._speech.datagram(sender.address, peer, welcome, now)]
            case Welcome() as welcome:
                self._on_welcomed(welcome, sender, now)
            case HostsChanged(number=number):
                self.counters["pushes_received"] += 1
                before = predecessor(self.core)
                told = self._speech.named([] if before is None else [before], now)
                heard = HostsHeard(number=number, before=None if before is None else id_bytes(before.id))
                return [self._speech.datagram(sender.address, peer, heard, now, entries=told)]
            case HostsHeard() as answer:
                return [*self._on_heard(answer, sender.id, now)]
        return []

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects: list[Effect] = []
        for node in self._pulls.expired(now):
            effects += self._pulled(node, now)
        for _node, claim in self._claims.expired(now):
            self.nodes.believe(claim.entry, now, firsthand=claim.datagram is not None)
            effects += [] if claim.datagram is None else self.receive(claim.datagram, claim.source, now)
        for key, call in self._calls.due(now):
            effects += self._copies(key, call, call.tick(now), now)
        if self.core.next_deadline() <= now:
            effects += self.perform(self.core.tick(now), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        others_at = min(self._calls.next_deadline(), self._pulls.next_deadline(), self._claims.next_deadline())
        return min(self.core.next_deadline(), others_at)

    def collect(self, now: float) -> list[Effect]:
        """What the core wants since its last call: after a lookup, say."""
        return self.perform(self.core.collect(), now)

    def perform(self, effects: Iterable[Effect], now: float) -> list[Effect]:
        """The effects of the core as those of this host."""
        done: list[Effect] = []
        for effect in effects:
            done += self._send(effect.to, effect.packet, now) if isinstance(effect, Send) else [effect]
        return done

    def sent(self, effects: Iterable[Effect], now: float) -> list[Send]:
        """Likewise, but the packets only: of whatever else there is, somebody else has told."""
        return [effect for effect in self.perform(effects, now) if isinstance(effect, Send)]

    def knock(self, address: Address, number: int, now: float) -> list[Effect]:
        """Ask who is at an address, of which nothing else is known."""
        return [self._speech.datagram(address, Peer(0, b"", address), Knock(number=number), now)]

    def push(self, peer: Peer, number: int, reason: Reason, now: float) -> list[Send]:
        """Tell a host of another node of changes here; it answers under that number."""
        self._speech.note_held(peer.address, None)
        body = HostsChanged(number=number, reason=reason)
        return [self._speech.datagram(pseudo_address(peer.node_id), peer, body, now)]

    def renew(self, core: OverlayNode) -> None:
        """Another core in place of the former one, of the same node in another ring; what was under way is dropped."""
        self.core = core
        self._calls = Calls()

    @property
    def requests(self) -> int:
        """Requests under way."""
        return len(self._calls)

    # ---- what comes in -------------------------------------------------------------------------------------------

    def _learn(self, datagram: OverlayDatagram, source: Address, now: float) -> NodeRef | None:
        """Who has sent this; its hosts and those that it names are known from now on."""
        node_id = datagram.identity.node_id(self._overlay)
        sender = contact(node_id)
        if node_id == self.core.id:
            self.counters["own identifier" if datagram.tag == self._own().tag else "conflicts"] += 1
            return None
        entry = datagram.entry
        if entry is not None and entry.identity == datagram.identity and entry.tag == datagram.tag:
            self.nodes.learn(entry, now, firsthand=True)
        node = self.nodes.get(sender.address)
        if not self.nodes.knows(sender) or (node is not None and node.tag != datagram.tag):
            self.nodes.meet(datagram, source, now)
        node = self.nodes.get(sender.address)
        if node is None or not self.nodes.knows(sender) or node.tag != datagram.tag:
            self.counters["strangers"] += 1
            return None
        host = node.get(datagram.hid)
        if host is not None and host.address == source:
            node.answered(datagram.hid, now)
            self._claims.refute(sender.address)
        for hearsay in datagram.named[:NAMED_MAX]:
            self.nodes.learn(hearsay, now, firsthand=False)
        return sender

    def _ask_former(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Effect]:
        """Ask the hosts of nodes that others claim whether they are still there; the claimant is heard after that."""
        effects: list[Effect] = []
        for entry in self.nodes.claims:
            address = pseudo_address(entry.identity.node_id(self._overlay))
            own = entry.tag == datagram.tag and entry.identity == datagram.identity
            node = self.nodes.get(address)
            begins = self._claims.note(address, entry, now, datagram if own else None, source)
            self.counters["claims"] += begins
            for host in node.usable if begins and node is not None else ():
                effects += self.knock(host.address, self._rng.getrandbits(64), now)
        self.nodes.claims.clear()
        return effects

    def _on_packet(
        self, packet: Any, sender: NodeRef, peer: Peer, reply_to: Address | None, now: float
    ) -> list[Effect]:
        kind = KINDS.get(type(packet.message))
        if kind is None or packet.sender != id_bytes(sender.id):
            self.counters["packets_refused"] += 1
            return []
        part = reachable_part(packet, self.nodes.knows)
        if part is not packet:
            self.counters["contacts_without_hosts"] += 1
        effects: list[Effect] = []
        request_id = packet.request_id
        if kind is Kind.ANSWERS:
            if not self._answered((sender.address, request_id), peer.hid, now, receipt=False):
                return []
        else:
            self._on_asked(peer, now)
        if kind is Kind.ASKS:
            remember(self._asked, (sender.address, request_id), peer, self._config.asked_max)
        elif kind is Kind.PASSES_ON and part is not None:
            origin = waits_for_answer(part.message) or sender
            waiting = peer if reply_to is None else Peer(origin.id, b"", reply_to)
            remember(self._asked, (origin.address, request_id), waiting, self._config.asked_max)
            effects.append(self._speech.datagram(sender.address, peer, Taken(request_id=request_id), now))
        if part is not None:
            effects += self.perform(self.core.receive(part, sender.address, now), now)
        return effects

    def _answered(self, key: CallKey, hid: bytes, now: float, *, receipt: bool) -> bool:
        """A response has come; whether the core is to see it."""
        call = self._calls.get(key)
        if call is None or call.receipt is not receipt:
            return True  # of a packet that was passed on, or too late: the core knows whether it waits for it
        first = call.on_answer(hid, now)
        if not first:
            self.counters["duplicates_suppressed"] += 1
        self._look_at(key, call, now)
        return first

    # ---- what goes out -------------------------------------------------------------------------------------------

    def _send(self, to: Address, packet: Any, now: float) -> list[Effect]:
        if to == self._address:
            # Others took this node for responsible, which this host did not know yet: it asks itself.
            return self.perform(self.core.receive(packet, to, now), now)
        kind = KINDS[type(packet.message)]
        key = (to, packet.request_id)
        if kind is Kind.ANSWERS:
            peer = self._asked.get(key)
            if peer is None:
                self.counters["askers_forgotten"] += 1
                return []
            return [self._speech.datagram(to, peer, Carried(packet=packet), now)]
        node = self.nodes.get(to)
        node_id = self.nodes.id_of(to)
        if node is None or node_id is None:
            self.counters["unknown_nodes"] += 1
            return []
        if kind is Kind.TELLS:
            usable = node.usable
            if not usable:
                self.counters["notes_lost"] += 1
                return []
            host = self._rng.choice(usable)
            return [self._speech.datagram(to, Peer(node_id, host.hid, host.address), Carried(packet=packet), now)]
        under_way = self._calls.get(key)
        if (under_way is not None and not under_way.answered) or len(self._calls) >= self._config.calls_max:
            self.counters["calls_refused"] += 1
            return []
        call = Call(
            to,
            node,
            packet,
            receipt=kind is Kind.PASSES_ON,
            config=self._config,
            rtt=self.nodes.rtt,
            rng=self._rng,
        )
        self._calls.add(key, call)
        return self._copies(key, call, call.start(now), now)

    def _copies(self, key: CallKey, call: Call, copies: list[Copy], now: float) -> list[Effect]:
        """Send copies of a request, and see how it stands with it."""
        self.counters["hosts_asked"] += len(copies)
        node_id = self.nodes.id_of(call.to)
        body = Carried(packet=call.packet, reply_to=self._reply_to(call))
        effects: list[Effect] = []
        if node_id is not None:
            effects += [self._speech.datagram(call.to, Peer(node_id, copy.hid, copy.to), body, now) for copy in copies]
        if call.needs_pull and call.to not in self._pulls:
            effects += self._pull(call.to, now)
        return effects + self._look_at(key, call, now)

    def _reply_to(self, call: Call) -> Address | None:
        origin = waits_for_answer(call.packet.message) if call.receipt else None
        peer = None if origin is None else self._asked.get((origin.address, call.packet.request_id))
        return None if peer is None else peer.address

    def _look_at(self, key: CallKey, call: Call, now: float) -> list[Effect]:
        """When to look at a request again; of one that was given up the core must know."""
        if self._calls.look_at(key, call):
            self.counters["alternates_used"] += call.alternates
            self.counters["nodes_given_up"] += call.failed
            if call.failed and not call.receipt:
                return self.perform(give_up(self.core, key[1], now), now)
        return []

    # ---- silent nodes --------------------------------------------------------------------------------------------

    def _pull(self, node: Address, now: float) -> list[Effect]:
        """Ask the neighbours of a silent node for its hosts."""
        node_id = self.nodes.id_of(node)
        self.counters["pulls"] += 1
        number = self._rng.getrandbits(64)
        effects: list[Effect] = []
        most = self._config.pull_nodes if self._config.hosts.pull and node_id is not None else 0
        near = nearest(self.core, self.nodes.usable(), node_id or 0)
        for neighbour_id in self._pulls.next_to_ask(node, [each.id for each in near], most, now):
            hosts = self.nodes.hosts_of(neighbour_id)
            for peer in self._rng.sample(hosts, min(len(hosts), self._config.pull_hosts)):
                body = WhoIs(number=number, node_id=id_bytes(node_id or 0))
                effects.append(self._speech.datagram(pseudo_address(neighbour_id), peer, body, now))
        # Without anybody to ask it expires at once.
        self._pulls.start(node, number, len(effects), now + (self._config.pull_s if effects else 0.0))
        return effects

    def _pulled(self, node: Address, now: float) -> list[Effect]:
        remote = self.nodes.get(node)
        if not self._pulls.end(node, enough=remote is not None and bool(remote.usable), now=now):
            return []
        effects: list[Effect] = []
        for key, call in self._calls.in_need_of(node):
            effects += self._copies(key, call, call.pulled(now), now)
        return effects

    def _kept(self) -> set[Address]:
        """Nodes whose hosts must stay known."""
        kept = {contact.address for contact in contacts_of(self.core)}
        return kept | {call.to for call in self._calls} | self._entry_points
