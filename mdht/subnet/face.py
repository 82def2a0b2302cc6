"""A host's face towards other subnets: the overlay's core behind it takes each subnet for one node (section 0 and 5).

The core runs unchanged, one at each host, under the identifier of the subnet. Other nodes have a pseudo-address for it;
here a request to one becomes datagrams to hosts of it, one after another until somebody answers, and the answer comes
back as from the node. The core hears of a node's silence only when no host of it is left: so no change of hosts is a
change of the overlay's structure.

Senders are believed to be what they say when they have shown that they receive at their address (`gate`). Whoever
checks keys does that before `receive`.

Longer than most modules: what comes in and what goes out meet here; each step of either has a module of its own.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef, id_bytes, id_from
from dhtboot.overlay import OverlayNode
from dhtboot.rpc import Asker
from dhtboot.shared import give_up, late, predecessor, silent
from mdht.messages import Answer, Note, Question
from mdht.subnet.acquaintance import Acquaintance
from mdht.subnet.bounded import remember
from mdht.subnet.face_asked import AskedBy, OnNote, OnQuestion
from mdht.subnet.face_calls import CallKey
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_known import MARKS_MAX
from mdht.subnet.face_messages import (
    Asked,
    Carried,
    HostsChanged,
    HostsHeard,
    ItIs,
    Knock,
    Noted,
    Occupied,
    OverlayDatagram,
    Probe,
    Taken,
    Told,
    Trying,
    TryMe,
    TryThem,
    Welcome,
    WhoIs,
)
from mdht.subnet.face_nodes import NodeTable, contact, pseudo_address
from mdht.subnet.face_packets import (
    KINDS,
    Kind,
    around,
    contacts_of,
    doubt,
    nearest,
    of_client,
    reachable_part,
    waits_for_answer,
)
from mdht.subnet.face_requests import Requests
from mdht.subnet.face_rivals import Rivals
from mdht.subnet.face_speech import Speech
from mdht.subnet.hostset import in_private
from mdht.subnet.hostset_handout import Own
from mdht.subnet.messages import Reason
from mdht.subnet.push import Peer
from mdht.subnet.reachability import Reachability
from mdht.subnet.trials import Trials
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
        asked: is told who asks, for pushes.
        ring_id: of the ring that the node is in, for whoever knocks; None as long as it is in none.
        heard: is told what a host has answered to a push, and of which node it is; gives what to send because of that.
        welcomed: is told what a host has answered to a knock, and of which node it is.

    Attributes:
        core: the same.
        nodes: other nodes, with their hosts.
        rivals: of this node's identifier.
        reach: whether others reach this host unasked.
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
        asked: Callable[[Peer, float], object] = lambda _peer, _now: None,
        ring_id: Callable[[], bytes | None] = lambda: None,
        heard: Callable[[HostsHeard, int, float], list[Send]] = lambda _heard, _node, _now: [],
        welcomed: Callable[[Welcome, NodeRef, float], object] = lambda _welcome, _node, _now: None,
    ) -> None:
        self.core = core
        self.counters: Counter[str] = Counter()
        self.nodes = NodeTable(core.id, overlay, config, rng, self._kept)
        self._speech = Speech(self.nodes, own, view, config, rng, lambda message: around(self.core, message, MARKS_MAX))
        self._address = pseudo_address(core.id)
        self._config = config
        self._rng = rng
        self._on_asked = asked
        self._ring_id = ring_id
        self._on_heard = heard
        self._on_welcomed = welcomed
        self.rivals = Rivals(
            core.id,
            overlay,
            own,
            lambda: not contacts_of(self.core),
            self._speech,
            self.nodes,
            config.claim_s,
            rng,
            self.counters,
        )
        self._acquaintance = Acquaintance(self.nodes, self.rivals.refute, overlay, core.id, own, self.counters)
        helpers, say = self.nodes.hosts, self._speech.datagram
        self.reach = Reachability(lambda: own().addresses, None, helpers, say, config.reach, rng)
        self._trials = Trials(self.reach, own, helpers, say, self.counters, rng)
        self._requests = Requests(
            self.nodes,
            self._speech,
            self._nearest,
            self._on_late,
            self._given_up,
            self._on_silent,
            config,
            rng,
            self.counters,
        )
        self._on_question: OnQuestion = lambda _question, _asker, _now: None
        self._on_note: OnNote = lambda _note, _peer, _now: None
        self._asked: OrderedDict[CallKey, tuple[Peer, bytes | None]] = OrderedDict()
        "Who waits for an answer, and the marks of his request."
        self._entry_points: frozenset[Address] = frozenset()

    # ---- driver's side -------------------------------------------------------------------------------------------

    def join(self, contacts: Sequence[NodeRef], now: float) -> list[Effect]:
        """Join the overlay through these nodes, of which hosts are known; a ring of its own where there are none."""
        self._entry_points = frozenset(contact.address for contact in contacts)
        return self.perform(self.core.join(contacts, now), now)

    def receive(self, datagram: OverlayDatagram, source: Address, now: float) -> list[Effect]:
        """Act on one datagram of a host of another subnet."""
        if isinstance(datagram.body, Probe):
            self.reach.on_probe(datagram.body, now)
            return []
        if self._config.verify and not self._speech.gate.admits(datagram, source, now):
            return [*self._speech.gate.turned_away(datagram, source, now)]
        sender = self._acquaintance.learn(datagram, source, now)
        asked: list[Effect] = [*self.rivals.ask_former(datagram, source, now)]
        if sender is None or isinstance(datagram.body, Occupied):
            return [*asked, *self.rivals.hear(datagram, source, now)]
        self._speech.note_held(source, datagram.held)
        return asked + self._hear(datagram, sender.node, source, now, client=sender.client)

    def _hear(
        self, datagram: OverlayDatagram, sender: NodeRef, source: Address, now: float, *, client: bool
    ) -> list[Effect]:
        peer = Peer(sender.id, datagram.hid, source)
        match datagram.body:
            case Carried(packet=packet, reply_to=reply_to):
                return self._on_packet(packet, sender, peer, reply_to, datagram.marks, now, client=client)
            case Taken(request_id=request_id):
                self._requests.answered((sender.address, request_id), datagram.hid, now, receipt=True)
            case WhoIs(number=number, node_id=node_id):
                target = id_from(node_id)
                near = nearest(self.core, (), target)[: self._config.pull_nodes]
                known = self._speech.named([contact(target), *near], now)
                return [self._speech.datagram(sender.address, peer, ItIs(number=number), now, entries=known)]
            case ItIs(number=number):
                return self._requests.pulled(number, now)
            case Knock(number=number) if (ring := self._ring_id()) is not None:
                alone = not contacts_of(self.core)
                welcome = Welcome(number=number, ring_id=ring, alone=alone, seen=source)
                return [self._speech.datagram(sender.address, peer, welcome, now)]
            case Welcome() as welcome if not client:  # a client is no way into the overlay
                if welcome.seen is not None:
                    self.reach.note_seen(welcome.seen)
                self._on_welcomed(welcome, sender, now)
            case HostsChanged(number=number):
                self.counters["pushes_received"] += 1
                before = predecessor(self.core)
                told = self._speech.named([] if before is None else [before], now)
                heard = HostsHeard(number=number, before=None if before is None else id_bytes(before.id))
                return [self._speech.datagram(sender.address, peer, heard, now, entries=told)]
            case HostsHeard() as answer:
                return [*self._on_heard(answer, sender.id, now)]
            case TryMe() | TryThem() | Trying() as trial:
                return [*self._trials.hear(trial, sender.address, peer, now, client=client)]
            case Asked() | Told() | Noted() as about:
                self._hear_of_records(about, sender, peer, now, listed=datagram.standing is None)
        return []

    def _hear_of_records(
        self, about: Asked | Told | Noted, sender: NodeRef, peer: Peer, now: float, *, listed: bool
    ) -> None:
        match about:
            case Asked(number=number, question=question) if not self.core.client:
                if listed:
                    self._on_asked(peer, now)
                self._on_question(question, AskedBy(sender, peer, number, held_open=not listed), now)
            case Told(number=number, answer=answer):
                waiting = self._requests.told((sender.address, number), peer.hid, now)
                if waiting is not None:
                    waiting.on_reply(sender, answer, now)
            case Noted(note=note):
                self._on_note(note, peer, now)
            case _:
                pass

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects = self._requests.tick(now)
        self.rivals.tick(now)
        for _node, claim in self.rivals.claims.expired(now):
            private = in_private(claim.source)
            self.nodes.believe(claim.entry, now, firsthand=claim.datagram is not None, private=private)
            effects += [] if claim.datagram is None else self.receive(claim.datagram, claim.source, now)
        if self.core.next_deadline() <= now:
            effects += self.perform(self.core.tick(now), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        return min(self.core.next_deadline(), self._requests.next_deadline(), self.rivals.next_deadline())

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

    # ---- records -----------------------------------------------------------------------------------------------------

    def serve(self, on_question: OnQuestion, on_note: OnNote) -> None:
        """Tell somebody what other nodes ask and say about records; without him nobody answers."""
        self._on_question, self._on_note = on_question, on_note

    def ask(self, node: NodeRef, question: Question, now: float, asker: Asker) -> list[Effect]:
        """Ask a node, of which hosts are known, about records; `asker` is told once, perhaps at once."""
        remote = self.nodes.get(node.address)
        number = self._rng.getrandbits(64)
        body = Asked(number=number, question=question)
        effects = None if remote is None else self._requests.start(node.address, remote, number, body, now, asker=asker)
        if effects is None:
            asker.on_fail(node, now)
        return effects or []

    def answer(self, asker: AskedBy, answer: Answer, now: float) -> list[Send]:
        """Answer what a host has asked."""
        return [self._speech.datagram(asker.node.address, asker.peer, Told(number=asker.number, answer=answer), now)]

    def note(self, peer: Peer, note: Note, now: float) -> list[Send]:
        """Tell a host of another node something, once, without guarantee."""
        return [self._speech.datagram(pseudo_address(peer.node_id), peer, Noted(note=note), now)]

    def renew(self, core: OverlayNode, now: float) -> None:
        """Another core in place of the former one, of the same node in another ring; whoever waits for that is told."""
        former, self.core = self.core, core
        self._requests.drop_cores()
        former.abandon(now)

    @property
    def requests(self) -> int:
        """Requests under way."""
        return len(self._requests)

    # ---- what comes in -------------------------------------------------------------------------------------------

    def _on_packet(
        self,
        packet: Any,
        sender: NodeRef,
        peer: Peer,
        reply_to: Address | None,
        marks: bytes | None,
        now: float,
        *,
        client: bool,
    ) -> list[Effect]:
        kind = KINDS.get(type(packet.message))
        if kind is not Kind.ANSWERS and self.core.client:
            return []  # who takes this node for one of the overlay finds it silent
        refused = kind is None or packet.sender != id_bytes(sender.id)
        if client and not refused:
            doubt(self.core, sender, now)
            packet = of_client(packet)
        if refused or packet is None:
            self.counters["packets_refused"] += 1
            return []
        part = reachable_part(packet, self.nodes.knows)
        if part is not packet:
            self.counters["contacts_without_hosts"] += 1
        effects: list[Effect] = []
        request_id = packet.request_id
        if kind is Kind.ANSWERS:
            if not self._requests.answered((sender.address, request_id), peer.hid, now, receipt=False):
                return []
        elif not client:
            self._on_asked(peer, now)
        if kind is Kind.ASKS:
            remember(self._asked, (sender.address, request_id), (peer, marks), self._config.asked_max)
        elif kind is Kind.PASSES_ON and part is not None:
            origin = waits_for_answer(part.message) or sender
            waiting = peer if reply_to is None else Peer(origin.id, b"", reply_to)
            remember(self._asked, (origin.address, request_id), (waiting, None), self._config.asked_max)
            effects.append(self._speech.datagram(sender.address, peer, Taken(request_id=request_id), now))
        if part is not None:
            effects += self.perform(self.core.receive(part, sender.address, now), now)
        return effects

    # ---- what goes out -------------------------------------------------------------------------------------------

    def _send(self, to: Address, packet: Any, now: float) -> list[Effect]:
        if to == self._address:
            # Others took this node for responsible, which this host did not know yet: it asks itself.
            return self.perform(self.core.receive(packet, to, now), now)
        kind = KINDS[type(packet.message)]
        key = (to, packet.request_id)
        if kind is Kind.ANSWERS:
            asked = self._asked.pop(key, None)
            if asked is None:
                self.counters["askers_forgotten"] += 1
                return []
            peer, marks = asked
            return [self._speech.datagram(to, peer, Carried(packet=packet), now, marks=marks)]
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
        receipt = kind is Kind.PASSES_ON
        body = Carried(packet=packet, reply_to=self._reply_to(packet) if receipt else None)
        return self._requests.start(to, node, packet.request_id, body, now, receipt=receipt) or []

    def _reply_to(self, packet: Any) -> Address | None:
        """The host that waits for the answer to a packet that is passed on."""
        origin = waits_for_answer(packet.message)
        asked = None if origin is None else self._asked.get((origin.address, packet.request_id))
        return None if asked is None else asked[0].address

    def _nearest(self, node_id: int) -> list[NodeRef]:
        return nearest(self.core, self.nodes.usable(), node_id)

    def _on_late(self, request_id: int, now: float) -> list[Effect]:
        return self.perform(late(self.core, request_id, now), now)

    def _on_silent(self, node: NodeRef, now: float) -> list[Effect]:
        return self.perform(silent(self.core, node, now), now)

    def _given_up(self, request_id: int, now: float) -> list[Effect]:
        return self.perform(give_up(self.core, request_id, now), now)

    def _kept(self) -> set[Address]:
        """Nodes whose hosts must stay known."""
        kept = {contact.address for contact in contacts_of(self.core)}
        return kept | self._requests.targets | self._entry_points
