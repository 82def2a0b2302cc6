"""Experiment 2: whether lookups find the right node while hosts die (thesis 3.4).

The test of Rhea et al. (2004): every so often ten hosts, chosen at random, look for the same key. A lookup is right
when it names the live node that the key belongs to, within ten seconds. Hosts are replaced in random subnets (model B).
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.ids import ID_BITS, NodeRef
from mdht.experiments.asking import find_owner
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.churn_run import Churn, ChurnRun, Meter
from mdht.experiments.internet import Internet
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.sim_host import SimHost

PLAIN: Final = 0
"In place of the size of a subnet: each host is a subnet of one."
SIZE: Final = 5
HOSTS: Final = 100
SHORT_HOSTS: Final = 40
ASKERS: Final = 10
EVERY_S: Final = 1.0
WITHIN_S: Final = 10.0
"A lookup that has not come back by then has failed."
MEDIANS_MIN: Final = (1.4, 5.0, 10.0, 60.0)
SHORT_MEDIANS_MIN: Final = (1.4,)
WARM_S: Final = 60.0
"Of churn, before the first lookup."
MEASURED_S: Final = 120.0
SHORT_WARM_S: Final = 10.0
SHORT_MEASURED_S: Final = 30.0
FAST_MIN: Final = 1.4
RATIO_MAX: Final = 0.1
FAILED_MAX: Final = 0.001
CALM_MIN: Final = 10.0
"`FAILED_MAX` is claimed from this median on."
BYTES_MAX: Final = 900.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One overlay."""

    size: int
    median_min: float
    hosts: int
    warm_s: float
    measured_s: float


class Tally:
    """Counts lookups.

    Attributes:
        asked: lookups of hosts that lived to see the end.
        wrong: those that came to another node.
        silent: those that came to none.
        tests: keys.
        agreed: keys for which all lookups were right.
    """

    def __init__(self, net: Internet, rng: Random) -> None:
        self.asked = self.wrong = self.silent = self.tests = self.agreed = 0
        self._net = net
        self._rng = rng

    def test(self) -> None:
        """Have ten hosts look for one key, and see in ten seconds what has come of it."""
        net = self._net
        key = self._rng.getrandbits(ID_BITS)
        ready = [host for host in net.hosts.values() if host.ready]
        hosts = self._rng.sample(ready, min(ASKERS, len(ready)))
        right_before = net.responsible(key)
        found: dict[int, bool] = {}
        for host in hosts:
            self._ask(host, key, right_before, found)
        net.at(net.now + WITHIN_S, lambda: self._judge(hosts, found))

    def _ask(self, host: SimHost, key: int, right_before: int | None, found: dict[int, bool]) -> None:
        def on_owner(node: NodeRef | None, _hops: int, _now: float) -> None:
            named = self._net.node_id(host.link) if node is None else node.id
            # The node may have died, or another may have come before it, while the answer was on its way.
            found.setdefault(host.number, named in {right_before, self._net.responsible(key)})

        find_owner(self._net, host, key, on_owner)

    def _judge(self, hosts: Sequence[SimHost], found: dict[int, bool]) -> None:
        results = [found.get(host.number) for host in hosts if host.core is not None or host.number in found]
        self.tests += 1
        self.asked += len(results)
        self.wrong += results.count(False)
        self.silent += results.count(None)
        self.agreed += all(results)


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    return [
        Settings(
            size=size,
            median_min=median,
            hosts=SHORT_HOSTS if short else HOSTS,
            warm_s=SHORT_WARM_S if short else WARM_S,
            measured_s=SHORT_MEASURED_S if short else MEASURED_S,
        )
        for median in (SHORT_MEDIANS_MIN if short else MEDIANS_MIN)
        for size in (SIZE, PLAIN)
    ]


def _run(settings: Settings, seed: int) -> list[Row]:
    churn = Churn(hosts=settings.hosts, size=settings.size, median_s=60.0 * settings.median_min)
    run = ChurnRun(churn, seed)
    run.settle()
    run.begin()
    run.net.run(settings.warm_s)
    meter = Meter()
    run.net.on_sent = meter.on_sent
    tally = Tally(run.net, Random(f"{seed} keys {settings.median_min}"))
    begin, tests = run.net.now, int(settings.measured_s / EVERY_S)
    for number in range(tests):
        run.net.at(begin + number * EVERY_S, tally.test)
    run.net.run(settings.measured_s)
    host_seconds = settings.hosts * settings.measured_s
    row = {"seed": seed, "size": settings.size, "median_min": settings.median_min, "hosts": settings.hosts}
    row |= {"here_bytes_s": meter.here / host_seconds, "away_bytes_s": meter.away / host_seconds}
    run.net.on_sent = None
    run.net.run(WITHIN_S + 1.0)
    row |= {"tests": tally.tests, "agreed": tally.agreed, "lookups": tally.asked}
    row |= {"wrong": tally.wrong, "silent": tally.silent, "failed": (tally.wrong + tally.silent) / max(1, tally.asked)}
    return [row | {"deaths": run.deaths, "node_deaths": run.node_deaths, "apart": run.apart}]


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    drawing, plots = plotting.axes("Lookups while hosts die", "median lifetime (min)", "", columns=2, width=9.0)
    for size, colour in ((SIZE, plotting.COLOURS[0]), (PLAIN, plotting.COLOURS[1])):
        of = chosen(rows, size=size)
        medians = sorted(values(of, "median_min"))
        at = [chosen(of, median_min=median) for median in medians]
        label = f"{size} hosts a node" if size else "plain"
        plots[0].plot(medians, [_failed(each) for each in at], color=colour, marker="o", label=label)
        for column, line in (("here_bytes_s", "--"), ("away_bytes_s", ":")):
            found = [estimate(numbers(each, column)).mean for each in at]
            text = f"{label}, {'link' if line == '--' else 'other subnets'}"
            plots[1].plot(medians, found, color=colour, linestyle=line, marker="o", markersize=4, label=text)
    plots[0].set_title("share of lookups failed", fontsize=10)
    plots[0].set_yscale("symlog", linthresh=1e-4)
    plots[1].set_title("bytes per host and second", fontsize=10)
    plots[1].axhline(BYTES_MAX, color=plotting.GREY, linestyle=":")
    for plot in plots:
        plot.set_xscale("log")
        plot.set_xticks(MEDIANS_MIN, [f"{median:g}" for median in MEDIANS_MIN])
        plot.minorticks_off()
        plot.legend(fontsize=7)
    return drawing


def _failed(rows: Sequence[Row]) -> float:
    return (sum(numbers(rows, "wrong")) + sum(numbers(rows, "silent"))) / max(1.0, sum(numbers(rows, "lookups")))


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for median in sorted(values(rows, "median_min")):
        both = chosen(rows, median_min=median)
        mine, other = chosen(both, size=SIZE), chosen(both, size=PLAIN)
        found += [_of_failed(of, median) for of in (mine, other) if of]
        if mine and other and median == FAST_MIN:
            ratio = _failed(mine) / _failed(other) if _failed(other) else None
            what = f"median {median:g} min: failures, k = {SIZE} by plain"
            measured = "none of plain" if ratio is None else plain(ratio)
            holds = None if ratio is None else ratio <= RATIO_MAX
            found.append(Finding(what, f"at most {RATIO_MAX:g}", measured, holds))
        found += [_of_bytes(of, median) for of in (mine, other) if of]
    return found


def _name(rows: Sequence[Row], median: float) -> str:
    size = rows[0]["size"]
    return f"median {median:g} min, {f'k = {size}' if size else 'plain'}"


def _of_failed(rows: Sequence[Row], median: float) -> Finding:
    claimed = bool(rows[0]["size"]) and median >= CALM_MIN
    wrong, silent, asked = (sum(row[name] for row in rows) for name in ("wrong", "silent", "lookups"))
    tests, agreed = (sum(row[name] for row in rows) for name in ("tests", "agreed"))
    measured = (
        f"{estimate(numbers(rows, 'failed')).text(percent)} ({wrong} wrong, {silent} silent of {asked:,}; "
        f"all ten right for {agreed:,} of {tests:,} keys)"
    )
    wanted = f"at most {percent(FAILED_MAX)}" if claimed else ""
    return Finding(
        f"{_name(rows, median)}: lookups failed", wanted, measured, _failed(rows) <= FAILED_MAX if claimed else None
    )


def _of_bytes(rows: Sequence[Row], median: float) -> Finding:
    claimed = bool(rows[0]["size"]) and median == FAST_MIN
    here, away = estimate(numbers(rows, "here_bytes_s")), estimate(numbers(rows, "away_bytes_s"))
    total = here.mean + away.mean
    measured = f"{total:.0f} (link {here.text(_whole)}, other subnets {away.text(_whole)})"
    return Finding(
        f"{_name(rows, median)}: bytes per host and second",
        f"at most {BYTES_MAX:g}" if claimed else "",
        measured,
        total <= BYTES_MAX if claimed else None,
    )


def _whole(value: float) -> str:
    return f"{value:.0f}"


COLUMNS: Final = (
    *("seed", "size", "median_min", "hosts", "here_bytes_s", "away_bytes_s", "tests", "agreed", "lookups"),
    *("wrong", "silent", "failed", "deaths", "node_deaths", "apart"),
)

LOOKUPS: Final = Experiment(
    number=2,
    name="lookups",
    claim="A node that is five hosts is found where one that is a single host is not, for few bytes.",
    takes="20 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
