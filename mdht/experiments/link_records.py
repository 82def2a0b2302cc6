"""Records on a link that loses packets: hosts crash and come back empty, and the link is split, while they are kept.

Shipped memberships and sibling stores; three hosts hold a copy of each record (`fixed:3`).
"""

from random import Random
from typing import Final

import msgspec

from mdht.experiments.base import Row
from mdht.experiments.link_faults import SPLIT_S, UNICAST_SHARE, WAIT_MAX_S
from mdht.experiments.store_run import StoreHost, StoreLink, key_of, record
from mdht.subnet.messages import AckStatus
from mdht.wire import known_copy

CRASHES, SPLITS = "records, crashes", "records, splits"
POLICY: Final = "fixed:3"
PUT_EVERY_S: Final = 0.02
PUT_TRIES: Final = 5
"A put that is refused, or of which nothing is heard, is made again, as its writer does."
ANSWER_S: Final = 3.0
CRASH_EVERY_S: Final = 20.0
BACK_AFTER_S: Final = 7.0
"As in experiment 13."
LOOK_S: Final = 0.5
COLUMNS: Final = ("events", "records", "lost", "stale", "unfound", "placed_s")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One link."""

    part: str
    hosts: int
    loss: float
    "Of multicast."
    records: int
    events: int
    "Crashes, or splits."


class Kept:
    """A link, and the records that its hosts have acknowledged.

    Args:
        settings: of the link.
        seed: of all chance.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self.link = StoreLink(POLICY, seed=seed)
        self.link.begun(settings.hosts)
        self.link.multicast_loss = settings.loss
        self.link.unicast_loss = UNICAST_SHARE * settings.loss
        self.latest: dict[int, int] = {}
        self.rng = Random(f"{settings.part} records {seed} {settings.loss}")

    def put(self, numbers: range, seq: int = 1, at: list[StoreHost] | None = None) -> None:
        """Put a record under each key of these numbers at hosts drawn, and wait until all are acknowledged."""
        left = list(numbers)
        for _ in range(PUT_TRIES):
            answers = {}
            for number in left:
                host = self.rng.choice(at or self.link.staying)
                answers[number] = self.link.put(host, record(number, seq))
                self.link.run(PUT_EVERY_S)
            self.link.run(ANSWER_S)
            stored = [number for number in left if AckStatus.STORED in answers[number]]
            self.latest.update(dict.fromkeys(stored, seq))
            left = [number for number in left if number not in stored]
            if not left:
                return

    def missing(self) -> tuple[int, int]:
        """Acknowledged records that nobody holds any more, and those of which only an older version is held."""
        lost = stale = 0
        for number, seq in self.latest.items():
            held = [self._seq(host, number) for host in self.link.living]
            lost += not any(held)
            stale += 0 < max(held, default=0) < seq
        return lost, stale

    def unfound(self) -> int:
        """Records that a host drawn does not find in its latest version."""
        asked = []
        for number, seq in self.latest.items():
            results = self.link.get(self.rng.choice(self.link.staying), key_of(number))
            asked.append((number, seq, results))
            self.link.run(PUT_EVERY_S)
        self.link.run(ANSWER_S)
        return sum(not any(_holds(result.records, number, seq) for result in got) for number, seq, got in asked)

    def placed_s(self) -> float | None:
        """How long it takes until each record is at the three hosts that are to hold it, in its latest version."""
        began = self.link.now
        keys = {key_of(number) for number in self.latest}
        while self.link.misplaced(keys) or not self._all_latest():
            if self.link.now - began >= WAIT_MAX_S:
                return None
            self.link.run(LOOK_S)
        return self.link.now - began

    def _all_latest(self) -> bool:
        return all(
            self._seq(host, number) in {0, seq} for number, seq in self.latest.items() for host in self.link.staying
        )

    def _seq(self, host: StoreHost, number: int) -> int:
        return max((copy.record.seq for copy in host.store.stock.table.get(key_of(number), self.link.now)), default=0)


def _holds(records: tuple[bytes, ...], number: int, seq: int) -> bool:
    copies = [known_copy(data) for data in records]
    return any((copy.record.key, copy.record.seq) == (key_of(number), seq) for copy in copies)


def run(settings: Settings, seed: int) -> list[Row]:
    """One link, and what becomes of its records."""
    kept = Kept(settings, seed)
    kept.put(range(settings.records))
    placed_s = _crashes(kept, settings) if settings.part == CRASHES else _splits(kept, settings)
    lost, stale = kept.missing()
    row: Row = {"seed": seed} | {name: getattr(settings, name) for name in ("part", "hosts", "loss", "events")}
    measured = {"records": len(kept.latest), "lost": lost, "stale": stale, "unfound": kept.unfound()}
    return [row | measured | {"placed_s": placed_s}]


def _crashes(kept: Kept, settings: Settings) -> float | None:
    """One host after the other crashes, with all that it holds, and is started again."""
    for _ in range(settings.events):
        victim = kept.rng.choice(kept.link.staying)
        kept.link.crash(victim)
        kept.link.run(BACK_AFTER_S)
        kept.link.restart(victim)
        kept.link.run(CRASH_EVERY_S - BACK_AFTER_S)
    return kept.placed_s()


def _splits(kept: Kept, settings: Settings) -> float | None:
    """The link is split, new records are put on one side, some are replaced on the other; and it is whole again."""
    link, longest = kept.link, 0.0
    for event in range(settings.events):
        apart = kept.rng.sample(link.staying, settings.hosts // 2)
        for host in apart:
            host.side = 1
        link.run(SPLIT_S / 2)
        fresh = settings.records * (event + 1)
        kept.put(range(fresh, fresh + settings.records // 10), at=apart)
        kept.put(range(settings.records // 10), 2 + event, [host for host in link.staying if host not in apart])
        link.run(SPLIT_S / 2)
        for host in apart:
            host.side = 0
        placed_s = kept.placed_s()
        if placed_s is None:
            return None
        longest = max(longest, placed_s)
    return longest
