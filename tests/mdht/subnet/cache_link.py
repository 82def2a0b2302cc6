"""Hosts on a link in virtual time that are a membership and a cache, and know what the others have cached."""

from collections.abc import Sequence
from random import Random

import msgspec

from dhtboot.ids import Address
from mdht.experiments.link_run import Host, LinkOf
from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy, Record
from mdht.subnet.holdings import TableHoldings
from mdht.subnet.inventory import Inventory
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Message, State
from mdht.subnet.query import FetchBulk, Outcome, Resolved
from mdht.subnet.wire import Header
from tests.mdht.subnet.store_link import lawful

CALM = InventoryConfig(filter_s=10_000.0, changes_s=100.0)
"Nothing is announced but the first change."


class CacheHost(Host):
    def __init__(self, number: int, membership: Membership, config: InventoryConfig, rng: Random, now: float) -> None:
        super().__init__(number, membership)
        holdings = TableHoldings(RecordTable(TableConfig(), lawful), lawful)
        self.inventory = Inventory(membership, holdings, config, rng, now)
        self.seen_changes = 0
        self.bulk_works = True

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[object]:
        effects = super().receive(header, message, source, now, multicast=multicast)
        return [*effects, *self.inventory.receive(header, message, source, now, multicast=multicast)]

    def tick(self, now: float) -> Sequence[object]:
        return [*super().tick(now), *self.inventory.tick(now)]

    def next_deadline(self) -> float:
        return min(super().next_deadline(), self.inventory.next_deadline())


class CacheLink(LinkOf[CacheHost]):
    """A link of them; what a membership finds out is told to the inventory."""

    def __init__(self, count: int, config: InventoryConfig | None = None, seed: int = 1) -> None:
        super().__init__(seed)
        self.settings = config or InventoryConfig()
        self.started(count)

    def make(self, number: int, membership: Membership) -> CacheHost:
        return CacheHost(number, membership, self.settings, Random(f"{self.seed} {number}"), self.now)

    def perform(self, host: CacheHost, effects: Sequence[object]) -> None:
        super().perform(host, effects)
        new, host.seen_changes = host.changes[host.seen_changes :], len(host.changes)
        for _, hid, state in new:
            self.perform(host, host.inventory.on_member(hid, state, self.now))

    def special(self, host: CacheHost, effect: object) -> None:
        assert isinstance(effect, FetchBulk)
        (holder,) = [other for other in self.hosts if other.address == effect.to]
        works = holder.alive and holder.bulk_works
        records = holder.inventory.cached(effect.message.key, self.now) if works else ()
        self.perform(host, host.inventory.on_bulk(effect.message.qid, holder.membership.hid, records, self.now))

    def put(self, number: int, *records: Record, remaining_s: float = 300.0) -> None:
        """One host has fetched records of one key from the overlay."""
        host = self.hosts[number]
        data = [msgspec.msgpack.encode(Copy(record, remaining_s)) for record in records]
        self.perform(host, host.inventory.put(records[0].key, data, self.now))

    def get(self, number: int, key: bytes) -> list[tuple[float, Resolved]]:
        """A host looks for a key; the result comes into the list, with the time it took."""
        results: list[tuple[float, Resolved]] = []
        host, began = self.hosts[number], self.now
        self.perform(host, host.inventory.get(key, self.now, lambda found: results.append((self.now - began, found))))
        return results

    def messages(self, kind: type) -> list[tuple[float, int, Message]]:
        """When messages of a kind were sent, by whom."""
        return sorted(
            (
                (at, host.number, message)
                for host in self.hosts
                for at, message in host.sent
                if isinstance(message, kind)
            ),
            key=lambda one: one[:2],
        )


def records_of(results: list[tuple[float, Resolved]]) -> list[Record]:
    """What the one result brought."""
    ((_, result),) = results
    assert (result.outcome is Outcome.FOUND) == bool(result.records)
    return [msgspec.msgpack.decode(data, type=Copy).record for data in result.records]


def gone(link: CacheLink, number: int, state: State) -> None:
    """All others take a host for this from now on."""
    hid = link.hosts[number].membership.hid
    for host in link.hosts:
        member = host.membership.view.get(hid)
        if member is not None:
            member.state = state
            link.perform(host, host.inventory.on_member(hid, state, link.now))
