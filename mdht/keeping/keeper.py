"""The records of one host's node: what its siblings and it hold, what other nodes ask, what programs here follow.

Below it are the siblings (`mdht.subnet.sibling_store`) and the overlay (`mdht.subnet.node_part`); `mdht.subnet.host`
calls it. What its calls return is to be performed by whoever drives the host.
"""

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, Final

from dhtboot.ids import Address
from mdht.errors import LocalProtocolError, RefusalCode
from mdht.keeping.answering import Answering
from mdht.keeping.caches import Caches
from mdht.keeping.config import KeepingConfig
from mdht.keeping.keeper_base import Watcher
from mdht.keeping.others import Others
from mdht.keeping.put import PutOutcome, PutRun
from mdht.keeping.replication import Replication
from mdht.keeping.shelf import OnPut, Shelf
from mdht.keeping.subscriptions import Subscriptions, introduces
from mdht.messages import Note
from mdht.record_table import RecordTable
from mdht.records import Copy, Record
from mdht.subnet.holdings import TableHoldings
from mdht.subnet.inventory import Inventory
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.membership import Membership
from mdht.subnet.messages import AckStatus, Changed, Message, Put, State
from mdht.subnet.node_part import NodePart
from mdht.subnet.policies import Policy, policy_from
from mdht.subnet.push import Peer
from mdht.subnet.sibling_store import SiblingStore
from mdht.subnet.store_effects import HandedOver
from mdht.subnet.wire import Header
from mdht.wire import read_copy

LOOK_S: Final = 1.0
"Between two looks at who has come and gone in the overlay's tables."
FORMER_S: Final = 0.01
"Between two handfuls of copies of an earlier life."
FORMER_AT_ONCE: Final = 8
"Copies of an earlier life that are put at a time."


class Keeper:
    """Of one host, in one subnet.

    Args:
        membership: who is there; it sees each message of the link first.
        part: this host's part of the node.
        addresses: where this host is reached, now.
        config: settings.
        verify: says whether a record has lawful fields and its writer's signature.
        rng: all chance.
        now: the time.
        former: what this host held before it came to this subnet.
        policy: name of the policy that the subnet was founded with, empty where that was not told.

    Attributes:
        store: this host's share of the node's records.
        inventory: what is cached of other nodes' records; those are no part of the store.
        others: the other nodes.
        shelf: the records of this node.
        caches: what is cached on this link.
        policy: name of the policy in force, which is that of the subnet.
        policy_adopted: whether this host would have chosen another one.
        counters: of what was refused; those of the store are its own.
    """

    def __init__(
        self,
        membership: Membership,
        part: NodePart,
        addresses: Callable[[], tuple[Address, ...]],
        config: KeepingConfig,
        verify: Callable[[Record], bool],
        rng: Random,
        now: float,
        former: Iterable[Copy] = (),
        *,
        policy: str = "",
    ) -> None:
        self.config = config
        self.rng = rng
        self.verify = verify
        self.counters: Counter[str] = Counter()
        self._membership = membership
        self._addresses = addresses
        self._out: list[Any] = []
        self._now = now
        table = RecordTable(config.table, verify)
        in_force = self._in_force(policy)
        self.policy = str(in_force)
        self.policy_adopted = self.policy != str(policy_from(config.policy))
        membership.counters["policies_adopted"] += self.policy_adopted
        self.store = SiblingStore(membership, in_force, table, verify, config.siblings, rng)
        self.inventory = Inventory(
            membership, TableHoldings(table, verify), config.cache or InventoryConfig(), rng, now
        )
        self.others = Others(part, self._out)
        self.shelf = Shelf(self.store, verify, lambda: self._now, self._out)
        self.caches = Caches(self.inventory, self.others, config, lambda: self._now, self._out)
        self._replication = Replication(self, self.store)
        self._subscriptions = Subscriptions(
            self.others.me, membership.hid, config, self.others.tell, self._address_of, self._out, self.counters
        )
        self.answering = Answering(
            self.shelf,
            self.others,
            self._subscriptions,
            config,
            self.store_copy,
            self._replication.on_offered,
            self.counters,
        )
        part.face.serve(self.answering.on_question, self._on_note)
        part.riding.on_riding = self.answering.on_riding
        self._watchers: dict[bytes, list[Watcher]] = {}
        self._former = deque(former)
        self._former_under_way: dict[tuple[bytes, bytes, bytes], tuple[Copy, float]] = {}
        self._former_again: list[Copy] = []
        self._look_at = math.inf
        self._around_at = -math.inf
        self._leave_by = math.inf
        self._leaving = False

    # ---- what the host wants -------------------------------------------------------------------------------------

    def sync(self, now: float) -> list[Any]:
        """Fetch what belongs to this newcomer; `Synced` follows, at once where nobody else is READY."""
        self._now = now
        return [*self.store.sync(now), *self._collect()]

    def hand_over(self, now: float) -> list[Any]:
        """Give away what others must have; `HandedOver` follows.

        Siblings get what they must hold; where there are none, the other nodes do.
        """
        self._now = now
        self._leaving = True
        return self._finished(self.store.hand_over(now), now)

    def receive(self, header: Header, message: Message, source: Address, now: float, *, multicast: bool) -> list[Any]:
        """Act on one message of the link."""
        self._now = now
        if self.inventory.takes(message):
            return self._finished(self.inventory.receive(header, message, source, now, multicast=multicast), now)
        if self._membership.view.get(header.hid) is not None:
            self._subscriptions.receive(message, now)
            if isinstance(message, Changed) or (isinstance(message, Put) and self._watchers):
                self._on_changed(message, now)
        effects = self.store.receive(header, message, source, now, multicast=multicast)
        return self._finished(effects, now)

    def on_member(self, hid: bytes, state: State, now: float) -> list[Any]:
        """A member, this host perhaps, has become something else."""
        self._now = now
        effects = [*self.store.on_member(hid, state, now), *self.inventory.on_member(hid, state, now)]
        me = self._membership.hid
        if hid == me and state is State.READY:
            self._look_at = now
        if introduces(me, hid, state, self._membership.ready_hids()):
            self._subscriptions.introduce(now)
        return self._finished(effects, now)

    def tick(self, now: float) -> list[Any]:
        """Act on the time."""
        self._now = now
        effects: list[Any] = []
        if now >= self.store.next_deadline():
            effects += self._filtered(self.store.tick(now), now)
        if now >= self.inventory.next_deadline():
            effects += self.inventory.tick(now)
        if now >= self._look_at:
            self._look(now)
        if now >= self._replication.next_deadline():
            self._replication.tick(now)
        for watchers in tuple(self._watchers.values()):
            for watcher in tuple(watchers):
                if now >= watcher.next_deadline():
                    watcher.tick(now)
        if now >= self._leave_by:
            self._end_leaving(complete=False)
        return [*effects, *self._collect()]

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        due_at = min(self.store.next_deadline(), self._look_at, self._replication.next_deadline(), self._leave_by)
        due_at = min(due_at, self.inventory.next_deadline())
        for watcher in itertools.chain.from_iterable(self._watchers.values()):
            due_at = min(due_at, watcher.next_deadline())
        return due_at

    def collect(self, now: float) -> list[Any]:
        """What is to be done after an operation was started here, or a packet of the overlay has come."""
        self._now = now
        return self._collect()

    def copies(self, now: float) -> list[Copy]:
        """What this host holds."""
        former = [*self._being_put(now), *self._former_again, *self._former]
        return [*self.store.stock.table.copies(now), *former]

    # ---- the bulk channel ----------------------------------------------------------------------------------------

    def records(self, key: bytes, now: float, *, cached: bool) -> tuple[bytes, ...]:
        """See `SiblingStore.records` and `Inventory.cached`; neither ever gives what is the other's."""
        return self.inventory.cached(key, now) if cached else self.store.records(key, now)

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[Any]:
        """See `SiblingStore.on_bulk` and `Inventory.on_bulk`."""
        self._now = now
        if self.inventory.awaits(qid):
            return self._finished(self.inventory.on_bulk(qid, hid, records, now), now)
        return self._finished(self.store.on_bulk(qid, hid, records, now), now)

    def take_bulk(self, hid: bytes, records: Sequence[bytes], now: float) -> tuple[tuple[AckStatus, ...], list[Any]]:
        """See `SiblingStore.take_bulk`."""
        self._now = now
        statuses, effects = self.store.take_bulk(hid, records, now)
        return statuses, self._finished(effects, now)

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], now: float) -> list[Any]:
        """See `SiblingStore.on_bulk_sent`."""
        self._now = now
        return self._finished(self.store.on_bulk_sent(qid, statuses, now), now)

    # ---- what operations need; see `keeper_base` -----------------------------------------------------------------

    def store_copy(self, copy: Copy, now: float, on_done: OnPut, source: str = "") -> None:
        """Store a copy at this node, and tell all who follow its key; `on_done` is called once, perhaps at once."""

        def done(refusal: RefusalCode | None, at: float) -> None:
            if refusal is None:
                self._arrived(copy, at)
            on_done(refusal, at)

        self.shelf.put(copy, now, done, source)

    def follow(self, key: bytes, now: float) -> None:
        """Have this host told of changes that other hosts of this node hear of; again before the lease ends."""
        self._subscribe(key, self.config.listen_lease_s, now)

    def watch(self, key: bytes, watcher: Watcher) -> None:
        """Give a watcher every verified record that arrives under a key."""
        self._watchers.setdefault(key, []).append(watcher)

    def unwatch(self, key: bytes, watcher: Watcher, now: float) -> None:
        """End what `watch` began."""
        watchers = self._watchers[key]
        watchers.remove(watcher)
        if watchers:
            return
        del self._watchers[key]
        self._subscribe(key, 0.0, now)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _in_force(self, told: str) -> Policy:
        """The policy of the subnet; this host's own, counted, where that is none that it knows."""
        try:
            return policy_from(told or self.config.policy)
        except LocalProtocolError:
            self._membership.counters["policies_unknown"] += 1
            return policy_from(self.config.policy)

    def _collect(self) -> list[Any]:
        effects = self._out[:]
        self._out.clear()
        return effects

    def _finished(self, effects: Iterable[Any], now: float) -> list[Any]:
        """What the store wants done, and all else that is to be done."""
        return [*self._filtered(effects, now), *self._collect()]

    def _subscribe(self, key: bytes, lease_s: float, now: float) -> None:
        for address in self._addresses()[:1]:
            self._subscriptions.add(key, Peer(self.others.me, self._membership.hid, address), lease_s, now)

    def _address_of(self, hid: bytes) -> Address | None:
        member = self._membership.view.get(hid)
        return member.addresses[0] if member is not None and member.live and member.addresses else None

    def _arrived(self, copy: Copy, now: float) -> None:
        """A record has come to this node by this host."""
        self.caches.drop(copy.record.key)
        self._replication.on_stored(copy.record, now)
        for mine in self._subscriptions.push(copy, now):
            self._tell_watchers(mine, now)

    def _on_note(self, note: Note, _peer: Peer, now: float) -> None:
        for copy in note.copies:
            self._take_push(copy, now)

    def _on_changed(self, message: Changed | Put, now: float) -> None:
        """A sibling tells of a change, or has this host store one: whichever comes first."""
        copy = read_copy(message.record)
        if copy is None:
            return
        passed_on = isinstance(message, Changed) and self._subscriptions.pass_on(copy, now)
        if copy.record.key in self._watchers or (isinstance(message, Changed) and not passed_on):
            self._take_push(copy, now)

    def _take_push(self, copy: Copy, now: float) -> None:
        if copy.record.key not in self._watchers:
            self.counters["unasked_pushes"] += 1
        elif self.verify(copy.record):
            self.caches.seen(copy.record, now)
            self._tell_watchers(copy, now)

    def _tell_watchers(self, copy: Copy, now: float) -> None:
        for watcher in tuple(self._watchers.get(copy.record.key, ())):
            watcher.on_record(copy.record, copy.remaining_s, now)

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_S
        if not self.others.inside:
            return
        if now >= self._around_at:
            self._look_around(now)
        while self._former and len(self._former_under_way) < FORMER_AT_ONCE and not self._leaving:
            self._put_former(self._former.popleft(), now)
        if self._former and not self._leaving:
            self._look_at = now + FORMER_S

    def _look_around(self, now: float) -> None:
        """Who has come and gone in the overlay?"""
        self._around_at = now + LOOK_S
        self._former.extend(self._former_again)
        self._former_again.clear()
        if self._replication.look_around(now):
            for watchers in self._watchers.values():
                for watcher in watchers:
                    watcher.on_neighbour(now)

    def _put_former(self, copy: Copy, now: float) -> None:
        """What was held before: it stays, if it belongs here, else it goes where it belongs."""
        record = copy.record
        slot = (record.key, *record.slot)
        self._former_under_way[slot] = copy, now

        def done(outcome: RefusalCode | PutOutcome | None, at: float) -> None:
            self._former_under_way.pop(slot, None)
            if isinstance(outcome, PutOutcome):
                refusals = {code for _, code in outcome.refused}
                outcome = RefusalCode.BUSY if not outcome.stored and refusals <= {RefusalCode.BUSY} else None
            if outcome is RefusalCode.BUSY:
                self._former_again.append(copy.aged(at - now))

        if self.others.is_replica(record.key, self.config.replicas):
            self.store_copy(copy, now, done)
        else:
            PutRun(self, copy, acks=self.config.acks, on_done=done).start(now)

    def _being_put(self, now: float) -> list[Copy]:
        """Copies of an earlier life that are under way, with what is left of theirs."""
        under_way = self._former_under_way.values()
        return [copy.aged(now - since) for copy, since in under_way]

    # ---- leaving -------------------------------------------------------------------------------------------------

    def _filtered(self, effects: Iterable[Any], now: float) -> list[Any]:
        """The store's effects; when it has nothing left to hand over and nobody stays, other nodes get the rest."""
        done: list[Any] = []
        for effect in effects:
            if isinstance(effect, HandedOver) and self._is_last():
                self._leave_by = now + self.config.leave_s
                self._replication.hand_over_all(now, lambda _now: self._end_leaving(complete=True))
            else:
                done.append(effect)
        return done

    def _is_last(self) -> bool:
        return not set(self._membership.ready_hids()) - {self._membership.hid}

    def _end_leaving(self, *, complete: bool) -> None:
        if self._leave_by < math.inf:
            self._leave_by = math.inf
            self._out.append(HandedOver(complete))
