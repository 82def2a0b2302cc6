"""What siblings say to a host's store: their copies, notes, questions and answers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from dhtboot.ids import ID_BYTES
from mdht.errors import RefusalCode
from mdht.subnet.anti_entropy import AntiEntropy
from mdht.subnet.asking import Asking
from mdht.subnet.bounded import remember
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.commons import Commons
from mdht.subnet.effects import Unicast
from mdht.subnet.hints import Hints
from mdht.subnet.listing import Listing, well_formed
from mdht.subnet.messages import (
    HID_BYTES,
    HOSTS_MAX,
    QID_BYTES,
    Ack,
    AckStatus,
    Fetch,
    Have,
    Here,
    Message,
    Nack,
    Note,
    Put,
    State,
    Value,
    WhoHas,
)
from mdht.subnet.policies import Adaptive, KeyStats, Single
from mdht.subnet.putting import STATUS
from mdht.subnet.siblings import ANSWERING
from mdht.subnet.sync_messages import Compare, Differ, KeyList, ListKeys, SyncMessage
from mdht.subnet.transfers import Urgency
from mdht.subnet.view import Member
from mdht.wire import read_copy


class Incoming:
    """One host's.

    Args:
        commons: what belongs where, who is there, what this host holds.
        carrying: what the policy asks for is done there.
        hints: who may hold a key.
        listing: answers.
        asking: gets answers.
        anti_entropy: watches heartbeats.
        leaving: whether this host takes nothing new.
    """

    def __init__(
        self,
        commons: Commons,
        carrying: CarryingOut,
        hints: Hints,
        listing: Listing,
        asking: Asking,
        anti_entropy: AntiEntropy,
        leaving: Callable[[], bool],
    ) -> None:
        self._commons, self._policy, self._stock = commons, commons.policy, commons.stock
        self._config, self._counters, self._out = commons.config, commons.counters, commons.out
        self._carrying, self._hints, self._listing = carrying, hints, listing
        self._asking, self._anti_entropy, self._leaving = asking, anti_entropy, leaving
        self._seen: OrderedDict[tuple[bytes, bytes], AckStatus] = OrderedDict()
        self._counted: OrderedDict[bytes, None] = OrderedDict()

    def receive(self, member: Member, message: Message, now: float, *, multicast: bool) -> None:
        """Act on one message of a live member."""
        match message:
            case Put(qid=qid) if len(qid) == QID_BYTES:
                self._on_put(member, message, now, multicast=multicast)
            case Ack(qid=qid, status=status) if not multicast:
                self._carrying.copying.on_ack(member.hid, qid, status, now)
            case Note():
                self._on_note(message, now)
            case WhoHas(qid=qid, key=key):
                self._on_lookup(member, qid, key, now)
            case Fetch(qid=qid, key=key) if not multicast:
                self._on_lookup(member, qid, key, now)
            case Have() | Value() | Nack() if len(message.key) == ID_BYTES:
                self._on_answer(member, message, now, multicast=multicast)
            case Here(data_root=root, state=state):
                self._anti_entropy.on_here(member.hid, root, state, now)
            case Compare() | Differ() | ListKeys() | KeyList():
                self._on_sync(member, message, now, multicast=multicast)
            case Put() | Ack() | Fetch() | Have() | Value() | Nack():
                self._counters["malformed"] += 1
            case _:
                pass

    def take_bulk(self, hid: bytes, records: Sequence[bytes], now: float) -> tuple[AckStatus, ...]:
        """Store what a sibling sends over the bulk channel; a status for each."""
        return tuple([self._take(hid, data, now) for data in records])

    # ---- copies ------------------------------------------------------------------------------------------------------

    def _on_put(self, member: Member, put: Put, now: float, *, multicast: bool) -> None:
        status = self._seen.get((member.hid, put.qid))
        if status is None:
            copy = read_copy(put.record)
            if multicast and (copy is None or self._commons.me not in self._wanted_at(copy.record.key)):
                return
            status = self._take(member.hid, put.record, now)
            remember(self._seen, (member.hid, put.qid), status, self._config.remembered_max)
        else:
            self._counters["puts_seen_before"] += 1
        self._out.append(Unicast(member.addresses[0], Ack(qid=put.qid, status=status)))

    def _take(self, hid: bytes, data: bytes, now: float) -> AckStatus:
        """Store what a sibling sends."""
        if self._leaving() or self._commons.state not in {State.JOINING, State.READY}:
            self._counters["copies_not_ready"] += 1
            return AckStatus.NOT_READY
        copy = read_copy(data)
        if copy is None:
            self._counters["unlawful"] += 1
            return AckStatus.REFUSED
        key = copy.record.key
        refusal = self._stock.put(copy, now).refusal
        if refusal is RefusalCode.STALE:
            # There is a newer one here, which the sender should have if the key is its business.
            self._counters["copies_stale"] += 1
            if hid in self._commons.targets(key):
                slot = copy.record.slot
                self._carrying.copying.copy(key, hid, Urgency.REPAIR, now, slot)
            return AckStatus.STORED
        status = STATUS.get(refusal, AckStatus.REFUSED)
        self._counters[f"copies_{status.name.lower()}"] += 1
        if status is AckStatus.STORED and self._commons.me not in self._wanted_at(key):
            self._carrying.look_later(key, now)
        if status is AckStatus.STORED:
            self._tell_sender(hid, key)
        return status

    def _tell_sender(self, hid: bytes, key: bytes) -> None:
        """One that should not hold the key may have missed a note, or this host has: what is known here is told."""
        stats, targets = self._policy.stats(key), self._commons.targets(key)
        member = self._commons.siblings.get(hid)
        if stats is None or member is None or hid in self._commons.targets(key, hid) or not targets:
            return
        me = self._commons.me
        # Who has sent it to the one owner knows him; and where the first holder decides, nobody else says it.
        informed = isinstance(self._policy, Single) and me in targets
        if not informed and (not isinstance(self._policy, Adaptive) or targets[0] == me):
            self._counters["senders_told"] += 1
            note = Note(key=key, stamp=self._stock.hash(key), wanted=stats.wanted, holders=tuple(targets[:HOSTS_MAX]))
            self._out.append(Unicast(member.addresses[0], note))

    def _wanted_at(self, key: bytes) -> list[bytes]:
        """Who should hold a key, this host counted as READY."""
        return self._commons.targets(key, self._commons.me)

    # ---- lookups and notes -------------------------------------------------------------------------------------------

    def _on_note(self, note: Note, now: float) -> None:
        if len(note.key) != ID_BYTES or any(len(hid) != HID_BYTES for hid in note.holders):
            self._counters["malformed"] += 1
            return
        self._carrying.notices.outdated(note.key)
        actions = self._policy.on_note(note.key, KeyStats(note.wanted, note.holders), self._commons.scene(now))
        self._carrying.perform(actions, now)

    def _on_lookup(self, member: Member, qid: bytes, key: bytes, now: float) -> None:
        """A sibling looks a key up, by several questions perhaps, which count as one."""
        if qid in self._counted or len(qid) != QID_BYTES or len(key) != ID_BYTES:
            return
        remember(self._counted, qid, None, self._config.remembered_max)
        fetcher = member.hid if key in self._stock.keys and self._commons.state in ANSWERING else None
        self._carrying.perform(self._policy.on_lookup(key, fetcher, self._commons.scene(now)), now)

    def _on_answer(self, member: Member, message: Value | Nack | Have, now: float, *, multicast: bool) -> None:
        if not multicast:
            self._carrying.pulling.receive(member.hid, message, now)
        elif not isinstance(message, Have):
            self._counters["malformed"] += 1
            return
        if not isinstance(self._policy, Single) or isinstance(message, Nack):
            return
        if isinstance(message, Value) and message.records:
            self._hints.learn(message.key, (member.hid,), now)  # as HAVE, which may have been lost
        stats = self._policy.stats(message.key)
        owned = stats is not None and stats.holders[:1] == (self._commons.me,) and message.key in self._stock.keys
        if stats is not None and owned and not self._carrying.notices.saying(message.key):
            self._carrying.notices.say(message.key, stats, now)  # two owners: one of them gives it up

    # ---- comparisons -------------------------------------------------------------------------------------------------

    def _on_sync(self, member: Member, message: SyncMessage, now: float, *, multicast: bool) -> None:
        if multicast or not well_formed(message):
            self._counters["malformed"] += 1
        elif isinstance(message, Differ | KeyList):
            self._asking.receive(member.hid, message, now)
        elif self._commons.state in ANSWERING:
            answer = self._listing.answer(member.hid, message, now)
            if answer is not None:
                self._out.append(Unicast(member.addresses[0], answer))
