"""The link of the experiments with stores, whose hosts may be made to fail, and repair in less time."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mdht.experiments import store_run
from mdht.experiments.store_run import WRITER, StoreLinkOf, key_of, record, store_chance
from mdht.record_table import TableConfig
from mdht.records import Copy, lawful
from mdht.subnet.membership import Membership
from mdht.subnet.messages import AckStatus, Message, Put
from mdht.subnet.query import Outcome, Resolved
from mdht.subnet.store_config import StoreConfig
from mdht.subnet.view import rank
from mdht.subnet.wire import Header

__all__ = [
    "QUICK",
    "STORED",
    "WRITER",
    "StoreHost",
    "StoreLink",
    "found",
    "header_of",
    "key_of",
    "lawful",
    "ranked",
    "record",
]

STORED = [AckStatus.STORED]
QUICK = StoreConfig(compare_s=5.0, stray_s=2.0)
"Repairs in less time, so that tests have less to simulate."


class StoreHost(store_run.StoreHost):
    """One that may be made to answer nothing."""

    bulk_works = True
    answers_puts = True

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        if isinstance(message, Put) and not self.answers_puts:
            return self._noted(self.membership.receive(header, message, source, now, multicast=multicast), now)
        return super().receive(header, message, source, now, multicast=multicast)


class StoreLink(StoreLinkOf[StoreHost]):
    """A link of them."""

    def __init__(
        self, policy: str, *, seed: int = 1, config: StoreConfig = QUICK, table: TableConfig | None = None
    ) -> None:
        super().__init__(policy, seed=seed, config=config, table=table)

    def make(self, number: int, membership: Membership) -> StoreHost:
        rng = store_chance(self.seed, number, membership)
        return StoreHost(number, membership, self.policy, self.store_config, self.table, rng)

    def bulk_passes(self, host: StoreHost, other: StoreHost) -> bool:
        return other.bulk_works and super().bulk_passes(host, other)

    def fill_key(self, number: int, at: StoreHost, writers: bytes, *, every_s: float = 0.0, size: int = 20) -> None:
        """Put a record of each writer, who is a byte, under one key."""
        for writer in writers:
            self.put(at, record(number, writer=bytes([writer]) * 32, size=size))
            if every_s:
                self.run(every_s)

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
