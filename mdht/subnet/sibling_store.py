"""One host's share of the records that its subnet holds: puts and gets, copies, comers and goers, repair.

Joins what the policies want done, what the table holds and what travels on the link (mDHT design, sections 6 to 10).
The parts: `putting` for what comes from outside, `incoming` for what siblings say, `carrying_out` for what a policy
asks for, with `copying` and `pulling` below it; `comings`, `newcomer`, `handover` and `anti_entropy` for the events of
a subnet's life.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from dhtboot.ids import ID_BYTES, Address
from mdht.errors import LocalProtocolError
from mdht.record_table import RecordTable
from mdht.records import Copy, Record
from mdht.subnet.anti_entropy import AntiEntropy
from mdht.subnet.asking import Asking
from mdht.subnet.carrying_out import CarryingOut
from mdht.subnet.comings import Comings
from mdht.subnet.commons import Commons
from mdht.subnet.handover import HandOver
from mdht.subnet.holdings import COPIES_MAX, TableHoldings
from mdht.subnet.incoming import Incoming
from mdht.subnet.listing import Listing
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Ack, AckStatus, Ask, Bye, Message, Put, State
from mdht.subnet.newcomer import Newcomer
from mdht.subnet.policies import Policy, Single
from mdht.subnet.putting import OnPut, Putting
from mdht.subnet.query import OnDone
from mdht.subnet.resolve import Resolver
from mdht.subnet.slices import Slices
from mdht.subnet.stock import Stock
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.store_effects import StoreEffect
from mdht.subnet.sync_messages import Compare, Differ, KeyList, ListKeys
from mdht.subnet.transfers import Transfer
from mdht.subnet.wire import Header


class _Placement:
    """What the resolver asks of the policy."""

    def __init__(self, policy: Policy, targets: Callable[[bytes], list[bytes]]) -> None:
        self.single = isinstance(policy, Single)
        self.targets = targets


class SiblingStore:
    """One host's part. A message goes to its membership first, then here.

    Args:
        membership: who is there.
        policy: what belongs where; its own, not shared with other hosts.
        table: where the records are; empty, and nobody else may change it.
        verify: says whether a record has lawful fields and its writer's signature.
        config: times and limits.
        rng: all chance.

    Attributes:
        stock: what this host holds.
        resolver: lookups among siblings.
    """

    def __init__(
        self,
        membership: Membership,
        policy: Policy,
        table: RecordTable,
        verify: Callable[[Record], bool],
        config: StoreConfig,
        rng: Random,
    ) -> None:
        self.stock = Stock(table, config.transit_s)
        commons = self._commons = Commons(membership, policy, self.stock, config, rng)
        self._holdings = TableHoldings(table, verify)
        placement = _Placement(policy, commons.targets)
        self.resolver = Resolver(membership, self._holdings, placement, config.resolve, rng)
        hints = self.resolver.hints
        carrying = self._carrying = CarryingOut(commons, hints, self._on_stored, self._on_pulled, self._on_settled)
        slices = self._slices = Slices(
            most=config.slice_keys,
            every_s=config.slice_every_s,
            jobs_max=config.events_max,
            room=lambda: not carrying.copying.full and not carrying.pulling.full,
        )
        asking = self._asking = Asking(commons)
        listing = Listing(commons)
        self._putting = Putting(commons, carrying, self.resolver)
        self._newcomer = Newcomer(commons, carrying, asking, slices)
        self._hand_over = HandOver(commons, carrying, slices, self._putting)
        self._anti_entropy = AntiEntropy(commons, carrying, listing, asking)
        self._comings = Comings(commons, carrying, asking, self._newcomer, self._anti_entropy, slices)
        self._incoming = Incoming(
            commons, carrying, hints, listing, asking, self._anti_entropy, lambda: self._hand_over.leaving
        )
        self._changes_told = -1
        self._due_at: float | None = None
        "When to call `tick`; None where it must be worked out again, as after each call that may have changed it."

    @property
    def counters(self) -> Counter[str]:
        """Of what was lost, refused and done again; the resolver and the table have their own."""
        return self._commons.counters

    @property
    def me(self) -> bytes:
        """Name of this host."""
        return self._commons.me

    def targets(self, key: bytes) -> list[bytes]:
        """Who should hold a key, as this host sees it."""
        return self._commons.targets(key)

    # ---- what the layer above wants ----------------------------------------------------------------------------------

    def put(self, copy: Copy, now: float, on_done: OnPut, *, source: str = "") -> list[StoreEffect]:
        """A record has come to this host from outside its node.

        Args:
            copy: it, with what is left of its life.
            now: the time.
            on_done: called once: STORED when as many hosts hold it as must, else why not; perhaps before this returns.
            source: address that it came from, whose rate is limited; empty for this machine.
        """
        self._enter(now)
        self._putting.put(copy, now, on_done, source, closed=self._hand_over.leaving)
        return self._collect(now)

    def get(self, key: bytes, ask: Ask, now: float, on_done: OnDone, *, hops: int = 0) -> list[StoreEffect]:
        """Look a key up; see `Resolver.get`."""
        if len(key) != ID_BYTES:
            raise LocalProtocolError(f"a key has {ID_BYTES} bytes, not {len(key)}")
        self._enter(now)
        self._carrying.perform(self._commons.policy.on_lookup(key, None, self._commons.scene(now)), now)
        self._commons.out += self.resolver.get(key, ask, now, on_done, hops=hops)
        return self._collect(now)

    def sync(self, now: float) -> list[StoreEffect]:
        """Fetch what belongs to this newcomer; `Synced` follows, at once where nobody is READY."""
        self._enter(now)
        self._newcomer.begin(now)
        return self._collect(now)

    def hand_over(self, now: float) -> list[StoreEffect]:
        """Take nothing new and give away what others must have; `HandedOver` follows."""
        self._enter(now)
        self._newcomer.stop()
        self._hand_over.begin(now)
        return self._collect(now)

    # ---- driver's side -----------------------------------------------------------------------------------------------

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[StoreEffect]:
        """Act on one message of the link; those of other layers are ignored."""
        member = self._commons.siblings.get(header.hid)
        self._enter(now)
        if isinstance(message, Bye):
            self._comings.on_bye(header.hid, message, now)
        elif member is None or header.hid == self._commons.me:
            self.counters["strangers"] += isinstance(message, Put | Ack | Compare | Differ | ListKeys | KeyList)
        else:
            self._incoming.receive(member, message, now, multicast=multicast)
        if not isinstance(message, Compare | Differ | ListKeys | KeyList):
            self._commons.out += self.resolver.receive(header, message, source, now, multicast=multicast)
        return self._collect(now)

    def on_member(self, hid: bytes, state: State, now: float) -> list[StoreEffect]:
        """A member, this host perhaps, has become something else."""
        self._enter(now)
        self._comings.on_member(hid, state, now)
        return self._collect(now)

    def tick(self, now: float) -> list[StoreEffect]:
        """Act on the time."""
        self._enter(now)
        if now >= self.resolver.next_deadline():
            self._commons.out += self.resolver.tick(now)
        if now >= self._commons.policy.next_deadline():
            # Copies that others should have made by now: of many it is asked first which are missing.
            due = self._commons.policy.tick(self._commons.scene(now))
            self._carrying.perform(self._anti_entropy.made_alike(due, now), now)
        self._comings.tick(now)
        self._slices.tick(now)
        self._carrying.tick(now)
        self._asking.tick(now)
        self._putting.tick(now)
        self._newcomer.tick(now)
        self._anti_entropy.tick(now)
        return self._collect(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        if self._due_at is None:
            self._due_at = self._work_out_deadline()
        return self._due_at

    def _work_out_deadline(self) -> float:
        return min(
            self.stock.next_expiry(),
            self.resolver.next_deadline(),
            self._commons.policy.next_deadline(),
            self._comings.next_deadline(),
            self._slices.next_deadline(),
            self._carrying.next_deadline(),
            self._asking.next_deadline(),
            self._putting.next_deadline(),
            self._newcomer.next_deadline(),
            self._hand_over.next_deadline(),
            self._anti_entropy.next_deadline(),
        )

    # ---- the bulk channel --------------------------------------------------------------------------------------------

    def records(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """What a sibling gets that asks by `FetchBulk`."""
        return self._holdings.records(key, now)

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[StoreEffect]:
        """What came of a `FetchBulk`: records, or none when the transfer has failed."""
        self._enter(now)
        if not self._carrying.pulling.on_bulk(qid, hid, records, now):
            self._commons.out += self.resolver.on_bulk(qid, hid, records, now)
        return self._collect(now)

    def take_bulk(
        self, hid: bytes, records: Sequence[bytes], now: float
    ) -> tuple[tuple[AckStatus, ...], list[StoreEffect]]:
        """Store what a sibling sends by `BulkTo`; a status for each record is the answer, none at all to a stranger."""
        self._enter(now)
        known = self._commons.siblings.get(hid) is not None and len(records) <= COPIES_MAX
        self.counters["strangers"] += not known
        statuses = self._incoming.take_bulk(hid, records, now) if known else ()
        return statuses, self._collect(now)

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], now: float) -> list[StoreEffect]:
        """What came of a `BulkTo`: what the other one's `take_bulk` has said, nothing when the transfer has failed."""
        self._enter(now)
        self._carrying.copying.on_bulk_sent(qid, tuple(statuses), now)
        return self._collect(now)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _on_stored(self, transfer: Transfer, slot: tuple[bytes, bytes], seq: int, now: float) -> None:
        self._putting.on_stored(transfer, slot, seq, now)

    def _on_settled(self, transfer: Transfer, well: bool, now: float) -> None:
        self._putting.on_settled(transfer, now)
        self._hand_over.on_settled(transfer.key, now, well=well)

    def _on_pulled(self, key: bytes, source: bytes, well: bool, now: float) -> None:  # noqa: ARG002  a callback
        self._anti_entropy.on_pulled(key, now)
        if well and self._commons.me not in self._commons.targets(key, self._commons.me):
            self._carrying.look_later(key, now)

    def _enter(self, now: float) -> None:
        self._commons.now = now
        self._due_at = None
        self.stock.expire(now)

    def _collect(self, now: float) -> list[StoreEffect]:
        """What is to be done; what heartbeats tell follows the digest."""
        self._hand_over.tick(now)
        if self._changes_told != self.stock.changes:
            self._changes_told = self.stock.changes
            self._commons.membership.report.data_root = self.stock.digest.root
        done = self._putting.take_done()
        effects = self._commons.out[:]
        self._commons.out.clear()
        for on_done, status in done:  # last, so that whoever is told may put more
            on_done(status)
        return effects
