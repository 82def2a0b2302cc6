"""One Kademlia node as a core without I/O.

`receive`, `tick`, `join` and `leave` return the effects to perform. The layer above calls `lookup` and `tell`
from within its own calls or from the hooks of `Application`; their effects wait for the next `collect`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Final

from dhtboot.cookies import CookieJar
from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, Contacts, NodeRef, id_bytes, id_from
from dhtboot.kademlia.answering import Application, answer
from dhtboot.kademlia.buckets import Heard, RoutingTable
from dhtboot.kademlia.caller import Caller
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import Joining, JoinInput, Phase
from dhtboot.kademlia.messages import (
    REQUESTS,
    RESPONSES,
    Busy,
    FindNode,
    Leaving,
    Packet,
    Ping,
    Pong,
    Tell,
)
from dhtboot.kademlia.search import OnAnswer, OnDone, Search
from dhtboot.kademlia.siblings import SiblingList, merged
from dhtboot.kademlia.upkeep import Upkeep, ignore
from dhtboot.kademlia.witnesses import Witnesses
from dhtboot.limits import token_buckets
from dhtboot.lookup import Lookup, LookupResult
from dhtboot.rpc import Asker, Overdue, Pending, RpcTable, Then

_AGAIN: Final = Heard.AGAIN
_WAITS: Final = Heard.WAITS


class KademliaNode(Caller):
    """A node of Kademlia with sibling list, address cookies and rate limits.

    Args:
        identifier: own identifier.
        config: settings.
        rng: source of all chance, unpredictable on a real network.
        now: time of creation.
        application: the layer above, None for a bare overlay.
        contacts: gives the contact of a sender.
    """

    def __init__(
        self,
        identifier: int,
        config: KademliaConfig,
        rng: Random,
        now: float,
        application: Application | None = None,
        contacts: Contacts | None = None,
    ) -> None:
        self.id = identifier
        self.client = False  # whose packets go out as those of no node; no key belongs to it
        self._senders = contacts or Contacts()
        self.counters: Counter[str] = Counter()
        self.table = RoutingTable(identifier, k=config.k, b=config.b, replacements_max=config.replacements_max)
        self._id_bytes = id_bytes(identifier)
        self._config = config
        self._verify = config.verify_contacts
        self._rng = rng
        self._application = application
        self.siblings = SiblingList(identifier, config.siblings)
        self.rpc = RpcTable(config.timeouts, attempts=config.attempts, pending_max=config.pending_max, rng=rng)
        self._cookies = CookieJar(rng, rotation_s=config.cookie_rotation_s, now=now)
        self._limiter = token_buckets(rate_per_s=config.requests_per_s, burst=config.requests_burst)
        self._outside: list[NodeRef] = []
        self._effects: list[Effect] = []
        self._pings: set[Address] = set()
        self._witnesses = Witnesses()
        self._turned_away: list[tuple[NodeRef, Asker]] = []
        self.joining = Joining(self, config.join_retry_s)
        self.upkeep = Upkeep(self, config, rng, now)
        self._timers_at = self.upkeep.due_at

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: Packet[Any, Any, Any], source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        message = packet.message
        kind = type(message)
        if kind in RESPONSES:
            self._on_response(packet, message, source, now)
        elif kind in REQUESTS:
            self._on_request(packet, message, source, now)
        elif len(packet.sender) == len(self._id_bytes):
            sender = self._senders.of(packet.sender, source)
            if isinstance(message, Leaving):
                if self._cookies.check(packet.cookie, source, now):
                    self._on_gone(sender, now)
                elif self.table.holds(sender):
                    self.ping(sender, now)  # its word alone would let anybody remove anybody
            elif self._application and not self._limiter.take(source, now):
                self._application.on_note(message.note, sender, now)  # type: ignore[union-attr]
        return self.collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        for pending, overdue in self.rpc.overdue(now):
            if overdue is not Overdue.DEAD and pending.hedged:
                pending.asker.on_late(pending.node, now)
            if overdue is Overdue.AGAIN:
                self.counters["retransmitted"] += 1
                self._transmit(pending)
            elif overdue is Overdue.DEAD:
                self.on_unanswered(pending, now)
        turned_away, self._turned_away = self._turned_away, []
        for node, asker in turned_away:
            asker.on_fail(node, now)
        self.joining.tick(now)
        self.upkeep.tick(now)
        self.set_timers()
        return self.collect()

    def on_unanswered(self, pending: Pending, now: float) -> None:
        """A request will not be answered any more: its peer counts as dead."""
        self.counters["timeouts"] += 1
        self.on_dead(pending.node, now)
        pending.asker.on_fail(pending.node, now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; asked after each packet, so it is kept rather than worked out."""
        due_at = self.rpc.due_at
        return due_at if due_at < self._timers_at else self._timers_at  # noqa: FURB136 - min() costs three times that

    def set_timers(self) -> None:
        """Work out when to call `tick`; after whatever was done to a part of this node from outside."""
        self._timers_at = min(self.joining.retry_at, self.upkeep.due_at) if not self._turned_away else -math.inf

    def join(self, contacts: Iterable[NodeRef], now: float) -> list[Effect]:
        """Join through these contacts (identifier 0 where only the address is known); alone when there are none."""
        self.joining.join(contacts, now)
        self.set_timers()
        return self.collect()

    def learn(self, contact: NodeRef, now: float) -> list[Effect]:
        """Get to know one more entry point (another peer of the link, say)."""
        self.joining.remember_entry(contact)
        self.ping(contact, now)
        return self.collect()

    def leave(self) -> list[Effect]:
        """Say goodbye to everybody who knows us."""
        for node in self.contacts:
            cookie = self._cookies.for_peer(node.address)
            self._effects.append(Send(node.address, Packet(self._id_bytes, 0, Leaving(), cookie)))
        return self.collect()

    def abandon(self, now: float) -> None:
        """Let all that is under way fail, as another core takes the place of this one."""
        while self.rpc or self._turned_away:
            turned_away, self._turned_away = self._turned_away, []
            for node, asker in (*turned_away, *[(one.node, one.asker) for one in self.rpc.close_all()]):
                asker.on_fail(node, now)

    def collect(self) -> list[Effect]:
        """The effects queued since the last call."""
        effects = self._effects
        self._effects = []
        return effects

    @property
    def phase(self) -> Phase:
        """Where this node stands with the overlay."""
        return self.joining.phase

    @property
    def neighbours(self) -> list[NodeRef]:
        """The closest known nodes to this one, closest first."""
        return self.siblings.nodes

    @property
    def contacts(self) -> list[NodeRef]:
        """All known live nodes, siblings that a full bucket refused among them."""
        return list({node.id: node for node in (*self.table, *self.siblings.nodes)}.values())

    @property
    def public_address(self) -> Address | None:
        """Own address as at least two other nodes see it, None while they do not agree."""
        return self._witnesses.address

    def closest(self, target: int, count: int, but: int = -1) -> list[NodeRef]:
        """The known nodes closest to a target, closest first, this one and that of identifier `but` not among them."""
        found = self.table.closest(target, count, but)
        return merged(found, self._outside, target, count, but) if self._outside else found

    def note_outside(self) -> None:
        """Remember the siblings that a full bucket refused: `closest` must not work that out for each request."""
        self._outside = [node for node in self.siblings.nodes if not self.table.holds(node)]

    def is_responsible(self, target: int) -> bool:
        """Whether no known node is closer to a target than this one."""
        closest = self.closest(target, 1)
        return not closest or (not self.client and self.id ^ target < closest[0].id ^ target)

    def lookup(
        self,
        target: int,
        now: float,
        *,
        on_done: OnDone,
        width: int | None = None,
        question: Any = None,
        on_answer: OnAnswer | None = None,
        seeds: Iterable[NodeRef] = (),
        patient: bool = True,
    ) -> None:
        """Start an iterative lookup.

        Args:
            target: identifier looked for.
            now: the time.
            on_done: called once at the end.
            width: closest contacts that must have answered; the bucket size by default.
            question: rides on every request, and is answered by everybody asked.
            on_answer: gets every answer to the question, and says how to go on.
            seeds: contacts to start from beside the table's.
            patient: with a question, whether late contacts are waited for until `on_answer` says otherwise.
        """
        width = width or self._config.k
        search = Search(
            self,
            Lookup(target, me=self.id, alpha=self._config.alpha, width=width),
            FindNode(id_bytes(target), question),
            on_answer=on_answer,
            on_done=on_done,
            patient=patient,
        )
        self.table.looked(target, now)
        search.lookup.add(tuple(self.closest(target, max(width, self._config.k))))
        search.lookup.add(tuple(seeds))
        search.advance(now)

    def tell(self, address: Address, note: Any) -> None:
        """Send a note, once, without guarantee."""
        self._effects.append(Send(address, Packet(self._id_bytes, 0, Tell(note))))

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker, *, hedged: bool = False) -> None:
        """Send one request and wait for its response; with too many under way it fails at the next tick."""
        if self.rpc.full:
            self.counters["requests_turned_away"] += 1
            self._turned_away.append((node, asker))
            self._timers_at = -math.inf
            return
        self._transmit(self.rpc.open(node, request, now, asker, hedged=hedged))

    def rtt_s(self, node: NodeRef) -> float | None:
        """Smoothed round trip to a node, None when never measured."""
        return self.rpc.rtt.mean_s(node.address)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _transmit(self, pending: Pending) -> None:
        address = pending.node.address
        packet: Packet[Any, Any, Any] = Packet(
            self._id_bytes, pending.request_id, pending.request, self._cookies.for_peer(address)
        )
        self._effects.append(Send(address, packet))

    def _on_request(self, packet: Packet[Any, Any, Any], message: Any, source: Address, now: float) -> None:
        sender_id = packet.sender
        verified = not self._verify or self._cookies.check(packet.cookie, source, now)
        if not (verified or sender_id or type(message) is FindNode):
            self.counters["anonymous_requests"] += 1  # so short that any answer is more than three times as long
            return
        sender = self._senders.of(sender_id, source)
        wait_s = self._limiter.take(source, now)
        response: Any
        if wait_s:
            self.counters["rate_limited"] += 1
            response = Busy(wait_s)
        else:
            cookie = b"" if verified else self._cookies.make(source, now)
            response = answer(message, sender, self, self._application, config=self._config, cookie=cookie, now=now)
        self._effects.append(Send(source, Packet(self._id_bytes, packet.request_id, response)))
        if sender_id and not wait_s:
            self._heard(sender, now, verified=verified)

    def _on_response(self, packet: Packet[Any, Any, Any], message: Any, source: Address, now: float) -> None:
        # A response without sender would put identifier 0 into the table.
        sender_id = packet.sender
        pending = self.rpc.match(packet.request_id, id_from(sender_id), source, now) if sender_id else None
        if pending is None:
            self.counters["unexpected_responses"] += 1
            return
        kind = type(message)
        cookie = b"" if kind is Busy else message.cookie
        if cookie:
            self._cookies.keep(source, cookie)
            again = None if kind is Pong else self.rpc.reopen(pending, now)
            if again is not None:
                self._transmit(again)
                return
        node = pending.node if pending.node.id else self._senders.of(sender_id, source)
        self._heard(node, now, verified=True)
        pending.asker.on_reply(node, message, now)

    def _heard(self, node: NodeRef, now: float, *, verified: bool) -> None:
        """A node is alive; let it into the table when it has shown that it receives at its address."""
        if not verified:
            if self.table.touch(node, now) or node.id == self.id:
                return
            if self.table.has_room(node) or self.siblings.has_room(node):
                self.ping(node, now)
            return
        heard = self.table.hear(node, now)
        if heard is _AGAIN:
            return
        added = heard is not _WAITS
        if not added:
            silent = self.table.to_check(node, now, pause_s=self._config.bucket_check_s)
            if silent is not None:
                self.ping(silent, now)
        sibling = self.siblings.add(node)
        if (sibling and not added) or (self._outside and (sibling or added)):
            self.note_outside()
        if added and self.joining.phase is Phase.JOINED:
            if heard is Heard.FIRST:
                self.upkeep.look_up_self(now)
                self.set_timers()
            elif self.joining.remembers(node.address):
                self.upkeep.look_up_self_soon(now)
                self.set_timers()

    def ping(self, node: NodeRef, now: float) -> None:
        """See whether a node is there: it enters the table if it is, and leaves it if not."""
        if node.address in self._pings or len(self._pings) >= self._config.verifications_max:
            return
        self._pings.add(node.address)
        self.call(node, Ping(), now, Then(self._on_pong, self._on_ping_failed))

    def _on_pong(self, node: NodeRef, message: Any, now: float) -> None:
        self._pings.discard(node.address)
        if isinstance(message, Pong) and message.seen:
            self._witnesses.note(node.id, message.seen)
        self.joining.on_input(JoinInput.CONTACT_ALIVE, now)

    def _on_ping_failed(self, node: NodeRef, now: float) -> None:
        self._pings.discard(node.address)
        if not self._pings and not len(self.table):
            self.joining.on_input(JoinInput.ALL_SILENT, now)

    def on_dead(self, node: NodeRef, now: float) -> None:
        """A node did not answer; it may come back, or stand behind a cut that heals."""
        if node in self.siblings.nodes:
            self.joining.remember_lost(node)
        self._on_gone(node, now)

    def _on_gone(self, node: NodeRef, now: float) -> None:
        """A node is there no more."""
        known = self.table.find(node.id)
        lost = known is not None and known.address == node.address
        if lost and (substitute := self.table.remove(node.id)) is not None:
            self.ping(substitute, now)
        # The whole contact: a word from one address must not remove a sibling at another.
        if node in self.siblings.nodes:
            self.siblings.remove(node.id)
            for other in self.table.closest(self.id, self._config.siblings):
                self.siblings.add(other)
            self.upkeep.look_up_self_soon(now)
            lost = True
        self.note_outside()
        if lost and self.joining.contacts and not len(self.table):
            self.joining.on_input(JoinInput.ISOLATED, now)
        self.set_timers()

    def look_up_self(self, seeds: Sequence[NodeRef], now: float) -> None:
        """Look up the own identifier, which makes this node known where it belongs."""
        self.lookup(self.id, now, on_done=self._on_join_lookup_done, width=self._config.join_width, seeds=seeds)

    def emit(self, effect: Effect) -> None:
        """Tell the driver."""
        self._effects.append(effect)

    def _on_join_lookup_done(self, result: LookupResult, now: float) -> None:
        self.joining.on_input(JoinInput.FOUND if result.answered else JoinInput.NOTHING_FOUND, now)
        if result.answered:
            if self._config.join_width < self._config.siblings:
                self.lookup(self.id, now, on_done=ignore, width=self._config.siblings, seeds=result.closest)
            self.upkeep.settle(now)
            self.upkeep.refresh_farther(result.answered[0], now)
        self.set_timers()
