"""Experiment 9: how evenly records lie on hosts when a node is a whole subnet (conjecture of thesis 3.4.1.4).

Nodes and records hash to uniform places on a ring; a record goes to the node that follows its place. With d choices
it is hashed to d places, and goes to the node among them that has the fewest records per host so far (Byers et al.,
"Simple load balancing for distributed hash tables", 2003). With weighted positions a node of k hosts stands at
2^floor(log2 k) places. A host's load is an equal share of what its node has.
"""

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, plain
from mdht.isolation import BITS

HOSTS: Final = 10_000
SHORT_HOSTS: Final = 2_000
RECORDS_PER_HOST: Final = 20
SHORT_RECORDS_PER_HOST: Final = 10
CHOICES: Final = (1, 2, 4)
SINGLE, CONSTANT, GEOMETRIC, ZIPF = "one host", "constant 5", "geometric 5", "Zipf 1.8"
SIZES: Final = (SINGLE, CONSTANT, GEOMETRIC, ZIPF)
MEAN: Final = 5
"Hosts in a subnet of constant size, and on average in one of geometric size."
ZIPF_EXPONENT: Final = 1.8
ZIPF_MAX: Final = 1_000
"The largest subnet that may be drawn: without a limit that law has no mean."
PREFIXES: Final = (24, 20)
"Subnets of a list of addresses."
EXPECTED: Final[Mapping[tuple[str, bool], float]] = {
    (SINGLE, False): 0.54,
    (CONSTANT, False): 0.49,
    (GEOMETRIC, False): 0.71,
    (ZIPF, False): 1.83,
    (GEOMETRIC, True): 0.17,
    (ZIPF, True): 0.13,
}
"Coefficient of variation with two choices that our Monte Carlo gave when the design was written (row 9)."
NEAR: Final = 0.1
"What those numbers may differ by: their number of records, and the limit of their Zipf law, were not noted."
_WEIGHTS: Final = tuple(itertools.accumulate(size**-ZIPF_EXPONENT for size in range(1, ZIPF_MAX + 1)))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run: records put on nodes."""

    sizes: str
    "Their law, or a list of hosts and the length of its prefixes."
    measured: tuple[int, ...] = ()
    "Sizes, where no law gives them."
    hosts: int
    records_per_host: int
    choices: int
    weighted: bool


def drawn_sizes(law: str, hosts: int, rng: Random) -> list[int]:
    """Sizes of subnets by a law, together so many hosts: the last one is cut."""
    sizes: list[int] = []
    left = hosts
    while left:
        if law == GEOMETRIC:
            size = 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / MEAN))
        elif law == ZIPF:
            size = bisect_left(_WEIGHTS, rng.random() * _WEIGHTS[-1]) + 1
        else:
            size = 1 if law == SINGLE else MEAN
        sizes.append(min(size, left))
        left -= sizes[-1]
    return sizes


def measured_sizes(addresses: Sequence[int], prefix: int) -> tuple[int, ...]:
    """How many of the addresses lie in each subnet of that prefix length, the largest first."""
    return tuple(sorted(Counter(address >> BITS - prefix for address in addresses).values(), reverse=True))


def positions(size: int, weighted: bool) -> int:
    """On the ring, of a subnet."""
    return 1 << size.bit_length() - 1 if weighted else 1


def loads(sizes: Sequence[int], records: int, choices: int, weighted: bool, rng: Random) -> list[int]:
    """Records of each node."""
    owned = ((rng.random(), node) for node, size in enumerate(sizes) for _ in range(positions(size, weighted)))
    ring = sorted(owned)
    places = [place for place, _ in ring]
    owners = [node for _, node in ring] + [ring[0][1]]  # past the last place the first node follows
    counts = [0] * len(sizes)
    for _ in range(records):
        best = owners[bisect_left(places, rng.random())]
        for _ in range(choices - 1):
            other = owners[bisect_left(places, rng.random())]
            if counts[other] * sizes[best] < counts[best] * sizes[other]:
                best = other
        counts[best] += 1
    return counts


def spread(sizes: Sequence[int], counts: Sequence[int]) -> tuple[float, float]:
    """Coefficient of variation of the load of hosts, and the highest load by the mean one."""
    hosts = sum(sizes)
    mean = sum(counts) / hosts
    variance = sum(size * (count / size - mean) ** 2 for size, count in zip(sizes, counts, strict=True)) / hosts
    return math.sqrt(variance) / mean, max(count / size for size, count in zip(sizes, counts, strict=True)) / mean


def _settings(short: bool, lists: Lists) -> list[Settings]:
    hosts = SHORT_HOSTS if short else HOSTS
    laws: list[tuple[str, tuple[int, ...], int]] = [(law, (), hosts) for law in SIZES]
    for name, addresses in lists.items():
        laws += [(f"{name} /{prefix}", measured_sizes(addresses, prefix), len(addresses)) for prefix in PREFIXES]
    return [
        Settings(
            sizes=law,
            measured=measured,
            hosts=count,
            records_per_host=SHORT_RECORDS_PER_HOST if short else RECORDS_PER_HOST,
            choices=choices,
            weighted=weighted,
        )
        for law, measured, count in laws
        for weighted in ((False,) if law == SINGLE else (False, True))
        for choices in CHOICES
    ]


def _run(settings: Settings, seed: int) -> list[Row]:
    rng = Random(f"load {seed} {settings.sizes} {settings.choices} {settings.weighted}")
    sizes = settings.measured or drawn_sizes(settings.sizes, settings.hosts, Random(f"sizes {seed} {settings.sizes}"))
    counts = loads(sizes, settings.hosts * settings.records_per_host, settings.choices, settings.weighted, rng)
    variation, highest = spread(sizes, counts)
    return [
        {
            "seed": seed,
            "sizes": settings.sizes,
            "choices": settings.choices,
            "weighted": settings.weighted,
            "hosts": settings.hosts,
            "nodes": len(sizes),
            "largest": max(sizes),
            "variation": variation,
            "max_by_mean": highest,
        }
    ]


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "Load of hosts when a node is a whole subnet"
    drawing, plots = plotting.axes(title, "choices d", "coefficient of variation", columns=2, width=9.0)
    for plot, weighted in zip(plots, (False, True), strict=True):
        for at, sizes in enumerate(values(rows, "sizes")):
            of = chosen(rows, sizes=sizes, weighted=weighted)
            choices = sorted(values(of, "choices"))
            found = [estimate(numbers(chosen(of, choices=each), "variation")) for each in choices]
            plot.errorbar(
                choices,
                [each.mean for each in found],
                yerr=[each.half or 0.0 for each in found],
                color=plotting.COLOURS[at % len(plotting.COLOURS)],
                linestyle="-" if at < len(plotting.COLOURS) else ":",
                marker="o",
                capsize=2,
                label=sizes if choices else None,
            )
        plot.set_title("2^floor(log2 k) places for k hosts" if weighted else "one place for each node", fontsize=10)
        plot.set_xticks(CHOICES)
        plot.set_yscale("log")
        plot.set_ylim(0.04, 8.0)
    plots[0].legend(fontsize=8)
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    return [*_conjecture(rows), *_numbers(rows)]


def _conjecture(rows: Sequence[Row]) -> list[Finding]:
    """With two choices hosts of subnets should be loaded no less evenly than hosts that are nodes of their own."""
    alone = chosen(rows, sizes=SINGLE, choices=2)
    found = []
    for sizes in values(rows, "sizes") if alone else ():
        for weighted in (False, True):
            of = chosen(rows, sizes=sizes, choices=2, weighted=weighted)
            if of and sizes != SINGLE:
                limit, variation = estimate(numbers(alone, "variation")), estimate(numbers(of, "variation"))
                what = f"{sizes}{', weighted' if weighted else ''}, d = 2: no worse than one host per node"
                wanted = f"at most {plain(limit.mean)}"
                found.append(Finding(what, wanted, variation.text(plain), variation.mean <= limit.mean))
    return found


def _numbers(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for sizes in values(rows, "sizes"):
        for weighted in (False, True):
            of = chosen(rows, sizes=sizes, weighted=weighted)
            found += [_number(chosen(of, choices=each), sizes, each, weighted) for each in values(of, "choices")]
    return found


def _number(of: Sequence[Row], sizes: str, choices: int, weighted: bool) -> Finding:
    variation = estimate(numbers(of, "variation"))
    highest = estimate(numbers(of, "max_by_mean"))
    what = f"{sizes}{', weighted' if weighted else ''}, d = {choices}: variation of load, highest by mean"
    expected = EXPECTED.get((sizes, weighted)) if choices == 2 else None
    wanted = "" if expected is None else f"{plain(expected)} ± {NEAR:g} (design)"
    holds = None if expected is None else abs(variation.mean - expected) <= NEAR
    return Finding(what, wanted, f"{variation.text(plain)}, {highest.text(plain)}", holds)


LOAD: Final = Experiment(
    number=9,
    name="load",
    claim="With d choices the hosts carry about equal loads, although subnets have different sizes.",
    takes="2 minutes",
    lists=True,
    columns=(*("seed", "sizes", "choices", "weighted", "hosts", "nodes", "largest", "variation", "max_by_mean"),),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
