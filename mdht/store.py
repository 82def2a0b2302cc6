"""The record store over Kademlia as a core without I/O: what one node holds, answers, pushes and replicates.

A host is a node. What the node does for its own user (put, get, listen) is in `operations.py`; how copies move when
nodes come and go is in `replication.py`.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from dhtboot.effects import Effect
from dhtboot.ids import Address, NodeRef, hash_id, id_from
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Packet
from dhtboot.kademlia.node import KademliaNode
from mdht.config import StoreConfig
from mdht.errors import RefusalCode
from mdht.messages import Get, Got, Listen, Listening, Offer, Pushed, Put, Stored, Wanted
from mdht.record_table import PutOutcome, RecordTable
from mdht.records import KEY_BYTES, Copy, Record, Verifier
from mdht.replication import Replication
from mdht.wire import PAGE_BYTES, SHARED_PAGE_BYTES, page

OFFER_SLACK: Final = 2
"Ranks behind the replicas at which an offer is still taken: who offers may know of so many more losses than we."


class Watcher(Protocol):
    """Somebody in this process who follows a key."""

    def on_record(self, record: Record, remaining_s: float, now: float) -> None:
        """Take in a verified record."""

    def on_contact(self, node: NodeRef, now: float) -> None:
        """A node has become known."""

    def tick(self, now: float) -> None:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick`."""


class StoreNode:
    """One node: overlay, table, subscriptions.

    Args:
        public_key: Ed25519 key of the node; its SHA-1 is the node's identifier.
        overlay: settings of Kademlia.
        config: settings of the store.
        rng: source of all chance, unpredictable on a real network.
        now: time of creation.
    """

    def __init__(
        self, public_key: bytes, overlay: KademliaConfig, config: StoreConfig, rng: Random, now: float
    ) -> None:
        self.config = config
        self.rng = rng
        self.counters: Counter[str] = Counter()
        self.verify = Verifier()
        self.table = RecordTable(config.table, self.verify)
        self.overlay = KademliaNode(hash_id(public_key), overlay, rng, now, self)
        self._replication = Replication(self, rng, now)
        self._subscribers: dict[bytes, OrderedDict[Address, float]] = {}
        self._subscriptions = 0
        self._watchers: dict[bytes, list[Watcher]] = {}

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, packet: Packet[Any, Any, Any], source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""
        return self.overlay.receive(packet, source, now)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if now >= self.table.next_expiry():
            self.counters["expired"] += len(self.table.expire(now))
        self._replication.tick(now)
        for watchers in tuple(self._watchers.values()):
            for watcher in tuple(watchers):
                if now >= watcher.next_deadline():
                    watcher.tick(now)
        return self.overlay.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick` next."""
        return min(
            self.overlay.next_deadline(),
            self.table.next_expiry(),
            self._replication.next_deadline(),
            *(watcher.next_deadline() for watchers in self._watchers.values() for watcher in watchers),
        )

    # ---- hooks of the overlay ------------------------------------------------------------------------------------

    def on_question(self, question: Any, sender: NodeRef, *, with_nodes: bool, now: float) -> Any:
        """Answer a peer whose address is verified."""
        match question:
            case Get(key=key, offset=offset):
                room = SHARED_PAGE_BYTES if with_nodes else PAGE_BYTES
                held = self.table.get(key, now)
                return Got(page(held[offset:] if offset > 0 else held, room), len(held), self.table.digest(key))
            case Put(copies=copies):
                return self._on_put(copies, sender, now)
            case Listen():
                return self._on_listen(question, sender, now)
            case Offer(entries=entries):
                return self._on_offer(entries, sender, now)
        return None

    def on_note(self, note: Any, _sender: NodeRef, now: float) -> None:
        """Take in records pushed to us; whoever watches their key checks the signatures."""
        if isinstance(note, Pushed):
            for copy in note.copies:
                if copy.record.key not in self._watchers:
                    self.counters["unasked_pushes"] += 1
                elif self.verify(copy.record):
                    self._tell_watchers(copy.record, copy.remaining_s, now)

    def on_contact(self, node: NodeRef, now: float) -> None:
        """A node has become known: it may have to hold what we hold, and to push what we listen to."""
        self._replication.on_contact(node, now)
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.on_contact(node, now)

    def on_contact_lost(self, node: NodeRef, now: float) -> None:
        """A node is gone: others may have to hold what it held."""
        self._replication.on_contact_lost(node, now)

    # ---- the table and those who follow it -----------------------------------------------------------------------

    def store(self, copy: Copy, source: str, now: float) -> PutOutcome:
        """Put one copy into the own table and tell everybody who follows its key."""
        outcome = self.table.put(copy.record, copy.remaining_s, now, source)
        if outcome.refusal is None:
            self._replication.on_stored(copy.record, now)
        if outcome.change is not None:
            self._push(copy, now)
            self._tell_watchers(copy.record, copy.remaining_s, now)
        return outcome

    def watch(self, key: bytes, watcher: Watcher) -> None:
        """Give `watcher` every verified record that arrives under a key."""
        self._watchers.setdefault(key, []).append(watcher)

    def unwatch(self, key: bytes, watcher: Watcher) -> None:
        """End what `watch` began."""
        watchers = self._watchers[key]
        watchers.remove(watcher)
        if not watchers:
            del self._watchers[key]

    def is_replica(self, key: bytes, slack: int = 0) -> bool:
        """Whether this node is one of those that should hold a key, as far as it knows, or one of `slack` behind."""
        target = id_from(key)
        count = self.config.replicas + slack
        closest = self.overlay.closest(target, count)
        return len(closest) < count or closest[-1].id ^ target > self.overlay.id ^ target

    def hand_over_all(self, now: float, on_done: Callable[[], None]) -> None:
        """Offer everything held to those who should hold it when this node is gone."""
        self._replication.hand_over_all(now, on_done)

    def _tell_watchers(self, record: Record, remaining_s: float, now: float) -> None:
        for watcher in tuple(self._watchers.get(record.key, ())):
            watcher.on_record(record, remaining_s, now)

    # ---- answering -----------------------------------------------------------------------------------------------

    def _on_put(self, copies: tuple[Copy, ...], sender: NodeRef, now: float) -> Stored:
        codes = []
        retry_after_s = 0.0
        for copy in copies:
            outcome = self.store(copy, sender.address[0], now)
            codes.append(0 if outcome.refusal is None else int(outcome.refusal))
            retry_after_s = max(retry_after_s, outcome.retry_after_s)
        return Stored(tuple(codes), retry_after_s)

    def _on_offer(self, entries: tuple[tuple[bytes, int], ...], sender: NodeRef, now: float) -> Wanted:
        positions = []
        for position, (key, digest) in enumerate(entries):
            if len(key) != KEY_BYTES:
                continue
            # Who offers may not know yet that others are closer than we.
            if self.table.digest(key) != digest and self.is_replica(key, slack=OFFER_SLACK):
                positions.append(position)
            self._replication.on_offered(key, sender, now)
        return Wanted(tuple(positions))

    def _on_listen(self, question: Listen, sender: NodeRef, now: float) -> Listening:
        key = question.key
        subscribers = self._subscribers.get(key)
        if len(key) != KEY_BYTES or not question.lease_s > 0:
            if subscribers is not None and subscribers.pop(sender.address, None) is not None:
                self._forget_subscriptions(key, 1)
            return Listening(0.0, 0, 0)
        if subscribers is None:
            subscribers = self._subscribers[key] = OrderedDict()
        known = subscribers.pop(sender.address, None) is not None
        if not known:
            self._make_room(key, subscribers, now)
            if (
                len(subscribers) >= self.config.subscribers_per_key_max
                or self._subscriptions >= self.config.subscriptions_max
            ):
                self.counters["subscriptions_refused"] += 1
                self._forget_subscriptions(key, 0)
                return Listening(0.0, 0, 0)
            self._subscriptions += 1
        lease_s = min(question.lease_s, self.config.listen_lease_s)
        subscribers[sender.address] = now + lease_s
        return Listening(lease_s, len(self.table.get(key, now)), self.table.digest(key))

    def _make_room(self, key: bytes, subscribers: OrderedDict[Address, float], now: float) -> None:
        # Those renewed longest ago come first. Other keys' leftovers are cleared only when the node is full.
        ended = 0
        while subscribers and next(iter(subscribers.values())) <= now:
            subscribers.popitem(last=False)
            ended += 1
        self._subscriptions -= ended
        if self._subscriptions >= self.config.subscriptions_max:
            for other, others in list(self._subscribers.items()):
                if other != key:
                    over = [address for address, end in others.items() if end <= now]
                    for address in over:
                        del others[address]
                    self._forget_subscriptions(other, len(over))

    def _forget_subscriptions(self, key: bytes, count: int) -> None:
        self._subscriptions -= count
        if not self._subscribers[key]:
            del self._subscribers[key]

    def _push(self, copy: Copy, now: float) -> None:
        subscribers = self._subscribers.get(copy.record.key)
        if subscribers is None:
            return
        note = Pushed((copy,))
        ended = []
        for address, end in subscribers.items():
            if end > now:
                self.overlay.tell(address, note)
            else:
                ended.append(address)
        for address in ended:
            del subscribers[address]
        self._forget_subscriptions(copy.record.key, len(ended))


def refusal(code: int) -> RefusalCode:
    """The refusal behind a number of the wire; numbers of later versions count as malformed."""
    try:
        return RefusalCode(code)
    except ValueError:
        return RefusalCode.MALFORMED
