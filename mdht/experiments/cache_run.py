"""Hosts on a link that are a membership and a cache, as they ship."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from dhtboot.ids import Address
from mdht.experiments.link_run import Host, LinkOf
from mdht.record_table import RecordTable, TableConfig
from mdht.records import lawful
from mdht.subnet.holdings import TableHoldings
from mdht.subnet.inventory import Inventory
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Message
from mdht.subnet.query import FetchBulk
from mdht.subnet.wire import Header

MakeInventory = Callable[[Membership, TableHoldings], Inventory]


class CacheHost(Host):
    """One of them.

    Args:
        number: by which its name and its address are made.
        membership: its view of the others.
        make_inventory: makes the rest.

    Attributes:
        inventory: its cache, and what it knows of those of the others.
        told: how many changes of members that has been told.
        bulk_works: whether others get from it what is too much for a datagram.
    """

    def __init__(self, number: int, membership: Membership, make_inventory: MakeInventory) -> None:
        super().__init__(number, membership)
        self.inventory = make_inventory(membership, TableHoldings(RecordTable(TableConfig(), lawful), lawful))
        self.told = 0
        self.bulk_works = True

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[object]:
        """Act on one message."""
        effects = super().receive(header, message, source, now, multicast=multicast)
        return [*effects, *self.inventory.receive(header, message, source, now, multicast=multicast)]

    def tick(self, now: float) -> Sequence[object]:
        """Act on the time."""
        return [*super().tick(now), *self.inventory.tick(now)]

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        return min(super().next_deadline(), self.inventory.next_deadline())


C = TypeVar("C", bound=CacheHost)


class CacheLinkOf(LinkOf[C]):
    """A link of them; the bulk channel takes no time."""

    def perform(self, host: C, effects: Sequence[object]) -> None:
        """Do what a host wants done; what its membership finds out is told to its inventory."""
        super().perform(host, effects)
        new, host.told = host.changes[host.told :], len(host.changes)
        for _, hid, state in new:
            self.perform(host, host.inventory.on_member(hid, state, self.now))

    def special(self, host: C, effect: object) -> None:
        """Fetch in bulk."""
        match effect:
            case FetchBulk(to=to, message=fetch):
                (holder,) = [other for other in self.hosts if other.address == to]
                works = holder.alive and holder.bulk_works
                records = holder.inventory.cached(fetch.key, self.now) if works else ()
                done = host.inventory.on_bulk(fetch.qid, holder.membership.hid, records, self.now)
                self.perform(host, done)
            case _:
                super().special(host, effect)
