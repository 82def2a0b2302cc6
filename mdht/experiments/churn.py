"""Experiment 1: what the overlay notices of hosts that come and go (thesis 3.4).

Shipped hosts over Chord on virtual time. In model A each is replaced in its own subnet, where somebody else lives, and
nothing may change in any table; in model B in a random subnet, so that about one subnet in e^k is empty. Which share of
the deaths leave a subnet empty is also counted without the protocol, of as many as that takes.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.churn_run import Churn, ChurnRun, Model, count_emptied
from mdht.experiments.interval import estimate, percent, plain

SAME, RANDOM, COUNTED = Model.SAME.value, Model.RANDOM.value, "B, counted"
PLAIN: Final = 0
"In place of the size of a subnet: each host is a subnet of one."
HOSTS: Final = 100
SHORT_HOSTS: Final = 40
SAME_MEDIANS_MIN: Final = {2: (5.0, 60.0), 5: (5.0,), 10: (5.0,)}
"By the size of a subnet."
SAME_S: Final = {5.0: 400.0, 60.0: 600.0}
"By the median."
RANDOM_MEDIAN_MIN: Final = 5.0
RANDOM_S: Final = {PLAIN: 300.0, 1: 300.0, 2: 400.0, 5: 600.0, 10: 400.0}
SHORT_S: Final = 40.0
SHORT_MEDIAN_MIN: Final = 1.4
SHORT_SAME: Final = (5,)
SHORT_RANDOM: Final = (PLAIN, 1, 5)
COUNTED_HOSTS: Final = 1000
COUNTED_DEATHS: Final = {1: 10_000, 2: 10_000, 5: 100_000, 10: 500_000}
TOLERANCE: Final = 0.1
TOLD_MAX: Final = 5
"Beyond this size the share is told as at most `FEW`, for few are to be expected."
FEW: Final = 0.0001
ENOUGH: Final = 50
"Dead nodes that make a number out of their share."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    part: str
    size: int
    hosts: int
    median_min: float = RANDOM_MEDIAN_MIN
    duration_s: float = 0.0
    deaths: int = 0
    "Of hosts, where they are only counted."


def empty_share(settings: Settings) -> float:
    """Which share of the deaths leaves nobody, as many hosts as there are: e^-k where there are infinitely many."""
    subnets = settings.hosts / settings.size
    return (1.0 - 1.0 / subnets) ** (settings.hosts - 1)


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    counted = [
        Settings(part=COUNTED, size=size, hosts=COUNTED_HOSTS, deaths=deaths) for size, deaths in COUNTED_DEATHS.items()
    ]
    if short:
        parts = [(SAME, size) for size in SHORT_SAME] + [(RANDOM, size) for size in SHORT_RANDOM]
        some = [
            Settings(part=part, size=size, hosts=SHORT_HOSTS, median_min=SHORT_MEDIAN_MIN, duration_s=SHORT_S)
            for part, size in parts
        ]
        return [*some, *counted]
    same = [
        Settings(part=SAME, size=size, hosts=HOSTS, median_min=median, duration_s=SAME_S[median])
        for size, medians in SAME_MEDIANS_MIN.items()
        for median in medians
    ]
    random = [Settings(part=RANDOM, size=size, hosts=HOSTS, duration_s=each) for size, each in RANDOM_S.items()]
    return [*same, *random, *counted]


def _run(settings: Settings, seed: int) -> list[Row]:
    row: Row = dict.fromkeys(COLUMNS, None)
    row |= {"seed": seed, "part": settings.part, "size": settings.size, "hosts": settings.hosts}
    if settings.part == COUNTED:
        rng = Random(f"counted {seed} {settings.size}")
        emptied = count_emptied(settings.hosts, settings.hosts // settings.size, settings.deaths, rng)
        return [row | {"deaths": settings.deaths, "node_deaths": emptied, "expected": empty_share(settings)}]
    model = Model(settings.part)
    churn = Churn(hosts=settings.hosts, size=settings.size, median_s=60.0 * settings.median_min, model=model)
    run = ChurnRun(churn, seed)
    run.settle()
    before = run.net.structural_changes
    run.begin()
    run.net.run(settings.duration_s)
    row |= {"median_min": settings.median_min, "deaths": run.deaths, "node_deaths": run.node_deaths}
    row |= {"changes": run.net.structural_changes - before, "unexplained": run.net.unexplained}
    row |= {"spared": run.spared, "apart": run.apart}
    if model is Model.RANDOM:
        row["expected"] = empty_share(settings) if settings.size else 1.0
    return [row]


# ---- what they show ------------------------------------------------------------------------------------------------


def _share(rows: Sequence[Row], what: str = "node_deaths") -> float:
    return sum(numbers(rows, what)) / max(1.0, sum(numbers(rows, "deaths")))


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "Deaths of hosts that the overlay notices"
    drawing, plot = plotting.axes(title, "hosts in a subnet, on average", "dead nodes per dead host")
    sizes = list(COUNTED_DEATHS)
    plot.plot(sizes, [math.exp(-size) for size in sizes], color=plotting.GREY, linestyle="--", label="e^-k")
    for part, label, colour in (
        (RANDOM, "with the protocol", plotting.COLOURS[0]),
        (COUNTED, "counted", plotting.COLOURS[1]),
    ):
        of = [row for row in chosen(rows, part=part) if row["size"]]
        shares = [(size, _share(chosen(of, size=size))) for size in values(of, "size")]
        seen = [(size, share) for size, share in shares if share]
        plot.plot(*zip(*seen, strict=True) if seen else ([], []), color=colour, marker="o", linestyle="", label=label)
    if chosen(rows, part=RANDOM, size=PLAIN):
        changes = [(size, _by_plain(rows, size)) for size in sizes if chosen(rows, part=RANDOM, size=size)]
        seen = [(size, share) for size, share in changes if share]
        label = "changes in tables, by those of the plain overlay"
        style = {"color": plotting.COLOURS[2], "marker": "s", "linestyle": ""}
        plot.plot(*zip(*seen, strict=True) if seen else ([], []), label=label, **style)
    plot.set_yscale("log")
    plot.set_xticks(sizes)
    plot.legend(fontsize=8)
    return drawing


def _by_plain(rows: Sequence[Row], size: int) -> float:
    mine = _share(chosen(rows, part=RANDOM, size=size), "changes")
    return mine / max(1e-9, _share(chosen(rows, part=RANDOM, size=PLAIN), "changes"))


def _findings(rows: Sequence[Row]) -> list[Finding]:
    same = chosen(rows, part=SAME)
    found = [
        _of_same(chosen(same, size=size, median_min=median))
        for size in values(same, "size")
        for median in values(chosen(same, size=size), "median_min")
    ]
    for part in (RANDOM, COUNTED):
        of = chosen(rows, part=part)
        found += [_of_random(chosen(of, size=size)) for size in values(of, "size") if size]
    plain_rows = chosen(rows, part=RANDOM, size=PLAIN)
    sizes = [size for size in values(chosen(rows, part=RANDOM), "size") if size]
    if plain_rows:
        found += [_of_changes(rows, size) for size in sizes]
    apart = [(size, estimate(numbers(chosen(rows, part=RANDOM, size=size), "apart"))) for size in sizes]
    found += [Finding(f"B, k = {size}: hosts in rings apart", "", each.text(percent), None) for size, each in apart]
    return found


def _of_same(rows: Sequence[Row]) -> Finding:
    first = rows[0]
    changes, deaths = (sum(row[name] for row in rows) for name in ("changes", "deaths"))
    times, dead = (sum(row[name] for row in rows) for name in ("unexplained", "node_deaths"))
    what = f"A, k = {first['size']}, median {first['median_min']:g} min: structural changes while k >= 1"
    measured = f"{changes} at {times} times, in {deaths:,} deaths of hosts, {dead} of nodes"
    return Finding(what, "0", measured, changes == 0)


def _of_random(rows: Sequence[Row]) -> Finding:
    first = rows[0]
    size, dead = first["size"], sum(row["node_deaths"] for row in rows)
    share, wanted = _share(rows), math.exp(-size)
    seeds = estimate([_share([row]) for row in rows])
    measured = f"{seeds.text(percent)} ({dead:,} of {sum(row['deaths'] for row in rows):,})"
    what = f"{first['part']}, k = {size}: dead nodes / dead hosts, {first['hosts']:,} hosts"
    if size > TOLD_MAX:
        return Finding(what, f"below {percent(FEW)}", measured, share < FEW)
    few = wanted * sum(row["deaths"] for row in rows) < ENOUGH
    holds = None if few else abs(share / wanted - 1.0) <= TOLERANCE
    finite = percent(first["expected"])
    return Finding(what, f"{percent(wanted)} ± 10 % of it ({finite} of so many hosts)", measured, holds)


def _of_changes(rows: Sequence[Row], size: int) -> Finding:
    mine, other = chosen(rows, part=RANDOM, size=size), chosen(rows, part=RANDOM, size=PLAIN)
    share, wanted = _by_plain(rows, size), math.exp(-size)
    each = estimate([_share([row], "changes") for row in mine]), estimate([_share([row], "changes") for row in other])
    per_node = [sum(numbers(of, "changes")) / max(1.0, sum(numbers(of, "node_deaths"))) for of in (mine, other)]
    measured = (
        f"{percent(share)} ({each[0].text(plain)} by {each[1].text(plain)}; "
        f"per dead node {per_node[0]:.0f} by {per_node[1]:.0f})"
    )
    what = f"B, k = {size}: changes in tables per dead host, by those of the plain overlay"
    if size > TOLD_MAX:
        return Finding(what, f"below {percent(FEW)}", measured, share < FEW)
    few = wanted * sum(row["deaths"] for row in mine) < ENOUGH
    return Finding(
        what, f"{percent(wanted)} ± 10 % of it", measured, None if few else abs(share / wanted - 1.0) <= TOLERANCE
    )


COLUMNS: Final = (
    *("seed", "part", "size", "hosts", "median_min", "deaths", "node_deaths", "expected"),
    *("changes", "unexplained", "spared", "apart"),
)

CHURN: Final = Experiment(
    number=1,
    name="churn",
    claim="While a host of a node lives the overlay notices nothing of those that come and go, and few nodes die.",
    takes="30 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
