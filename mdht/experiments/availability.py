"""Experiment 3: how long a node is away whose hosts are switched on and off (thesis 3.4).

A host is on for exponential times of a median t_med, and off for exponential times such that it is on for a share a of
the time (model C). A node is away while none of its hosts is READY. Shipped hosts over Chord, some of the nodes like
that among others that stay; and the same periods without any protocol, for what is too rare or too common for that.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.churn_run import config, tau_s
from mdht.experiments.internet import Internet
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.quantile import quantile
from mdht.experiments.sim_core import OVERLAY
from mdht.experiments.sim_host import SimHost

PROTOCOL, COUNTED = "protocol", "counted"
MEDIAN_MIN: Final = 5.0
"Of the times that a host is on."
SHARES: Final = (0.5, 0.8, 0.9)
SIZES: Final = tuple(range(1, 9))
POINTS: Final = ((0.5, 1), (0.5, 2), (0.5, 3), (0.8, 1), (0.8, 2), (0.9, 1))
"With the protocol: shares of the time that a host is on, and hosts of a node."
NODES: Final = 3
"Of each of these points, in one overlay."
STEADY_NODES: Final = 8
"With two hosts each that stay."
PROTOCOL_S: Final = 3600.0
SHORT_POINTS: Final = ((0.5, 1), (0.5, 2), (0.8, 1))
SHORT_S: Final = 600.0
WARM_S: Final = 60.0
COUNTED_PERIODS: Final = 50_000
SHORT_PERIODS: Final = 5_000
"Of all hosts of a node, in which they are on and off once."
BACK_S: Final = 60.0
"A node that was away is in the ring of the others after so long, if it still lives."
TOLERANCE: Final = 0.2
ENOUGH: Final = 100
"Outages that make a number out of their time."
FIRST: Final = 1000
"Links of nodes whose hosts come and go have numbers from here on."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All points at once, with the protocol; or one of them without."""

    part: str
    points: tuple[tuple[float, int], ...]
    duration_s: float = 0.0
    periods: int = 0


def off_s(share: float) -> float:
    """How long a host is off on average that is on for a share of the time."""
    return tau_s(60.0 * MEDIAN_MIN) * (1.0 - share) / share


# ---- without the protocol ------------------------------------------------------------------------------------------


def count_away(share: float, size: int, periods: int, rng: Random) -> tuple[float, int, float]:
    """How long none of the hosts was on, how often that began, and of how much time."""
    on_s, total_s = tau_s(60.0 * MEDIAN_MIN), 0.0
    away_s, outages = 0.0, 0
    on = sum(rng.random() < share for _ in range(size))
    for _ in range(2 * periods):
        # All periods are exponential, so the next one to end is any of them, whatever was before.
        falls, rises = on / on_s, (size - on) / off_s(share)
        lasts_s = rng.expovariate(falls + rises)
        total_s += lasts_s
        away_s += 0.0 if on else lasts_s
        on += -1 if rng.random() * (falls + rises) < falls else 1
        outages += not on
    return away_s, outages, total_s


# ---- with the protocol ---------------------------------------------------------------------------------------------


class Away(msgspec.Struct, frozen=True):
    """One node."""

    away_s: float
    "None of its hosts was READY."
    off_s: float
    "None of them was even on."
    outages: int


class OnOff:
    """Nodes whose hosts come and go, among others that stay.

    Attributes:
        net: where.
        rejoins: how long hosts took until they were READY.
        back: nodes that were looked at some time after they were away.
        astray: those that then had another identity, or were in another ring than most.
    """

    def __init__(self, points: Sequence[tuple[float, int]], seed: int) -> None:
        self.net = Internet(seed, config(), strict=False)
        self.rejoins: list[float] = []
        self.back = self.astray = 0
        self._points = points
        self._rng = Random(f"{seed} on and off")
        self._judged = 0
        self._off_since: dict[int, float] = {}
        self._off_s: defaultdict[int, float] = defaultdict(float)

    def settle(self) -> None:
        """Start the nodes that stay, then all others, each host on or off as it is at any time."""
        steady = [self._add(link) for link in range(STEADY_NODES) for _ in range(2)]
        others = [(share, self._add(link)) for link, (share, size) in self.links().items() for _ in range(size)]
        self.net.run(WARM_S)  # so that each remembers its subnet
        if not all(host.ready for host in steady):
            raise AssertionError(f"seed {self.net.seed}: a host that stays is not READY")
        for share, host in others:
            if self._rng.random() < share:
                self._on_for_now(share, host)
            else:
                self._end(share, host)
        self.net.node_events.clear()
        self.rejoins.clear()

    def links(self) -> dict[int, tuple[float, int]]:
        """Those of nodes that come and go."""
        points = [point for point in self._points for _ in range(NODES)]
        return {FIRST + number: point for number, point in enumerate(points)}

    def run(self, seconds: float) -> dict[int, Away]:
        """How long each node was away."""
        begin, end = self.net.now, self.net.now + seconds
        alive = {link: any(host.ready for host in self.net.links.get(link, {}).values()) for link in self.links()}
        self._off_s.clear()
        self._off_since = {link: begin for link in self.links() if link not in self.net.links}
        while self.net.now < end:
            self.net.run(1.0)
            self._look_back()
        found = {}
        for link, born in alive.items():
            events = [(time, up) for time, where, up in self.net.node_events if where == link]
            away_s, since, outages = 0.0, None if born else begin, 0
            for time, up in events:
                away_s += time - since if up and since is not None else 0.0
                since = None if up else time
                outages += not up
            off_s = self._off_s[link] + end - self._off_since.get(link, end)
            found[link] = Away(away_s + end - (end if since is None else since), off_s, outages)
        return found

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _add(self, link: int) -> SimHost:
        host = self.net.add(link)
        self.net.run(0.3)
        return host

    def _on_for_now(self, share: float, host: SimHost) -> None:
        lasts_s = self._rng.expovariate(1.0 / tau_s(60.0 * MEDIAN_MIN))
        self.net.at(self.net.now + lasts_s, partial(self._end, share, host))

    def _end(self, share: float, host: SimHost) -> None:
        if not math.isinf(host.ready_at):
            self.rejoins.append(host.ready_at - host.born_at)
        self.net.crash(host)
        if host.link not in self.net.links:
            self._off_since[host.link] = self.net.now
        self.net.at(self.net.now + self._rng.expovariate(1.0 / off_s(share)), partial(self._again, share, host))

    def _again(self, share: float, host: SimHost) -> None:
        self._off_s[host.link] += self.net.now - self._off_since.pop(host.link, self.net.now)
        self._on_for_now(share, self.net.restart(host))

    def _look_back(self) -> None:
        """Nodes that came back some time ago: are they what they were, and where?"""
        events = self.net.node_events
        while self._judged < len(events) and events[self._judged][0] <= self.net.now - BACK_S:
            _, link, born = events[self._judged]
            self._judged += 1
            later = any(where == link for _, where, _ in events[self._judged :])
            if born and not later:
                self.back += 1
                self.astray += not self._is_home(link)

    def _is_home(self, link: int) -> bool:
        ring = next(_ring(host) for host in self.net.links[0].values())
        return all(
            host.core is not None
            and host.core.subnet is not None
            and host.core.subnet.identity.node_id(OVERLAY) == self.net.node_id(link)
            and _ring(host) == ring
            for host in self.net.links[link].values()
            if host.ready
        )


def _ring(host: SimHost) -> bytes | None:
    return None if host.core is None or host.core.part is None else host.core.part.step.ring_id


# ---- the experiment ------------------------------------------------------------------------------------------------


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    whole = Settings(
        part=PROTOCOL, points=SHORT_POINTS if short else POINTS, duration_s=SHORT_S if short else PROTOCOL_S
    )
    periods = SHORT_PERIODS if short else COUNTED_PERIODS
    points = [(share, size) for share in SHARES for size in SIZES]
    return [whole, *(Settings(part=COUNTED, points=(point,), periods=periods) for point in points)]


def _run(settings: Settings, seed: int) -> list[Row]:
    if settings.part == COUNTED:
        ((share, size),) = settings.points
        rng = Random(f"{seed} away {share} {size}")
        away_s, outages, total_s = count_away(share, size, settings.periods * size, rng)
        return [_row(settings.part, seed, (share, size), Away(away_s, away_s, outages), total_s)]
    overlay = OnOff(settings.points, seed)
    overlay.settle()
    found = overlay.run(settings.duration_s)
    rows = []
    for point in settings.points:
        of = [found[link] for link, each in overlay.links().items() if each == point]
        away_s, off_s = sum(each.away_s for each in of), sum(each.off_s for each in of)
        away = Away(away_s, off_s, sum(each.outages for each in of))
        rows.append(_row(settings.part, seed, point, away, len(of) * settings.duration_s))
    rows[0] |= {"back": overlay.back, "astray": overlay.astray}
    if overlay.rejoins:
        rows[0] |= {"rejoin_p50_s": quantile(overlay.rejoins, 0.5), "rejoin_p95_s": quantile(overlay.rejoins, 0.95)}
    return rows


def _row(part: str, seed: int, point: tuple[float, int], away: Away, total_s: float) -> Row:
    share, size = point
    row: Row = dict.fromkeys(COLUMNS, None)
    row |= {"seed": seed, "part": part, "share": share, "size": size, "wanted": (1.0 - share) ** size}
    row |= {"away": away.away_s / total_s, "off": away.off_s / total_s}
    return row | {"outages": away.outages, "hours": total_s / 3600.0}


def _away(rows: Sequence[Row], what: str = "away") -> float:
    return sum(float(row[what] * row["hours"]) for row in rows) / sum(numbers(rows, "hours"))


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    drawing, plot = plotting.axes("Time in which no host of a node can answer", "hosts of the node", "share of time")
    for share, colour in zip(SHARES, plotting.COLOURS, strict=False):
        plot.plot(SIZES, [(1.0 - share) ** size for size in SIZES], color=colour, linestyle="--", linewidth=0.8)
        for part, marker in ((PROTOCOL, "s"), (COUNTED, "o")):
            of = chosen(rows, part=part, share=share)
            shares = [(size, _away(chosen(of, size=size))) for size in values(of, "size")]
            seen = [(size, away) for size, away in shares if away]
            label = f"a = {share:g}, {part}"
            plot.plot(*zip(*seen, strict=True) if seen else ([], []), marker, color=colour, markersize=5, label=label)
    plot.set_yscale("log")
    plot.legend(fontsize=8)
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for part in (PROTOCOL, COUNTED):
        for share in sorted(values(chosen(rows, part=part), "share")):
            of = chosen(rows, part=part, share=share)
            found += [_of_point(chosen(of, size=size)) for size in values(of, "size")]
    of = [row for row in rows if row["back"] is not None]
    if of:
        back, astray = (sum(row[name] for row in of) for name in ("back", "astray"))
        what = f"nodes that were away, {BACK_S:g} s later: their identity, in the others' ring"
        found.append(Finding(what, "all", f"{back - astray} of {back}", astray == 0))
    times = [row for row in of if row["rejoin_p50_s"] is not None]
    if times:
        p50, p95 = (estimate(numbers(times, name)) for name in ("rejoin_p50_s", "rejoin_p95_s"))
        found.append(Finding("from start to READY, p50, p95", "", f"{p50.text(plain)}, {p95.text(plain)} s", None))
    return found


def _of_point(rows: Sequence[Row]) -> Finding:
    first = rows[0]
    wanted, away = first["wanted"], _away(rows)
    outages = sum(row["outages"] for row in rows)
    holds = abs(away / wanted - 1.0) <= TOLERANCE if outages >= ENOUGH else None
    off = f", no host on {percent(_away(rows, 'off'))}" if first["part"] == PROTOCOL else ""
    measured = f"{estimate(numbers(rows, 'away')).text(percent)} ({outages:,} outages{off})"
    what = f"{first['part']}, a = {first['share']:g}, k = {first['size']}: share of time away"
    return Finding(what, f"{percent(wanted)} ± 20 % of it", measured, holds)


COLUMNS: Final = (
    *("seed", "part", "share", "size", "wanted", "away", "off", "outages", "hours"),
    *("back", "astray", "rejoin_p50_s", "rejoin_p95_s"),
)

AVAILABILITY: Final = Experiment(
    number=3,
    name="availability",
    claim="A node of k hosts that are each there for a share a of the time is away for (1-a)^k of it.",
    takes="10 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
