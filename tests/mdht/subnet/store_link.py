"""Hosts on a link in virtual time that are a membership and their share of the subnet's records."""

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from mdht.experiments.link_run import Host, LinkOf
from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy, Record, check
from mdht.subnet.membership import Membership
from mdht.subnet.messages import AckStatus, Ask, Message, Put, State
from mdht.subnet.policies import policy_from
from mdht.subnet.query import FetchBulk, Outcome, Resolved
from mdht.subnet.sibling_store import SiblingStore
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.store_effects import BulkTo, HandedOver, KeyLost, StoreEffect, Synced
from mdht.subnet.view import rank
from mdht.subnet.wire import Header

BULK_S = 0.01
LISTEN_S = 1.5
"From its start until a newcomer asks siblings what they hold."
WRITER = b"w" * 32
STORED = [AckStatus.STORED]
QUICK = StoreConfig(compare_s=5.0, stray_s=2.0)
"Repairs in less time, so that tests have less to simulate."


# ---- records ---------------------------------------------------------------------------------------------------------


def key_of(number: int) -> bytes:
    return Random(f"key {number}").randbytes(20)


def record(
    number: int, seq: int = 1, *, writer: bytes = WRITER, size: int = 20, lease_s: int = 100_000, deleted: bool = False
) -> Record:
    value = b"" if deleted else seq.to_bytes(4, "big") + bytes(size)
    return Record(key_of(number), writer, b"", seq, lease_s, deleted, value, bytes(64))


def lawful(one: Record) -> bool:
    return check(one) is None


# ---- hosts -----------------------------------------------------------------------------------------------------------


class StoreHost(Host):
    """A host that comes, asks what there is, is READY, and hands over when it goes."""

    def __init__(
        self,
        number: int,
        membership: Membership,
        policy: str,
        config: StoreConfig,
        table: TableConfig,
        rng: Random,
        *,
        by_hand: bool,
    ) -> None:
        super().__init__(number, membership)
        self.policy = policy_from(policy)
        self.store = SiblingStore(membership, self.policy, RecordTable(table, lawful), lawful, config, rng)
        self.synced: list[tuple[float, bool]] = []
        self.handed_over: list[bool] = []
        self.lost: list[bytes] = []
        self.bulks = 0
        self.bulk_works = True
        self.answers_puts = True
        self._by_hand = by_hand
        self._timers: list[tuple[float, int, Callable[[float], Sequence[object]]]] = []
        self._order = itertools.count()

    @property
    def hid(self) -> bytes:
        return self.membership.hid

    def start(self, now: float) -> Sequence[object]:
        if not self._by_hand:
            self.later(now + LISTEN_S, self.store.sync)
        return self.membership.start(now)

    def later(self, at: float, what: Callable[[float], Sequence[object]]) -> None:
        heapq.heappush(self._timers, (at, next(self._order), what))

    def noted(self, effects: Sequence[object], now: float) -> list[object]:
        done: list[object] = []
        for effect in effects:
            done.append(effect)
            if type(effect).__name__ == "MemberChanged":
                done += self.store.on_member(effect.hid, effect.state, now)
        return done

    def become(self, state: State, now: float) -> list[object]:
        return [*self.membership.become(state, now), *self.store.on_member(self.hid, state, now)]

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        effects = self.noted(self.membership.receive(header, message, source, now, multicast=multicast), now)
        if isinstance(message, Put) and not self.answers_puts:
            return effects
        if self.membership.state is State.LEFT:
            return effects
        return [*effects, *self.store.receive(header, message, source, now, multicast=multicast)]

    def tick(self, now: float) -> Sequence[object]:
        effects = self.noted(self.membership.tick(now), now)
        while self._timers and self._timers[0][0] <= now:
            effects += heapq.heappop(self._timers)[2](now)
        if self.membership.state is not State.LEFT and self.store.next_deadline() <= now:
            effects += self.store.tick(now)
        return effects

    def next_deadline(self) -> float:
        own = self._timers[0][0] if self._timers else math.inf
        left = self.membership.state is State.LEFT
        return min(self.membership.next_deadline(), own, math.inf if left else self.store.next_deadline())

    @property
    def keys(self) -> set[bytes]:
        return set(self.store.stock.keys)


class StoreLink(LinkOf[StoreHost]):
    """A link of them."""

    def __init__(
        self,
        policy: str,
        *,
        seed: int = 1,
        config: StoreConfig = QUICK,
        table: TableConfig | None = None,
        by_hand: bool = False,
    ) -> None:
        super().__init__(seed)
        self.policy = policy
        self._store_config = config
        self._table = table or TableConfig()
        self._by_hand = by_hand
        self.puts: dict[tuple[bytes, int], list[AckStatus]] = {}

    def make(self, number: int, membership: Membership) -> StoreHost:
        rng = Random(f"{self.seed} store {number} {membership.incarnation}")
        return StoreHost(number, membership, self.policy, self._store_config, self._table, rng, by_hand=self._by_hand)

    def special(self, host: StoreHost, effect: object) -> None:
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

    def _fetch_bulk(self, host: StoreHost, hid: bytes, qid: bytes, key: bytes, now: float) -> list[StoreEffect]:
        holder = self.by_hid(hid)
        works = holder.alive and holder.bulk_works and holder.side == host.side
        return host.store.on_bulk(qid, hid, holder.store.records(key, now) if works else (), now)

    def _bulk_to(
        self, host: StoreHost, hid: bytes, qid: bytes, records: tuple[bytes, ...], now: float
    ) -> list[StoreEffect]:
        other = self.by_hid(hid)
        statuses: tuple[AckStatus, ...] = ()
        if other.alive and other.bulk_works and other.side == host.side:
            statuses, effects = other.store.take_bulk(host.hid, records, now)
            self.perform(other, effects)
        return host.store.on_bulk_sent(qid, statuses, now)

    def by_hid(self, hid: bytes) -> StoreHost:
        return next(host for host in self.hosts if host.hid == hid)

    def lose(self, share: float) -> None:
        self.multicast_loss = self.unicast_loss = share

    # ---- what happens ------------------------------------------------------------------------------------------------

    def begun(self, count: int) -> list[StoreHost]:
        """So many hosts that are READY and know each other."""
        hosts = [self.add() for _ in range(count)]
        self.run(LISTEN_S + 3.0)
        assert all(len(host.membership.ready_hids()) == count for host in hosts)
        return hosts

    def put(self, host: StoreHost, one: Record, remaining_s: float | None = None) -> list[AckStatus]:
        """What is acknowledged appears in the list."""
        statuses: list[AckStatus] = []
        copy = Copy(one, float(one.lease_s) if remaining_s is None else remaining_s)
        self.perform(host, host.store.put(copy, self.now, statuses.append))
        return statuses

    def leave(self, host: StoreHost) -> None:
        self.perform(host, host.become(State.LEAVING, self.now))
        self.perform(host, host.store.hand_over(self.now))

    def crash(self, host: StoreHost) -> None:
        host.alive = False

    def get(self, host: StoreHost, key: bytes, ask: Ask = Ask.ANY) -> list[Resolved]:
        results: list[Resolved] = []
        self.perform(host, host.store.get(key, ask, self.now, results.append))
        return results

    @property
    def staying(self) -> list[StoreHost]:
        return [host for host in self.living if host.membership.state is State.READY]

    def holders(self, key: bytes) -> list[StoreHost]:
        return [host for host in self.staying if host.store.stock.table.get(key, self.now)]

    def wanted(self, key: bytes) -> list[list[bytes]]:
        """Where each host thinks that a key belongs."""
        return [sorted(host.store.targets(key)) for host in self.staying]

    def misplaced(self, keys: set[bytes]) -> dict[bytes, tuple[list[int], list[list[bytes]]]]:
        """Keys that are not exactly where the policy wants them, in the eyes of each of their holders."""
        wrong = {}
        for key in keys:
            holders = self.holders(key)
            names = sorted(host.hid for host in holders)
            if not names or any(sorted(host.store.targets(key)) != names for host in holders):
                wrong[key] = ([host.number for host in holders], self.wanted(key))
        return wrong

    def sent(self, host: StoreHost, kind: type) -> list[Any]:
        return [message for _, message in host.sent if isinstance(message, kind)]


def ranked(link: StoreLink, number: int) -> list[StoreHost]:
    """READY hosts, first the one that should hold a key before all others."""
    return [link.by_hid(hid) for hid in rank(key_of(number), [host.hid for host in link.staying])]


def header_of(host: StoreHost) -> Header:
    return Header(subnet_tag=host.tag, hid=host.hid, incarnation=1, seq=1)


def found(results: list[Resolved]) -> set[int]:
    (result,) = results
    assert (result.outcome is Outcome.FOUND) == bool(result.records)
    return {msgspec.msgpack.decode(data, type=Copy).record.seq for data in result.records}
