"""Throughput in the sense of RFC 2544 (section 26.1): the highest rate at which nothing is lost, sender by the clock.

The router has a processor of its own, and what is sent does not wait for what comes back. That is how a node is used,
but it leans on how two processors share their caches, and on nobody else taking one of them.
"""

import math
from typing import Final, Self

import msgspec

from netserv.bench import orders
from netserv.bench.configurations import BASE, Configuration
from netserv.bench.measuring import (
    LOSS_MAX,
    WINDOW,
    Machine,
    NodeThere,
    Progress,
    Settings,
    installed,
    notifies,
    place,
)
from netserv.bench.results import Throughput
from netserv.forwarding.base import DEADLINE_S

FIRST_PER_S: Final = 300_000.0
"To be tried first; in later rounds, what was found before."
LEAST_PER_S: Final = 5_000.0
MOST_PER_S: Final = 4_000_000.0
"What the sender reaches with 64 bytes."
STEP: Final = 1.5
"Until there is a rate that passes and one that does not."
CLOSE: Final = 1.04
"The rate found passes, and this many times as much does not."
TRIALS: Final = 16
"In the time for one number, or nearly: steps and halvings, and what is tried again."
SHORTEST_S: Final = 0.06
"Of a trial: the kernel takes a third of it to begin."
TRIES: Final = 3
"Of a rate at which something is lost, since others who take a processor for some milliseconds have packets lost."
CLEAR_LOSS: Final = 0.03
"So much is lost by the router itself: once is enough."
DOUBTS: Final = 3
"How often what did not pass is tried once more at the end: others may have been at work for longer."
SLOW: Final = 0.97
"Of what it was told, the sender must send at least so much."


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """For the highest rate that passes: by steps until it lies between two that were tried, then by halving."""

    first: float
    passes: float = 0.0
    "0: none has."
    fails: float = math.inf

    @property
    def ended(self) -> bool:
        """Whether the bounds are close enough to each other, or to the ends of what is searched."""
        return self.fails <= max(self.passes * CLOSE, LEAST_PER_S) or self.passes >= MOST_PER_S

    def rate(self) -> float:
        """What to try next."""
        if not self.passes:
            wanted = self.first if math.isinf(self.fails) else self.fails / STEP
        else:
            wanted = self.passes * STEP if math.isinf(self.fails) else math.sqrt(self.passes * self.fails)
        return min(max(wanted, LEAST_PER_S), MOST_PER_S)

    def after(self, rate: float, *, passed: bool) -> Self:
        """What is known after a rate has been tried."""
        return msgspec.structs.replace(self, **{"passes" if passed else "fails": rate})

    def doubted(self) -> Self:
        """What is known when a rate that did not pass has passed after all."""
        return msgspec.structs.replace(self, passes=self.fails, fails=math.inf)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a rate."""

    packets_per_s: float
    "Really sent."
    lost: float


async def throughputs(built: Machine, settings: Settings, progress: Progress) -> list[Throughput]:
    """Of each configuration, each after configuration 2 of the same round.

    Raises:
        SystemRefusedError: the kernel does not give what is needed.
    """
    rows: list[Throughput] = []
    found: dict[tuple[str, str, int], float] = {}
    for number in range(1, settings.rounds + 1):
        for size in settings.sizes:
            base = 0.0
            for configuration, node in sorted(built.ways(), key=lambda way: way[0] is not BASE):
                if size not in configuration.sizes:
                    continue
                progress(f"round {number}: throughput, {size} bytes, {place(node)}{configuration.name}")
                plane = node.plane if node is not None else "none"
                first = found.get((plane, configuration.name, size), FIRST_PER_S)
                async with installed(configuration, node):
                    way = _Way(built, configuration, node, size, max(settings.seconds / TRIALS, SHORTEST_S))
                    best, bounded = await way.search(first)
                base = base or best.packets_per_s
                found[plane, configuration.name, size] = best.packets_per_s or FIRST_PER_S
                rows.append(
                    Throughput(
                        plane=plane,
                        configuration=configuration.name,
                        bytes=size,
                        round=number,
                        packets_per_s=best.packets_per_s,
                        ratio=best.packets_per_s / base if base else 0.0,
                        lost=best.lost,
                        bounded=bounded,
                    )
                )
    return rows


class _Way:
    """A configuration, as it is installed."""

    def __init__(
        self, built: Machine, configuration: Configuration, node: NodeThere | None, size: int, seconds: float
    ) -> None:
        self._ends = built.scene(configuration, node).ends
        self._counts = node if configuration.answers else None
        self._size, self._seconds, self._notify = size, seconds, notifies(configuration)

    async def search(self, first: float) -> tuple[Trial, bool]:
        """The best trial that passed, and whether the sender could do no more."""
        search = Search(first=first)
        best = Trial(packets_per_s=0.0, lost=0.0)
        doubts = 0
        while True:
            doubt = search.ended
            rate = search.fails if doubt else search.rate()
            trial = await self._try_often(rate)
            passed = trial.lost < LOSS_MAX
            best = trial if passed else best
            sent = min(rate, trial.packets_per_s)
            if passed and rate >= MOST_PER_S:
                return best, True
            if passed and sent < SLOW * rate and sent <= search.passes * CLOSE:
                return best, math.isinf(search.fails)
            if not doubt:
                search = search.after(sent if passed else rate, passed=passed)
            elif passed and doubts < DOUBTS:
                doubts, search = doubts + 1, search.doubted()
            else:
                return best, False

    async def _try_often(self, rate: float) -> Trial:
        for _ in range(TRIES):
            trial = await self._try(rate)
            slow = trial.packets_per_s < SLOW * rate
            if trial.lost >= CLEAR_LOSS or (trial.lost < LOSS_MAX and not slow):
                break
        return trial

    async def _try(self, rate: float) -> Trial:
        before = await self._counts.treated() if self._counts is not None else 0
        order = orders.Offer(seconds=self._seconds, bytes=self._size, notify=self._notify, packets_per_s=rate)
        said = await self._ends.ask(order, orders.Offered, order.seconds)
        if not said.sent:
            return Trial(packets_per_s=0.0, lost=1.0)
        treated = said.came
        if self._counts is not None:
            treated = min(treated, await self._counts.treated() - before)
        return Trial(packets_per_s=said.sent / said.seconds, lost=1 - (treated - late(said)) / said.sent)


def late(said: orders.Offered) -> int:
    """Packets that came, but had gathered in queues: a longer trial would have lost them.

    Those are no such packets that a module may have in its hands, nor a window of them.
    """
    usual = WINDOW + int(said.sent / said.seconds * DEADLINE_S)
    return max(0, said.under_way - usual - (said.sent - said.came))
