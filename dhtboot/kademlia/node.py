"""One Kademlia node as a core without I/O.

`receive`, `tick`, `join` and `leave` return the effects to perform. The layer above calls `lookup`, `ask` and `tell`
from within its own calls or from the hooks of `Application`; their effects wait for the next `collect`.
"""

import math
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any, Final

from dhtboot.cookies import CookieJar
from dhtboot.effects import Effect, Joined, JoinFailed, Send
from dhtboot.ids import Address, NodeRef, id_bytes, id_from
from dhtboot.kademlia.answering import Application, answer
from dhtboot.kademlia.buckets import RoutingTable
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.join import TRANSITIONS, JoinAction, JoinInput, Phase
from dhtboot.kademlia.messages import (
    Ask,
    Busy,
    Challenge,
    FindNode,
    Leaving,
    Nodes,
    Packet,
    Ping,
    Pong,
    Reply,
    Tell,
)
from dhtboot.kademlia.search import OnAnswer, OnDone, Search
from dhtboot.kademlia.siblings import SiblingList
from dhtboot.kademlia.upkeep import Upkeep
from dhtboot.kademlia.witnesses import Witnesses
from dhtboot.limits import SourceLimiter
from dhtboot.lookup import Lookup, LookupResult
from dhtboot.rpc import OnReply, OnSilence, Overdue, Pending, RpcTable

CONTACTS_MAX: Final = 32
"Entry points and lost siblings that are tried again; the newest ones."
REQUESTS: Final = (FindNode, Ask, Ping)
RESPONSES: Final = (Nodes, Reply, Pong, Challenge, Busy)


class KademliaNode:
    """A node of Kademlia with sibling list, address cookies and rate limits.

    Args:
        identifier: own identifier.
        config: settings.
        rng: source of all chance, unpredictable on a real network.
        now: time of creation.
        application: the layer above, None for a bare overlay.
    """

    def __init__(
        self,
        identifier: int,
        config: KademliaConfig,
        rng: Random,
        now: float,
        application: Application | None = None,
    ) -> None:
        self.id = identifier
        self.phase = Phase.NEW
        self.counters: Counter[str] = Counter()
        self.table = RoutingTable(identifier, k=config.k, b=config.b, replacements_max=config.replacements_max)
        self._id_bytes = id_bytes(identifier)
        self._config = config
        self._rng = rng
        self._application = application
        self._siblings = SiblingList(identifier, config.siblings)
        self._rpc = RpcTable(config.timeouts, attempts=config.attempts, pending_max=config.pending_max, rng=rng)
        self._cookies = CookieJar(rng, rotation_s=config.cookie_rotation_s, now=now)
        self._limiter = SourceLimiter(rate=config.requests_per_s, burst=config.requests_burst)
        self._effects: list[Effect] = []
        self._contacts: tuple[NodeRef, ...] = ()
        self._pings: set[Address] = set()
        self._witnesses = Witnesses()
        self._turned_away: list[tuple[NodeRef, OnSilence]] = []
        self._retry_at = math.inf
        self._upkeep = Upkeep(self, config, rng, now)

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: Packet[Any, Any, Any], source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        message = packet.message
        if isinstance(message, RESPONSES):
            self._on_response(packet, message, source, now)
        elif isinstance(message, REQUESTS):
            self._on_request(packet, message, source, now)
        elif len(packet.sender) == len(self._id_bytes):
            sender = NodeRef(id_from(packet.sender), source)
            if isinstance(message, Leaving):
                if self._cookies.check(packet.cookie, source, now):
                    self._on_gone(sender, now)
                elif self.table.holds(sender):
                    self.ping(sender, now)  # its word alone would let anybody remove anybody
            elif self._application and self._limiter.take(source, now):
                self._application.on_note(message.note, sender, now)
        return self.collect()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        for pending, overdue in self._rpc.overdue(now):
            if overdue is not Overdue.DEAD and pending.on_late is not None:
                pending.on_late(pending.node, now)
            if overdue is Overdue.AGAIN:
                self.counters["retransmitted"] += 1
                self._transmit(pending)
            elif overdue is Overdue.DEAD:
                self.counters["timeouts"] += 1
                self._on_dead(pending.node, now)
                pending.on_fail(pending.node, now)
        turned_away, self._turned_away = self._turned_away, []
        for node, on_fail in turned_away:
            on_fail(node, now)
        if now >= self._retry_at:
            self._retry_at = math.inf
            self._on_join_input(JoinInput.RETRY_DUE, now)
        self._upkeep.tick(now)
        return self.collect()

    def next_deadline(self) -> float:
        """When to call `tick` next."""
        if self._turned_away:
            return -math.inf
        return min(self._rpc.next_deadline(), self._retry_at, self._upkeep.next_deadline())

    def join(self, contacts: Iterable[NodeRef], now: float) -> list[Effect]:
        """Join through these contacts (identifier 0 where only the address is known); alone when there are none."""
        self._contacts = tuple(contacts)
        self._on_join_input(JoinInput.CONTACTS if self._contacts else JoinInput.ALONE, now)
        return self.collect()

    def learn(self, contact: NodeRef, now: float) -> list[Effect]:
        """Get to know one more entry point (another peer of the link, say)."""
        self._remember(contact)
        self.ping(contact, now)
        return self.collect()

    def leave(self) -> list[Effect]:
        """Say goodbye to everybody who knows us."""
        for node in self.contacts:
            cookie = self._cookies.for_peer(node.address)
            self._effects.append(Send(node.address, Packet(self._id_bytes, 0, Leaving(), cookie)))
        return self.collect()

    def collect(self) -> list[Effect]:
        """The effects queued since the last call."""
        effects = self._effects
        self._effects = []
        return effects

    # ---- the layer above -----------------------------------------------------------------------------------------

    @property
    def neighbours(self) -> list[NodeRef]:
        """The closest known nodes to this one, closest first."""
        return self._siblings.nodes

    @property
    def contacts(self) -> list[NodeRef]:
        """All known live nodes, siblings that a full bucket refused among them."""
        return list({node.id: node for node in (*self.table, *self._siblings.nodes)}.values())

    @property
    def public_address(self) -> Address | None:
        """Own address as at least two other nodes see it, None while they do not agree."""
        return self._witnesses.address

    def closest(self, target: int, count: int) -> list[NodeRef]:
        """The known nodes closest to a target, closest first, this one not among them."""
        found = self.table.closest(target, count)
        outside = [node for node in self._siblings.nodes if not self.table.holds(node)]
        if outside:  # siblings that a full bucket refused
            found = sorted((*found, *outside), key=lambda node: node.id ^ target)[:count]
        return found

    def is_responsible(self, target: int) -> bool:
        """Whether no known node is closer to a target than this one."""
        closest = self.closest(target, 1)
        return not closest or self.id ^ target < closest[0].id ^ target

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
        """
        width = width or self._config.k
        search = Search(
            self,
            Lookup(target, me=self.id, alpha=self._config.alpha, width=width),
            FindNode(id_bytes(target), question),
            on_answer=on_answer,
            on_done=on_done,
        )
        self.table.looked(target, now)
        search.lookup.add(self.closest(target, max(width, self._config.k)))
        search.lookup.add(seeds)
        search.advance(now)

    def ask(self, node: NodeRef, question: Any, now: float, *, on_reply: OnReply, on_fail: OnSilence) -> None:
        """Ask one node a question of the layer above; `on_reply` gets the answer itself, or `Busy`."""
        self.call(node, Ask(question), now, on_reply=on_reply, on_fail=on_fail)

    def tell(self, address: Address, note: Any) -> None:
        """Send a note, once, without guarantee."""
        self._effects.append(Send(address, Packet(self._id_bytes, 0, Tell(note))))

    def call(
        self,
        node: NodeRef,
        request: Any,
        now: float,
        *,
        on_reply: OnReply,
        on_fail: OnSilence,
        on_late: OnSilence | None = None,
    ) -> None:
        """Send one request and wait for its response; with too many under way it fails at the next tick."""
        if self._rpc.full:
            self.counters["requests_turned_away"] += 1
            self._turned_away.append((node, on_fail))
            return
        pending = self._rpc.open(node, request, now, on_reply, on_fail, on_late)
        self._transmit(pending)

    def rtt_s(self, node: NodeRef) -> float | None:
        """Smoothed round trip to a node, None when never measured."""
        return self._rpc.rtt.mean_s(node.address)

    @property
    def absent_contacts(self) -> list[NodeRef]:
        """Entry points and lost siblings that are not in the table."""
        return [contact for contact in self._contacts if not self.table.has_address(contact.address)]

    # ---- inside --------------------------------------------------------------------------------------------------

    def _transmit(self, pending: Pending) -> None:
        address = pending.node.address
        packet: Packet[Any, Any, Any] = Packet(
            self._id_bytes, pending.request_id, pending.request, self._cookies.for_peer(address)
        )
        self._effects.append(Send(address, packet))

    def _on_request(self, packet: Packet[Any, Any, Any], message: Any, source: Address, now: float) -> None:
        def respond(response: Any) -> None:
            self._effects.append(Send(source, Packet(self._id_bytes, packet.request_id, response)))

        verified = not self._config.verify_contacts or self._cookies.check(packet.cookie, source, now)
        if not (verified or packet.sender or isinstance(message, FindNode)):
            self.counters["anonymous_requests"] += 1  # so short that any answer is more than three times as long
            return
        if not self._limiter.take(source, now):
            self.counters["rate_limited"] += 1
            respond(Busy(self._limiter.wait_s(source, now)))
            return
        cookie = b"" if verified else self._cookies.make(source, now)
        sender = NodeRef(id_from(packet.sender), source)
        response = answer(message, sender, self.closest, self._application, config=self._config, cookie=cookie, now=now)
        if response is not None:
            respond(response)
        if packet.sender:
            self._heard(sender, now, verified=verified)

    def _on_response(self, packet: Packet[Any, Any, Any], message: Any, source: Address, now: float) -> None:
        sender_id = id_from(packet.sender)
        # A response without sender would put identifier 0 into the table.
        pending = self._rpc.match(packet.request_id, sender_id, source, now) if packet.sender else None
        if pending is None:
            self.counters["unexpected_responses"] += 1
            return
        cookie = b"" if isinstance(message, Reply | Busy) else message.cookie
        if cookie:
            self._cookies.keep(source, cookie)
            if not isinstance(message, Pong) and self._rpc.reopen(pending, now):
                self._transmit(pending)
                return
        node = NodeRef(sender_id, source)
        self._heard(node, now, verified=True)
        if isinstance(message, Challenge):  # it does not accept its own cookie
            pending.on_fail(node, now)
        else:
            pending.on_reply(node, message.answer if isinstance(message, Reply) else message, now)

    def _heard(self, node: NodeRef, now: float, *, verified: bool) -> None:
        """A node is alive; let it into the table when it has shown that it receives at its address."""
        if self.table.touch(node) or node.id == self.id:
            return
        if not verified:
            if self.table.has_room(node) or self._is_close(node):
                self.ping(node, now)
            return
        alone = not len(self.table)
        added = self.table.add(node, now)
        if not added:
            silent = self.table.to_check(node.id, now, pause_s=self._config.bucket_check_s)
            if silent is not None:
                self.ping(silent, now)
        if (self._siblings.add(node) or added) and self._application is not None:
            self._application.on_contact(node, now)
        if alone and self.phase is Phase.JOINED:
            self._upkeep.look_up_self(now)

    def _is_close(self, node: NodeRef) -> bool:
        siblings = self._siblings.nodes
        if len(siblings) < self._config.siblings:
            return all(known.id != node.id for known in siblings)
        return node.id ^ self.id < siblings[-1].id ^ self.id

    def ping(self, node: NodeRef, now: float) -> None:
        """See whether a node is there: it enters the table if it is, and leaves it if not."""
        if node.address in self._pings or len(self._pings) >= self._config.verifications_max:
            return
        self._pings.add(node.address)
        self.call(node, Ping(), now, on_reply=self._on_pong, on_fail=self._on_ping_failed)

    def _on_pong(self, node: NodeRef, message: Any, now: float) -> None:
        self._pings.discard(node.address)
        if isinstance(message, Pong) and message.seen:
            self._witnesses.note(node.id, message.seen)
        self._on_join_input(JoinInput.CONTACT_ALIVE, now)

    def _on_ping_failed(self, node: NodeRef, now: float) -> None:
        self._pings.discard(node.address)
        if not self._pings and not len(self.table):
            self._on_join_input(JoinInput.ALL_SILENT, now)

    def _on_dead(self, node: NodeRef, now: float) -> None:
        """A node did not answer; it may come back, or stand behind a cut that heals."""
        if node in self._siblings.nodes:
            self._remember(node)
        self._on_gone(node, now)

    def _on_gone(self, node: NodeRef, now: float) -> None:
        """A node is there no more."""
        known = self.table.find(node.id)
        lost = known is not None and known.address == node.address
        if lost and (substitute := self.table.remove(node.id)) is not None:
            self.ping(substitute, now)
        # The whole contact: a word from one address must not remove a sibling at another.
        if node in self._siblings.nodes:
            self._siblings.remove(node.id)
            for other in self.table.closest(self.id, self._config.siblings):
                self._siblings.add(other)
            self._upkeep.on_sibling_lost(now)
            lost = True
        if lost and self._application is not None:
            self._application.on_contact_lost(node, now)
        if lost and self._contacts and not len(self.table):
            self._on_join_input(JoinInput.ISOLATED, now)

    def _remember(self, contact: NodeRef) -> None:
        others = [known for known in self._contacts if known.address != contact.address]
        self._contacts = (*others[-CONTACTS_MAX:], NodeRef(0, contact.address))

    def _on_join_input(self, event: JoinInput, now: float) -> None:
        self.phase, action = TRANSITIONS.get((self.phase, event), (self.phase, JoinAction.NONE))
        match action:
            case JoinAction.CONTACT:
                known = [contact for contact in self._contacts if contact.id]
                if known:
                    self._on_join_input(JoinInput.CONTACT_ALIVE, now)
                for contact in self._contacts:
                    if not contact.id:
                        self.ping(contact, now)
            case JoinAction.LOOK_UP:
                seeds = [contact for contact in self._contacts if contact.id]
                self.lookup(self.id, now, on_done=self._on_join_lookup_done, seeds=seeds)
            case JoinAction.REPORT:
                self._effects.append(Joined(len(self.table)))
            case JoinAction.RETRY_LATER:
                self._retry_at = now + self._config.join_retry_s
                self._effects.append(JoinFailed(self._config.join_retry_s))

    def _on_join_lookup_done(self, result: LookupResult, now: float) -> None:
        self._on_join_input(JoinInput.FOUND if result.answered else JoinInput.NOTHING_FOUND, now)
        if result.answered:
            self._upkeep.refresh_farther(result.answered[0], now)
