"""Hosts on a link in virtual time that are a membership and their share of the subnet's records."""

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, TypeVar

from dhtboot.ids import Address
from mdht.experiments.link_run import Host, LinkOf
from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy, Record, lawful
from mdht.subnet.effects import MemberChanged
from mdht.subnet.membership import Membership
from mdht.subnet.messages import AckStatus, Ask, Message, State
from mdht.subnet.policies import policy_from
from mdht.subnet.query import FetchBulk, Resolved
from mdht.subnet.sibling_store import SiblingStore
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.store_effects import BulkTo, HandedOver, KeyLost, StoreEffect, Synced
from mdht.subnet.timers import Timers
from mdht.subnet.wire import Header

BULK_S: Final = 0.01
"A transfer over the bulk channel, whatever its size."
LISTEN_S: Final = 1.5
"From its start until a newcomer asks siblings what they hold."
KNOWN_S: Final = 3.0
"From then on, until hosts that came at once are READY and know each other as such."
WRITER: Final = b"w" * 32


def key_of(number: int) -> bytes:
    """A key of that number."""
    return Random(f"key {number}").randbytes(20)


def record(
    number: int, seq: int = 1, *, writer: bytes = WRITER, size: int = 20, lease_s: int = 100_000, deleted: bool = False
) -> Record:
    """A record under the key of that number, unsigned.

    Args:
        number: of the key.
        seq: of the record.
        writer: 32 bytes.
        size: of its value, beside four bytes.
        lease_s: its life.
        deleted: whether it is a tombstone.
    """
    value = b"" if deleted else seq.to_bytes(4, "big") + bytes(size)
    return Record(key_of(number), writer, b"", seq, lease_s, deleted, value, bytes(64))


class StoreHost(Host):
    """A host that comes, asks what there is, is READY, and hands over when it goes.

    Args:
        number: by which its name and its address are made.
        membership: its view of the others.
        policy: name of the replication policy.
        config: of its store.
        table: of its records.
        rng: chance of its store.

    Attributes:
        policy: its part of the policy.
        store: its share of the records.
        synced: when it had what it could get, and whether something was missing.
        handed_over: whether that was complete, once it has handed over.
        lost: keys that it says no host of the subnet has.
        bulks: transfers over the bulk channel that it has begun.
        bulk_bytes: of records that it has sent over it.
    """

    def __init__(
        self,
        number: int,
        membership: Membership,
        policy: str,
        config: StoreConfig,
        table: TableConfig,
        rng: Random,
    ) -> None:
        super().__init__(number, membership)
        self.policy = policy_from(policy)
        self.store = SiblingStore(membership, self.policy, RecordTable(table, lawful), lawful, config, rng)
        self.synced: list[tuple[float, bool]] = []
        self.handed_over: list[bool] = []
        self.lost: list[bytes] = []
        self.bulks = 0
        self.bulk_bytes = 0
        self._timers = Timers()
        self._due: list[object] = []

    @property
    def hid(self) -> bytes:
        """Its name."""
        return self.membership.hid

    @property
    def keys(self) -> set[bytes]:
        """Under which it holds something."""
        return set(self.store.stock.keys)

    def start(self, now: float) -> Sequence[object]:
        """Come to the link."""
        self.later(now + LISTEN_S, self.store.sync)
        return self.membership.start(now)

    def later(self, at: float, what: Callable[[float], Sequence[object]]) -> None:
        """Do something at a time."""
        self._timers.at(at, lambda now: self._due.extend(what(now)))

    def become(self, state: State, now: float) -> list[object]:
        """Be READY, or LEAVING."""
        return [*self.membership.become(state, now), *self.store.on_member(self.hid, state, now)]

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[object]:
        """Act on one message."""
        effects = self._noted(self.membership.receive(header, message, source, now, multicast=multicast), now)
        if self.membership.state is State.LEFT:
            return effects
        return [*effects, *self.store.receive(header, message, source, now, multicast=multicast)]

    def tick(self, now: float) -> Sequence[object]:
        """Act on the time."""
        effects = self._noted(self.membership.tick(now), now)
        self._timers.tick(now)
        effects += self._due
        self._due.clear()
        if self.membership.state is not State.LEFT and self.store.next_deadline() <= now:
            effects += self.store.tick(now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        left = self.membership.state is State.LEFT
        store_at = math.inf if left else self.store.next_deadline()
        return min(self.membership.next_deadline(), self._timers.next_deadline(), store_at)

    def _noted(self, effects: Sequence[object], now: float) -> list[object]:
        """The store hears of members that have changed."""
        done: list[object] = []
        for effect in effects:
            done.append(effect)
            if isinstance(effect, MemberChanged):
                done += self.store.on_member(effect.hid, effect.state, now)
        return done


S = TypeVar("S", bound=StoreHost)


class StoreLinkOf(LinkOf[S]):
    """A link of such hosts; they are in one subnet from the start.

    Args:
        policy: name of the replication policy.
        seed: of all chance.
        config: of all stores.
        table: of all tables.
    """

    def __init__(
        self, policy: str, *, seed: int = 1, config: StoreConfig | None = None, table: TableConfig | None = None
    ) -> None:
        super().__init__(seed)
        self.policy = policy
        self.store_config = config or StoreConfig()
        self.table = table or TableConfig()

    def special(self, host: S, effect: object) -> None:
        """One of the store's."""
        match effect:
            case Synced(partial=partial):
                host.synced.append((self.now, partial))
                self.perform(host, host.become(State.READY, self.now))
            case HandedOver(complete=complete):
                host.handed_over.append(complete)
                self.perform(host, host.membership.leave(self.now, handed_over=complete))
            case KeyLost(key=key):
                host.lost.append(key)
            case FetchBulk(hid=hid, message=fetch):
                host.bulks += 1
                host.later(self.now + BULK_S, lambda now: self._fetch_bulk(host, hid, fetch.qid, fetch.key, now))
            case BulkTo(hid=hid, qid=qid, records=records):
                host.bulks += 1
                host.later(self.now + BULK_S, lambda now: self._bulk_to(host, hid, qid, records, now))
            case _:
                super().special(host, effect)

    def _fetch_bulk(self, host: S, hid: bytes, qid: bytes, key: bytes, now: float) -> list[StoreEffect]:
        holder = self.by_hid(hid)
        records = holder.store.records(key, now) if self.bulk_passes(host, holder) else ()
        holder.bulk_bytes += sum(map(len, records))
        return host.store.on_bulk(qid, hid, records, now)

    def _bulk_to(self, host: S, hid: bytes, qid: bytes, records: tuple[bytes, ...], now: float) -> list[StoreEffect]:
        other = self.by_hid(hid)
        statuses: tuple[AckStatus, ...] = ()
        if self.bulk_passes(host, other):
            host.bulk_bytes += sum(map(len, records))
            statuses, effects = other.store.take_bulk(host.hid, records, now)
            self.perform(other, effects)
        return host.store.on_bulk_sent(qid, statuses, now)

    def bulk_passes(self, host: S, other: S) -> bool:
        """Whether one host reaches another over the bulk channel."""
        return other.alive and other.side == host.side

    def by_hid(self, hid: bytes) -> S:
        """The host of that name."""
        return next(host for host in self.hosts if host.hid == hid)

    # ---- what happens ------------------------------------------------------------------------------------------------

    def begun(self, count: int) -> list[S]:
        """So many hosts that are READY and know each other."""
        hosts = [self.add() for _ in range(count)]
        self.run(LISTEN_S + KNOWN_S)
        if not all(len(host.membership.ready_hids()) == count for host in hosts):
            raise AssertionError(f"seed {self.seed}: {count} hosts do not all know each other as READY")
        return hosts

    def put(self, host: S, one: Record, remaining_s: float | None = None) -> list[AckStatus]:
        """Put a record at a host; what is acknowledged appears in the list."""
        statuses: list[AckStatus] = []
        copy = Copy(one, float(one.lease_s) if remaining_s is None else remaining_s)
        self.perform(host, host.store.put(copy, self.now, statuses.append))
        return statuses

    def fill(
        self, numbers: Iterable[int], at: Sequence[S], *, every_s: float = 0.0, size: int = 20, lease_s: int = 100_000
    ) -> set[bytes]:
        """Put a record under each key of these numbers, which tell which of these hosts receives it; the keys.

        Args:
            numbers: of the keys.
            at: hosts.
            every_s: time between a put and the next one.
            size: of each value.
            lease_s: life of each record.
        """
        keys = set()
        for number in numbers:
            self.put(at[number % len(at)], record(number, size=size, lease_s=lease_s))
            keys.add(key_of(number))
            if every_s:
                self.run(every_s)
        return keys

    def get(self, host: S, key: bytes, ask: Ask = Ask.ANY) -> list[Resolved]:
        """Look a key up at a host; what is found appears in the list."""
        results: list[Resolved] = []
        self.perform(host, host.store.get(key, ask, self.now, results.append))
        return results

    def leave(self, host: S) -> None:
        """A host goes, and hands over."""
        self.perform(host, host.become(State.LEAVING, self.now))
        self.perform(host, host.store.hand_over(self.now))

    def crash(self, host: S) -> None:
        """A host goes without a word."""
        host.alive = False

    def lose(self, share: float) -> None:
        """From now on so many of all packets are lost."""
        self.multicast_loss = self.unicast_loss = share

    # ---- how it is ---------------------------------------------------------------------------------------------------

    @property
    def staying(self) -> list[S]:
        """Hosts that are READY."""
        return [host for host in self.living if host.membership.state is State.READY]

    def holders(self, key: bytes) -> list[S]:
        """Of them those that hold a key."""
        return [host for host in self.staying if host.store.stock.table.get(key, self.now)]

    def misplaced(self, keys: set[bytes]) -> dict[bytes, tuple[list[int], list[list[bytes]]]]:
        """Keys that are not exactly where the policy wants them, in the eyes of each of their holders.

        Returns:
            By key, the numbers of its holders, and who should hold it as each host that stays sees it.
        """
        wrong = {}
        for key in keys:
            holders = self.holders(key)
            names = sorted(host.hid for host in holders)
            if not names or any(sorted(host.store.targets(key)) != names for host in holders):
                wanted = [sorted(host.store.targets(key)) for host in self.staying]
                wrong[key] = ([host.number for host in holders], wanted)
        return wrong


class StoreLink(StoreLinkOf[StoreHost]):
    """A link of hosts that are no more than that."""

    def make(self, number: int, membership: Membership) -> StoreHost:
        """One of them."""
        rng = store_chance(self.seed, number, membership)
        return StoreHost(number, membership, self.policy, self.store_config, self.table, rng)


def store_chance(seed: int, number: int, membership: Membership) -> Random:
    """The chance of one host's store."""
    return Random(f"{seed} store {number} {membership.incarnation}")
