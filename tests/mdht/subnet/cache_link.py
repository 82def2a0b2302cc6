"""Hosts on a link in virtual time that are a membership and a cache, and know what the others have cached."""

from random import Random

import msgspec

from mdht.experiments.cache_run import CacheHost, CacheLinkOf
from mdht.records import Copy, Record
from mdht.subnet.inventory import Inventory
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Message, State
from mdht.subnet.query import Outcome, Resolved

CALM = InventoryConfig(filter_s=10_000.0, changes_s=100.0)
"Nothing is announced but the first change."


class CacheLink(CacheLinkOf[CacheHost]):
    """A link of so many."""

    def __init__(self, count: int, config: InventoryConfig | None = None, seed: int = 1) -> None:
        super().__init__(seed)
        self.settings = config or InventoryConfig()
        self.started(count)

    def make(self, number: int, membership: Membership) -> CacheHost:
        rng = Random(f"{self.seed} {number}")
        return CacheHost(
            number, membership, lambda member, holdings: Inventory(member, holdings, self.settings, rng, self.now)
        )

    def put(self, number: int, *records: Record, remaining_s: float = 300.0, asked_s: float = 0.0) -> None:
        """One host has fetched records of one key from the overlay, which it had asked so long ago."""
        host = self.hosts[number]
        data = [msgspec.msgpack.encode(Copy(record, remaining_s)) for record in records]
        self.perform(host, host.inventory.put(records[0].key, data, self.now, asked_at=self.now - asked_s))

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
