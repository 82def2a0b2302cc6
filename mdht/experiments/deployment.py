"""Experiment 12: how many hosts share a subnet today, and how much churn subnets of these sizes absorb (figure 3.2).

What is computed of a list of hosts and a prefix length, where subnet s has k_s of all N hosts:

`isolated` is the share of hosts with k_s = 1.

`changes_same` is for model A, where a host that goes is replaced at once in the same subnet: the structure changes
only when the host that goes is alone, and hosts go at equal rates, so changes by those of a plain DHT = `isolated`.

`changes_random` is for model B, where it is replaced in a random subnet. The measured k_s are taken for the numbers of
hosts that the subnets have on average, so a replacement comes to subnet s with probability k_s / N. With many
hosts the number in a subnet is then Poisson with mean k_s, and so is the number of *others* that a host has there. A
leave changes the structure if there are none, an arrival if it comes to an empty subnet; both have the probability
e^-k_s. So changes by those of a plain DHT = (1/N) sum of k_s e^-k_s, the mean over hosts of e^-k; with equal sizes it
is the e^-k of experiment 1. `changes_simulated` is the same, counted while hosts move.

`changes_others` is the mean over hosts of e^-(k - 1). It takes k_s - 1 for the average number of others that a host
has, as whoever counts its siblings would: a host that is alone then stays alone and gains nothing. It is an upper
bound, e times the former.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, percent
from mdht.isolation import BITS, SYNTHETIC, isolation, sample, synthetic

MADE_UP: Final = "synthetic "
"Before the name of a population after figure 3.2."
HOSTS: Final = 10_000
SAMPLES: Final = (100, 300, 1_000, 3_000, 10_000)
PREFIXES: Final = tuple(range(12, 31))
MOVED: Final = (24, 21, 19)
"Prefix lengths for which hosts move: those that the thesis names."
WARM: Final = 3
MOVES: Final = 10
"Of each host on average, before and while changes are counted."
TOLERANCE: Final = 0.02
LIST_MIN: Final = 200
"With fewer hosts the numbers in subnets are not Poisson, and a count of moves varies too much."
CHURN_PREFIX: Final = 24


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a list of hosts looked at."""

    hosts: str
    "A synthetic population, or a list by its name."
    addresses: tuple[int, ...] = ()
    "Of a list."
    count: int
    "Hosts to make up, or in the list."


def changes_random(sizes: Sequence[int]) -> float:
    """Changes by those of a plain DHT under model B: the mean over hosts of e^-k."""
    return math.fsum(size * math.exp(-size) for size in sizes) / sum(sizes)


def changes_others(sizes: Sequence[int]) -> float:
    """The same for k - 1 others on average."""
    return math.e * changes_random(sizes)


def changes_simulated(sizes: Sequence[int], rng: Random) -> float:
    """The same counted: a random host goes, another comes to a subnet with a probability by its size."""
    home = [subnet for subnet, size in enumerate(sizes) for _ in range(size)]
    at = list(home)
    count = list(sizes)
    changes = 0
    for move in range((WARM + MOVES) * len(home)):
        if move == WARM * len(home):
            changes = 0
        host = int(rng.random() * len(home))
        count[at[host]] -= 1
        changes += count[at[host]] == 0
        at[host] = home[int(rng.random() * len(home))]
        changes += count[at[host]] == 0
        count[at[host]] += 1
    return changes / (2 * MOVES * len(home))


def _settings(_short: bool, lists: Lists) -> list[Settings]:
    made = [Settings(hosts=MADE_UP + name, count=HOSTS) for name in SYNTHETIC]
    return made + [
        Settings(hosts=name, addresses=tuple(addresses), count=len(addresses)) for name, addresses in lists.items()
    ]


def _run(settings: Settings, seed: int) -> list[Row]:
    rng = Random(f"deployment {seed} {settings.hosts}")
    name = settings.hosts.removeprefix(MADE_UP)
    addresses: Sequence[int] = settings.addresses or synthetic(name, settings.count, rng)
    sizes = [size for size in SAMPLES if size < len(addresses)] + [len(addresses)]
    rows: list[Row] = []
    for size in sizes:
        drawn = sample(addresses, size, rng)
        isolated = isolation(drawn).ratios
        for prefix in PREFIXES:
            subnets = list(Counter(address >> BITS - prefix for address in drawn).values())
            moved = size == len(addresses) and prefix in MOVED
            rows.append(
                {
                    "seed": seed,
                    "hosts": settings.hosts,
                    "sample": size,
                    "of": len(addresses),
                    "prefix": prefix,
                    "isolated": isolated[prefix],
                    "changes_same": isolated[prefix],
                    "changes_random": changes_random(subnets),
                    "changes_others": changes_others(subnets),
                    "changes_simulated": changes_simulated(subnets, rng) if moved else None,
                }
            )
    return rows


def _whole(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["sample"] == row["of"]]


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "Hosts alone in their subnet, and churn that subnets absorb"
    drawing, plots = plotting.axes(title, "prefix length", "share of all hosts", columns=3, width=10.5, height=3.8)
    curves, samples, churn = plots
    for at, hosts in enumerate(values(rows, "hosts")):
        colour = plotting.COLOURS[at % len(plotting.COLOURS)]
        of = chosen(rows, hosts=hosts)
        whole = _whole(of)
        isolated = _means(whole, "prefix", "isolated")
        curves.plot(*isolated, marker=".", color=colour, label=f"{hosts}, {whole[0]['of']:,} hosts")
        samples.plot(*_means(chosen(of, prefix=CHURN_PREFIX), "sample", "isolated"), marker=".", color=colour)
        churn.plot(*isolated, color=colour)
        churn.plot(*_means(whole, "prefix", "changes_random"), color=colour, linestyle="--")
        counted = [row for row in whole if row["changes_simulated"] is not None]
        churn.plot(*_means(counted, "prefix", "changes_simulated"), color=colour, marker="o", linestyle="none")
    for name, points in SYNTHETIC.items():
        for prefix, share in points:
            curves.plot([prefix], [share], marker="x", markersize=9, color=plotting.GREY, linestyle="none")
            curves.annotate(name, (prefix, share), textcoords="offset points", xytext=(6, -10), fontsize=8)
    curves.legend(fontsize=8)
    curves.set_title("alone; x = figure 3.2", fontsize=10)
    samples.set_title(f"alone at /{CHURN_PREFIX}, by the size of the sample", fontsize=10)
    samples.set_xlabel("hosts in the sample")
    samples.set_xscale("log")
    churn.set_title("changes by those of a plain DHT", fontsize=10)
    churn.set_ylabel("")
    churn.plot([], [], color=plotting.GREY, label="replaced in the same subnet")
    churn.plot([], [], color=plotting.GREY, linestyle="--", label="in a random one")
    churn.plot([], [], color=plotting.GREY, marker="o", linestyle="none", label="in a random one, counted")
    churn.legend(fontsize=8)
    for plot in (curves, churn):
        plot.set_xticks(PREFIXES[::4], [f"/{prefix}" for prefix in PREFIXES[::4]])
    for plot in plots:
        plot.set_ylim(0.0, 1.0)
    return drawing


def _means(rows: Sequence[Row], by: str, column: str) -> tuple[list[float], list[float]]:
    at = sorted(values(rows, by))
    return at, [estimate(numbers(chosen(rows, **{by: each}), column)).mean for each in at]


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found: list[Finding] = []
    names = values(rows, "hosts")
    for hosts in names:
        found += _isolated(chosen(rows, hosts=hosts), hosts)
    found += [_samples(chosen(rows, hosts=hosts, prefix=CHURN_PREFIX), hosts) for hosts in names]
    for hosts in names:
        found += _churn(chosen(_whole(rows), hosts=hosts), hosts)
    return found


def _isolated(rows: Sequence[Row], hosts: str) -> list[Finding]:
    expected = dict(SYNTHETIC[hosts.removeprefix(MADE_UP)] if hosts.startswith(MADE_UP) else ())
    found = []
    for prefix in expected or MOVED:
        share = estimate(numbers(chosen(_whole(rows), prefix=prefix), "isolated"))
        wanted, holds = "", None
        if prefix in expected:
            wanted = f"{percent(expected[prefix])} ± {percent(TOLERANCE)}"
            holds = abs(share.mean - expected[prefix]) <= TOLERANCE
        found.append(Finding(f"{hosts}: alone at /{prefix}", wanted, share.text(percent), holds))
    return found


def _samples(rows: Sequence[Row], hosts: str) -> Finding:
    sizes = sorted(values(rows, "sample"))
    shares = [estimate(numbers(chosen(rows, sample=size), "isolated")).mean for size in sizes]
    measured = " / ".join(percent(share) for share in shares)
    falls = all(more <= less + TOLERANCE for less, more in itertools.pairwise(shares))
    what = f"{hosts}: alone at /{CHURN_PREFIX} in a sample of {' / '.join(f'{size:,}' for size in sizes)}"
    return Finding(what, "falls as samples grow", measured, falls if len(sizes) > 1 else None)


def _churn(rows: Sequence[Row], hosts: str) -> list[Finding]:
    found = []
    for prefix in MOVED:
        of = chosen(rows, prefix=prefix)
        same, model = (estimate(numbers(of, column)) for column in ("changes_same", "changes_random"))
        counted = estimate(numbers(of, "changes_simulated"))
        absorbed = f"{hosts}, /{prefix}: churn absorbed, replaced"
        found.append(Finding(f"{absorbed} in the same subnet", "", _rest(same.mean), None))
        wanted = f"{_rest(model.mean)} (mean of 1 - e^-k)"
        enough = of[0]["of"] >= LIST_MIN
        holds = abs(counted.mean - model.mean) <= TOLERANCE if enough else None
        measured = f"{_rest(counted.mean)}" + (f" ± {percent(counted.half)}" if counted.half is not None else "")
        found.append(Finding(f"{absorbed} in a random one", wanted, measured, holds))
    return found


def _rest(share: float) -> str:
    return percent(1.0 - share)


DEPLOYMENT: Final = Experiment(
    number=12,
    name="deployment",
    claim="Of hosts at universities half share their /24 and 3/4 their /21 with another; of all hosts /21 and /19.",
    takes="half a minute",
    lists=True,
    columns=(
        *("seed", "hosts", "sample", "of", "prefix", "isolated"),
        *("changes_same", "changes_random", "changes_others", "changes_simulated"),
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
