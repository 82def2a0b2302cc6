"""Records on their way to siblings: sent, sent again, acknowledged or given up (mDHT design, sections 8 to 10)."""

from collections.abc import Callable, Iterable

from dhtboot.ids import Address
from dhtboot.rtt import RttEstimator, TimeoutConfig
from mdht.records import Slot
from mdht.subnet.commons import Commons
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.messages import QID_BYTES, AckStatus, Put
from mdht.subnet.store_effects import BulkTo
from mdht.subnet.timers import Timers
from mdht.subnet.transfers import Budget, Lane, Transfer, Urgency


class _Open:
    """A datagram that is not acknowledged."""

    __slots__ = ("due_at", "sent_at", "seq", "slot", "transfer", "tries")

    def __init__(self, transfer: Transfer, slot: Slot, seq: int, now: float, due_at: float) -> None:
        self.transfer, self.slot, self.seq = transfer, slot, seq
        self.sent_at, self.due_at = now, due_at
        self.tries = 1


OnStored = Callable[[Transfer, Slot, int, float], None]
OnEnd = Callable[[Transfer, bool, float], None]


class Copying:
    """One host's transfers to others.

    Args:
        commons: what it holds, whom it can reach.
        on_stored: a host holds a record.
        on_end: a transfer has ended, well or not.
    """

    def __init__(self, commons: Commons, on_stored: OnStored, on_end: OnEnd) -> None:
        self._commons, self._stock, self._siblings = commons, commons.stock, commons.siblings
        self._config, self._rng = commons.config, commons.rng
        self._counters, self._out = commons.counters, commons.out
        self._on_stored, self._on_end = on_stored, on_end
        config = commons.config
        self._transfers: dict[bytes, dict[bytes, Transfer]] = {}
        self._size = 0
        self._open: dict[tuple[bytes, bytes], _Open] = {}
        self._bulks: dict[bytes, tuple[Transfer, dict[Slot, int]]] = {}
        self._lanes: dict[bytes, Lane] = {}
        self._timers = Timers()
        self._budget = Budget(config.repair_bytes_per_s, config.repair_burst_bytes)
        self._rtt = RttEstimator(
            TimeoutConfig(initial_s=config.rto_s, min_s=config.rto_s, max_s=config.rto_max_s, death_min_s=0.0)
        )

    def __len__(self) -> int:
        return self._size

    @property
    def full(self) -> bool:
        """Whether no more may be added by what is not urgent."""
        return self._size >= self._config.transfers_max // 2

    def pending(self, key: bytes) -> Iterable[bytes]:
        """Hosts to which the key is on its way."""
        return self._transfers.get(key, {}).keys()

    def said(self, key: bytes) -> AckStatus | None:
        """Why a host that is to have the key has refused it, if one has."""
        return next((one.said for one in self._transfers.get(key, {}).values() if one.said is not None), None)

    # ---- what is wanted ----------------------------------------------------------------------------------------------

    def copy(self, key: bytes, hid: bytes, urgency: Urgency, now: float, slot: Slot | None = None) -> bool:
        """Send a host what it may lack of a key, or one slot; False if that cannot be."""
        transfer = self._enter(key, hid, urgency)
        if transfer is None:
            return False
        slots = self._stock.slots(key)
        if slot is None:
            transfer.whole = True
            transfer.want(slots)
        else:
            transfer.want({slot: slots[slot]} if slot in slots else {})
        if transfer.again_at is None:
            self._queue(transfer)
            self._pump(hid, now)
        return True

    def copy_to_all(self, key: bytes, slot: Slot, hids: list[bytes], now: float) -> None:
        """Send one record to many by one multicast; what is not acknowledged goes to each alone."""
        copy = self._stock.find(key, slot, now)
        data = None if copy is None else self._stock.sent(copy)
        if copy is None or data is None or len(data) > self._config.put_bytes:
            for hid in hids:
                self.copy(key, hid, Urgency.PUT, now, slot)
            return
        qid = self._rng.randbytes(QID_BYTES)
        for hid in hids:
            transfer = self._enter(key, hid, Urgency.PUT)
            if transfer is not None:
                self._await(qid, transfer, slot, copy.record.seq, now)
        report = self._commons.membership.report
        report.last_put = (report.last_put + 1) % (1 << 32)
        self._out.append(Multicast(Put(qid=qid, record=data)))

    def _enter(self, key: bytes, hid: bytes, urgency: Urgency) -> Transfer | None:
        by_host = self._transfers.get(key, {})
        transfer = by_host.get(hid)
        if transfer is None:
            if self._size >= self._config.transfers_max or self._siblings.get(hid) is None:
                self._counters["not_copied"] += 1
                return None
            transfer = by_host[hid] = Transfer(key, hid, urgency)
            self._transfers[key] = by_host
            self._size += 1
        transfer.urgency = min(transfer.urgency, urgency)
        return transfer

    def cancel(self, hid: bytes, now: float) -> None:
        """The host is gone."""
        for transfer in [by_host[hid] for by_host in self._transfers.values() if hid in by_host]:
            transfer.failure = transfer.failure or AckStatus.NOT_READY
            self._end(transfer, now, well=False)
        self._lanes.pop(hid, None)

    # ---- what comes --------------------------------------------------------------------------------------------------

    def on_ack(self, hid: bytes, qid: bytes, status: AckStatus, now: float) -> None:
        """A host says what has become of a record."""
        found = self._open.pop((qid, hid), None)
        if found is None:
            self._counters["unknown_acks"] += 1
            return
        transfer = found.transfer
        self._closed(transfer)
        member = self._siblings.get(hid)
        if found.tries == 1 and member is not None:
            self._rtt.sample(member.addresses[0], now - found.sent_at)
        if status is AckStatus.STORED:
            self._stored(transfer, found.slot, found.seq, now)
        else:
            self._refused(transfer, found.slot, found.seq, status)
        self._look(transfer, now)
        self._pump(hid, now)

    def on_bulk_sent(self, qid: bytes, statuses: tuple[AckStatus, ...], now: float) -> None:
        """The outcome of a `BulkTo`: a status for each of its records, none at all where it has failed."""
        found = self._bulks.pop(qid, None)
        if found is None:
            return
        transfer, slots = found
        transfer.bulk = None
        if len(statuses) != len(slots):
            self._counters["bulk_to_failed"] += 1
            transfer.failure = AckStatus.NOT_READY
        for (slot, seq), status in zip(slots.items(), statuses, strict=False):
            if status is AckStatus.STORED:
                self._stored(transfer, slot, seq, now)
            else:
                self._refused(transfer, slot, seq, status)
        self._look(transfer, now)
        self._pump(transfer.hid, now)

    def tick(self, now: float) -> None:
        """Act on the time."""
        self._timers.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick`; there may be nothing to do then."""
        return self._timers.next_deadline()

    # ---- sending -----------------------------------------------------------------------------------------------------

    def _queue(self, transfer: Transfer) -> None:
        lane = self._lanes.setdefault(transfer.hid, Lane())
        live = len(self._commons.targets(transfer.key)) - len(self._transfers[transfer.key])
        lane.push(transfer, live)

    def _pump(self, hid: bytes, now: float) -> None:
        """Send a host as much as it may get at once."""
        lane = self._lanes.get(hid)
        member = self._siblings.get(hid)
        while lane and lane.open < self._config.window:
            transfer = lane.first()
            current = self._transfers.get(transfer.key, {}).get(hid) is transfer
            if not current or transfer.again_at is not None or transfer.bulk is not None:
                lane.pop()
            elif member is None:
                transfer.failure = AckStatus.NOT_READY
                lane.pop()
                self._end(transfer, now, well=False)
            elif not transfer.unsent:
                lane.pop()
                self._look(transfer, now)
            elif not self._send_some(transfer, lane, member.addresses[0], now):
                return

    def _send_some(self, transfer: Transfer, lane: Lane, to: Address, now: float) -> bool:
        """Send the next record, or all in bulk; False if the budget does not allow it now."""
        if transfer.urgency >= Urgency.REPAIR and now < lane.resume_at:
            return False
        slot = transfer.unsent[-1]
        copy = self._stock.find(transfer.key, slot, now)
        data = None if copy is None else self._stock.sent(copy)
        if copy is None or data is None:
            transfer.unsent.pop()  # it has ended
            return True
        many = len(transfer.unsent) * len(data) > self._config.bulk_bytes or len(data) > self._config.put_bytes
        slots, records = self._all(transfer, now) if many else ({}, ())
        wait_s = 0.0
        if transfer.urgency >= Urgency.REPAIR:
            wait_s = self._budget.wait_s(sum(map(len, records)) if many else len(data), now)
        if wait_s:
            lane.resume_at = now + wait_s
            self._timers.at(now + wait_s, lambda at: self._pump(transfer.hid, at))
            return False
        if many:
            transfer.unsent.clear()
            self._send_bulk(transfer, to, slots, records, now)
            return True
        transfer.unsent.pop()
        qid = self._rng.randbytes(QID_BYTES)
        self._await(qid, transfer, slot, copy.record.seq, now)
        self._out.append(Unicast(to, Put(qid=qid, record=data)))
        return True

    def _all(self, transfer: Transfer, now: float) -> tuple[dict[Slot, int], tuple[bytes, ...]]:
        slots, records = {}, []
        for slot in transfer.unsent:
            copy = self._stock.find(transfer.key, slot, now)
            data = None if copy is None else self._stock.sent(copy)
            if copy is not None and data is not None:
                slots[slot] = copy.record.seq
                records.append(data)
        return slots, tuple(records)

    def _send_bulk(
        self, transfer: Transfer, to: Address, slots: dict[Slot, int], records: tuple[bytes, ...], now: float
    ) -> None:
        qid = self._rng.randbytes(QID_BYTES)
        transfer.bulk = qid
        self._bulks[qid] = (transfer, slots)
        self._out.append(BulkTo(transfer.hid, to, qid, records))
        self._timers.at(now + self._config.bulk_s, lambda at: self.on_bulk_sent(qid, (), at))

    def _await(self, qid: bytes, transfer: Transfer, slot: Slot, seq: int, now: float) -> None:
        transfer.open += 1
        lane = self._lanes.setdefault(transfer.hid, Lane())
        lane.open += 1
        sent = _Open(transfer, slot, seq, now, now + self._rto_s(transfer.hid))
        self._open[qid, transfer.hid] = sent
        self._timers.at(sent.due_at, lambda at: self._overdue(qid, transfer.hid, at))

    def _rto_s(self, hid: bytes) -> float:
        member = self._siblings.get(hid)
        return self._config.rto_s if member is None else self._rtt.timeout_s(member.addresses[0])

    def _overdue(self, qid: bytes, hid: bytes, now: float) -> None:
        """No acknowledgement: send it again, or give up."""
        sent = self._open.get((qid, hid))
        if sent is None:
            return
        transfer = sent.transfer
        copy = self._stock.find(transfer.key, sent.slot, now)
        data = None if copy is None else self._stock.sent(copy)
        member = self._siblings.get(hid)
        if copy is not None and data is not None and copy.record.seq == sent.seq and member is not None:
            if sent.tries <= self._config.retries:
                self._counters["puts_repeated"] += 1
                sent.due_at = now + min(self._rto_s(hid) * 2.0**sent.tries, 8.0 * self._config.rto_max_s)
                sent.tries += 1
                self._out.append(Unicast(member.addresses[0], Put(qid=qid, record=data)))
                self._timers.at(sent.due_at, lambda at: self._overdue(qid, hid, at))
                return
            self._counters["puts_unanswered"] += 1
            transfer.failure = AckStatus.NOT_READY
            transfer.unsent.clear()
        elif copy is not None and data is not None and member is not None:
            transfer.want({sent.slot: copy.record.seq})  # a newer one has come
        del self._open[qid, hid]
        self._closed(transfer)
        self._look(transfer, now)
        self._pump(hid, now)

    # ---- ends --------------------------------------------------------------------------------------------------------

    def _closed(self, transfer: Transfer) -> None:
        transfer.open -= 1
        lane = self._lanes.get(transfer.hid)
        if lane is not None:
            lane.open = max(0, lane.open - 1)

    def _stored(self, transfer: Transfer, slot: Slot, seq: int, now: float) -> None:
        transfer.acked[slot] = max(seq, transfer.acked.get(slot, -1))
        self._on_stored(transfer, slot, seq, now)

    def _refused(self, transfer: Transfer, slot: Slot, seq: int, status: AckStatus) -> None:
        """A record that is refused is not tried again; where there is no room, or no will yet, all is, later."""
        self._counters[f"acks_{status.name.lower()}"] += 1
        transfer.said = status
        if status is AckStatus.REFUSED:
            transfer.acked[slot] = max(seq, transfer.acked.get(slot, -1))
            transfer.refused = True
        else:
            transfer.failure = status
            transfer.unsent.clear()

    def _look(self, transfer: Transfer, now: float) -> None:
        """Is it over?"""
        if self._transfers.get(transfer.key, {}).get(transfer.hid) is not transfer:
            return
        if transfer.open or transfer.bulk is not None or transfer.again_at is not None:
            return
        if transfer.failure is not None:
            self._begin_again(transfer, now)
            return
        if transfer.whole:
            transfer.want(self._living(transfer.key, now))
        if transfer.unsent:
            self._queue(transfer)
        else:
            self._end(transfer, now, well=not transfer.refused)

    def _living(self, key: bytes, now: float) -> dict[Slot, int]:
        """What can still be sent of a key."""
        slots = self._stock.slots(key)
        copies = {slot: self._stock.find(key, slot, now) for slot in slots}
        return {slot: slots[slot] for slot, copy in copies.items() if copy is not None and self._stock.sent(copy)}

    def _begin_again(self, transfer: Transfer, now: float) -> None:
        if transfer.agains >= self._config.agains or self._siblings.get(transfer.hid) is None:
            self._end(transfer, now, well=False)
            return
        transfer.again_at = now + self._config.again_s * 2.0**transfer.agains
        transfer.agains += 1
        self._counters["transfers_again"] += 1
        self._timers.at(transfer.again_at, lambda at: self._again(transfer, at))

    def _again(self, transfer: Transfer, now: float) -> None:
        if self._transfers.get(transfer.key, {}).get(transfer.hid) is not transfer:
            return
        transfer.again_at = transfer.failure = None
        transfer.whole = True
        transfer.want(self._stock.slots(transfer.key))
        self._queue(transfer)
        self._pump(transfer.hid, now)

    def _end(self, transfer: Transfer, now: float, *, well: bool) -> None:
        by_host = self._transfers[transfer.key]
        del by_host[transfer.hid]
        if not by_host:
            del self._transfers[transfer.key]
        self._size -= 1
        if transfer.bulk is not None:
            del self._bulks[transfer.bulk]
        if transfer.open:
            for pair in [pair for pair, sent in self._open.items() if sent.transfer is transfer]:
                del self._open[pair]
                self._closed(transfer)
        self._counters["transfers_failed"] += not well
        self._on_end(transfer, well, now)
