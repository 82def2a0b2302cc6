"""Records that come to this host from outside its node: stored, copied, acknowledged (mDHT design, section 8)."""

import heapq
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Final

from mdht.errors import RefusalCode
from mdht.records import Copy, Slot
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.messages import AckStatus, Ask, State
from mdht.subnet.policies import KeyStats, Single
from mdht.subnet.query import Resolved
from mdht.subnet.resolve import Resolver
from mdht.subnet.transfers import Transfer, Urgency

OnPut = Callable[[AckStatus], None]

STATUS: Final[Mapping[RefusalCode | None, AckStatus]] = {
    None: AckStatus.STORED,
    RefusalCode.STORE_FULL: AckStatus.FULL,
    RefusalCode.BUSY: AckStatus.FULL,
}
"Any other refusal is one for good."


class _Put:
    """One under way."""

    __slots__ = ("end_at", "failure", "holders", "key", "number", "on_done", "over", "seq", "slot")

    def __init__(self, number: int, copy: Copy, on_done: OnPut, end_at: float) -> None:
        record = copy.record
        self.number = number
        self.key, self.slot, self.seq = record.key, record.slot, record.seq
        self.on_done, self.end_at = on_done, end_at
        self.holders: set[bytes] = set()
        self.failure = AckStatus.NOT_READY
        self.over = False


class Putting:
    """Puts of one host.

    Args:
        commons: what belongs where, who is there, what this host holds.
        carrying: what the policy asks for is done there.
        resolver: finds the owner of a key, where it has one only.
    """

    def __init__(self, commons: Commons, carrying: CarryingOut, resolver: Resolver) -> None:
        self._commons, self._policy, self._stock = commons, commons.policy, commons.stock
        self._config, self._counters, self._out = commons.config, commons.counters, commons.out
        self._carrying, self._resolver = carrying, resolver
        self._puts: dict[bytes, list[_Put]] = {}
        self._asking = 0
        self._size = 0
        self._done: list[tuple[OnPut, AckStatus]] = []
        self._ends: list[tuple[float, int, bytes]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._size + self._asking

    def put(self, copy: Copy, now: float, on_done: OnPut, source: str, *, closed: bool) -> None:
        """A record has come.

        Args:
            copy: it, with what is left of its life.
            now: the time.
            on_done: told once what has become of it.
            source: address that it came from, whose rate the table limits; empty for this machine.
            closed: whether this host takes nothing new.
        """
        if closed or self._commons.state is not State.READY:
            self._counters["puts_not_ready"] += 1
            self._done.append((on_done, AckStatus.NOT_READY))
        elif len(self) >= self._config.puts_max or self._carrying.copying.full:
            self._counters["puts_busy"] += 1
            self._done.append((on_done, AckStatus.FULL))
        elif self._owner_unknown(copy.record.key, now):
            self._asking += 1
            self._out += self._resolver.get(
                copy.record.key, Ask.ANY, now, lambda found: self._on_found(found, copy, now, on_done, source)
            )
        else:
            self._store(copy, now, on_done, source)

    def take_done(self) -> list[tuple[OnPut, AckStatus]]:
        """Whom to tell what."""
        done, self._done = self._done, []
        return done

    # ---- a policy with one owner per key -----------------------------------------------------------------------------

    def _owner_unknown(self, key: bytes, now: float) -> bool:
        """Whether somebody may own the key of whom this host does not know."""
        if not isinstance(self._policy, Single) or key in self._stock.keys or len(self._commons.ready()) < 2:
            return False
        known = self._policy.stats(key)
        if known is not None and known.holders[0] in self._commons.ready():
            return False
        return not self._learn_owner(key, now)

    def _learn_owner(self, key: bytes, now: float) -> bool:
        hints = [hid for hid in self._resolver.hints.holders(key, now) if hid in self._commons.ready()]
        if hints:
            self._policy.learn(key, KeyStats(1, (hints[0],)), self._commons.scene(now))
        return bool(hints)

    def _on_found(self, found: Resolved, copy: Copy, asked_at: float, on_done: OnPut, source: str) -> None:
        self._asking -= 1
        now = self._commons.now
        if self._commons.state is not State.READY:
            self._counters["puts_not_ready"] += 1
            self._done.append((on_done, AckStatus.NOT_READY))
            return
        self._learn_owner(found.key, now)
        self._store(copy.aged(now - asked_at), now, on_done, source)

    # ---- all policies ------------------------------------------------------------------------------------------------

    def _store(self, copy: Copy, now: float, on_done: OnPut, source: str) -> None:
        outcome = self._stock.put(copy, now, source)
        status = STATUS.get(outcome.refusal, AckStatus.REFUSED)
        if status is not AckStatus.STORED:
            self._counters[f"puts_{status.name.lower()}"] += 1
            self._done.append((on_done, status))
            return
        put = _Put(next(self._numbers), copy, on_done, now + self._config.put_s)
        self._puts.setdefault(put.key, []).append(put)
        self._size += 1
        actions = self._policy.on_store(put.key, self._commons.scene(now))
        self._carrying.perform(actions, now, Urgency.PUT, put.slot)
        self._judge(put, now)
        if not put.over:
            heapq.heappush(self._ends, (put.end_at, put.number, put.key))

    def on_stored(self, transfer: Transfer, slot: Slot, seq: int, now: float) -> None:
        """A sibling holds a record."""
        for put in list(self._puts.get(transfer.key, ())):
            if put.slot == slot and put.seq <= seq:
                put.holders.add(transfer.hid)
                self._judge(put, now)

    def on_settled(self, transfer: Transfer, now: float) -> None:
        """A transfer has ended; with the last one of a key it is known what has become of its puts."""
        for put in list(self._puts.get(transfer.key, ())):
            put.failure = put.failure if transfer.said is None else transfer.said
            self._judge(put, now)

    def _judge(self, put: _Put, now: float) -> None:
        if put.over:
            return
        targets = self._commons.targets(put.key)
        me = self._commons.me
        holders = (put.holders & set(self._commons.ready())) | ({me} if me in targets else set())
        wanted = max(1, min(self._config.acks, len(targets), len(self._commons.ready())))
        if len(holders) >= wanted:
            self._finish(put, AckStatus.STORED)
        elif not set(self._carrying.copying.pending(put.key)) or now >= put.end_at:
            self._counters["puts_failed"] += 1
            self._finish(put, self._carrying.copying.said(put.key) or put.failure)

    def _finish(self, put: _Put, status: AckStatus) -> None:
        put.over = True
        puts = self._puts[put.key]
        puts.remove(put)
        if not puts:
            del self._puts[put.key]
        self._size -= 1
        self._done.append((put.on_done, status))

    def give_up(self) -> None:
        """There is no time left for those under way."""
        for put in [put for puts in self._puts.values() for put in puts]:
            self._counters["puts_failed"] += 1
            self._finish(put, put.failure)

    def tick(self, now: float) -> None:
        """Act on the time."""
        while self._ends and self._ends[0][0] <= now:
            _, number, key = heapq.heappop(self._ends)
            for put in [put for put in self._puts.get(key, ()) if put.number == number]:
                self._judge(put, now)

    def next_deadline(self) -> float:
        """When to call `tick`; there may be nothing to do then."""
        return self._ends[0][0] if self._ends else math.inf
