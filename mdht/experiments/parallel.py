"""Experiment 5: one request to a node of which some hosts known are dead, sent to one or several (thesis 3.3.1).

Each hop is one `Hop`, as it ships, to a node of which eight hosts are known, fresh for each hop: nothing is remembered
of hosts that were silent, so all is as bad as it can be. Answers of hosts that live always come.
"""

import heapq
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.ids import Address
from dhtboot.rtt import RttEstimator, TimeoutConfig
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import Estimate, estimate, percent, plain
from mdht.experiments.quantile import quantile
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_choice import Copy, Hedged, Hop, HopState, One, Parallel, Way
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import named
from mdht.subnet.messages import HOSTS_MAX, HostRef, NodeEntry

DELAY_S: Final = 0.050
JITTER_S: Final = 0.005
"Of one direction, evenly to both sides (design, section 16: 50 ms ± 5)."
WAYS: Final[Mapping[str, Way]] = {
    "m = 1": One(),
    "m = 2": Parallel(2),
    "m = 3": Parallel(3),
    "hedged": Hedged(),
}
FIRST: Final[Mapping[str, int]] = {"m = 1": 1, "m = 2": 2, "m = 3": 3, "hedged": 1}
"Hosts that are asked at once."
WARM, COLD = "measured", "unknown"
KNOWN: Final = (WARM, COLD)
SAMPLES: Final = 20
"Round trips of each host before the first hop, where they are measured; dead ones answered then."
DEAD: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
HOPS: Final = 2_000
SHORT_HOPS: Final = 300
CLAIMED_DEAD: Final = 0.3
LATENCY_RATIO_MAX: Final = 0.5
"95th percentile with two hosts asked at once by that with one (design, row 5)."
HEDGED_MAX: Final = 1.2
"Requests in a hop where nobody is dead (design, row 5)."
NEAR: Final = 0.01
"Difference in the share of misses that we let pass: of 40,000 hops three times what chance explains."
CONFIG: Final = HostSetConfig(allow_private=True)
IDENTITY: Final = named("asked")
TAG: Final = b"tagtagta"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Hops of one kind."""

    known: str
    "Whether the round trips of the hosts are."
    way: str
    dead: float
    "Share of the eight hosts, on average."
    hops: int


class Outcome(msgspec.Struct, frozen=True):
    """One hop."""

    took_s: float
    "Until the first answer, or until it was given up."
    requests: int
    missed: bool
    "Whoever was asked first is dead."
    answered: bool


def dead_count(share: float, rng: Random) -> int:
    """Dead ones among the eight: the whole number below or above the share of them, so that the mean is right."""
    whole, part = _parts(share)
    return whole + (rng.random() < part)


def expected_miss(share: float, first: int) -> float:
    """Probability that all hosts asked first are dead: hypergeometric, over both numbers of dead ones."""
    whole, part = _parts(share)
    below, above = (math.comb(count, first) / math.comb(HOSTS_MAX, first) for count in (whole, whole + 1))
    return (1.0 - part) * below + part * above


def _parts(share: float) -> tuple[int, float]:
    dead = round(share * HOSTS_MAX, 9)
    return int(dead), dead - int(dead)


def round_trip_s(rng: Random) -> float:
    """To a host and back."""
    return 2.0 * DELAY_S + JITTER_S * (rng.uniform(-1.0, 1.0) + rng.uniform(-1.0, 1.0))


def entry() -> NodeEntry:
    """The node, with eight hosts."""
    hosts = tuple([HostRef(hid=b"host%04d" % at, address=_address(at), age_s=1) for at in range(HOSTS_MAX)])
    return NodeEntry(identity=IDENTITY, tag=TAG, view_epoch=1, size=HOSTS_MAX, hosts=hosts)


def _address(number: int) -> Address:
    return (f"192.0.2.{number + 1}", 4000)


def estimator(known: str, rng: Random) -> RttEstimator:
    """What is known of round trips before a hop."""
    rtt = RttEstimator(TimeoutConfig())
    for _ in range(SAMPLES if known == WARM else 0):
        for at in range(HOSTS_MAX):
            rtt.sample(_address(at), round_trip_s(rng))
    return rtt


def run_hop(told: NodeEntry, way: Way, rtt: RttEstimator, dead: Collection[bytes], rng: Random) -> Outcome:
    """One request to the node, until every copy of it is answered or given up."""
    node = RemoteNode(told, CONFIG)
    node.learn(told, 0.0, rng, firsthand=True)
    hop = Hop(node, way, rtt, CONFIG, rng)
    answers: list[tuple[float, bytes]] = []

    def send(copies: Sequence[Copy], now: float) -> int:
        for copy in copies:
            if copy.hid not in dead:
                heapq.heappush(answers, (now + round_trip_s(rng), copy.hid))
        return len(copies)

    copies = hop.start(0.0)
    missed = all(copy.hid in dead for copy in copies)
    requests = send(copies, 0.0)
    took_s = 0.0
    while answers or math.isfinite(hop.next_deadline()):
        pending = hop.state is HopState.ASKING
        if answers and answers[0][0] <= hop.next_deadline():
            now, hid = heapq.heappop(answers)
            hop.answered(hid, now)
        else:
            now = hop.next_deadline()
            requests += send(hop.tick(now), now)
        took_s = now if pending else took_s
    return Outcome(took_s=took_s, requests=requests, missed=missed, answered=hop.state is HopState.ANSWERED)


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    hops = SHORT_HOPS if short else HOPS
    return [Settings(known=known, way=way, dead=dead, hops=hops) for known in KNOWN for way in WAYS for dead in DEAD]


def _run(settings: Settings, seed: int) -> list[Row]:
    rng = Random(f"parallel {seed} {settings.known} {settings.way} {settings.dead}")
    told = entry()
    names = [host.hid for host in told.hosts]
    rtt = estimator(settings.known, rng)
    outcomes = []
    for _ in range(settings.hops):
        dead = frozenset(rng.sample(names, dead_count(settings.dead, rng)))
        rtt = rtt if settings.known == WARM else estimator(COLD, rng)
        outcomes.append(run_hop(told, WAYS[settings.way], rtt, dead, rng))
    times = [outcome.took_s for outcome in outcomes]
    return [
        {
            "seed": seed,
            "round_trips": settings.known,
            "way": settings.way,
            "dead": settings.dead,
            "hops": settings.hops,
            "missed": sum(outcome.missed for outcome in outcomes) / settings.hops,
            "expected": expected_miss(settings.dead, FIRST[settings.way]),
            "p50_ms": 1000.0 * quantile(times, 0.5),
            "p95_ms": 1000.0 * quantile(times, 0.95),
            "requests": sum(outcome.requests for outcome in outcomes) / settings.hops,
            "given_up": sum(not outcome.answered for outcome in outcomes) / settings.hops,
        }
    ]


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "One hop to a node of which some hosts known are dead"
    drawing, plots = plotting.axes(title, "dead hosts", "", columns=3, width=11.0)
    for way, colour in zip(WAYS, plotting.COLOURS, strict=False):
        for known, line in zip(KNOWN, ("-", "--"), strict=True):
            of = chosen(rows, way=way, round_trips=known)
            shares = sorted(values(of, "dead"))
            for plot, column in zip(plots, ("missed", "p95_ms", "requests"), strict=True):
                found = [estimate(numbers(chosen(of, dead=share), column)).mean for share in shares]
                label = f"{way}, {known}" if of and plot is plots[1] else None
                plot.plot(shares, found, color=colour, linestyle=line, marker="o", markersize=3, label=label)
        expected = [expected_miss(share, FIRST[way]) for share in DEAD]
        plots[0].plot(DEAD, expected, color=plotting.GREY, linestyle=":", linewidth=2.0)
    plots[0].plot([], [], color=plotting.GREY, linestyle=":", label="hypergeometric")
    plots[0].legend(fontsize=8)
    plots[1].plot([], [], linestyle="none", label="(round trips)")
    plots[1].legend(fontsize=7)
    texts = ("first round missed", "latency, p95 (ms)", "requests in a hop")
    for plot, text in zip(plots, texts, strict=True):
        plot.set_title(text, fontsize=10)
        plot.set_xticks(DEAD, [f"{share:.0%}" for share in DEAD])
        plot.set_ylim(bottom=0.0)
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = [_misses(rows, way) for way in values(rows, "way")]
    for known in values(rows, "round_trips"):
        of = chosen(rows, round_trips=known)
        found += [*_ratio(of, known), *_hedged(of, known)]
    for known in values(rows, "round_trips"):
        for way in values(rows, "way"):
            found += _series(chosen(rows, round_trips=known, way=way), f"{way}, round trips {known}")
    return found


def _misses(rows: Sequence[Row], way: str) -> Finding:
    """Whether round trips are known or not makes no difference to whom is asked first."""
    of = chosen(rows, way=way)
    shares = sorted(values(of, "dead"))
    missed = [estimate(numbers(chosen(of, dead=share), "missed")) for share in shares]
    expected = [expected_miss(share, FIRST[way]) for share in shares]
    near = all(abs(found.mean - wanted) <= NEAR for found, wanted in zip(missed, expected, strict=True))
    what = f"{way}: first round missed at {_listed(shares)} dead"
    wanted = f"{' / '.join(percent(each) for each in expected)}, each ± 1 point"
    return Finding(what, wanted, " / ".join(each.text(percent) for each in missed), near)


def _ratio(rows: Sequence[Row], known: str) -> list[Finding]:
    """What two hosts asked at once gain, seed by seed; claimed for one share of dead hosts only."""
    ratios: dict[float, Estimate] = {}
    for share in sorted(values(rows, "dead")):
        one, two = (numbers(chosen(rows, way=way, dead=share), "p95_ms") for way in ("m = 1", "m = 2"))
        if one and two:
            ratios[share] = estimate([other / alone for alone, other in zip(one, two, strict=False)])
    what = f"round trips {known}: p95 latency of m = 2 by that of m = 1 at"
    found = []
    if CLAIMED_DEAD in ratios:
        ratio = ratios[CLAIMED_DEAD]
        claimed = f"{what} {_listed([CLAIMED_DEAD])} dead"
        holds = ratio.mean <= LATENCY_RATIO_MAX
        found.append(Finding(claimed, f"at most {LATENCY_RATIO_MAX:g}", ratio.text(plain), holds))
    if ratios:
        measured = " / ".join(ratio.text(plain) for ratio in ratios.values())
        found.append(Finding(f"{what} {_listed([*ratios])} dead", "", measured, None))
    return found


def _hedged(rows: Sequence[Row], known: str) -> list[Finding]:
    of = chosen(rows, way="hedged", dead=0.0)
    if not of:
        return []
    requests = estimate(numbers(of, "requests"))
    what = f"round trips {known}: requests in a hedged hop where nobody is dead"
    return [Finding(what, f"at most {HEDGED_MAX:g}", requests.text(plain), requests.mean <= HEDGED_MAX)]


def _series(rows: Sequence[Row], where: str) -> list[Finding]:
    """Lines for all shares of dead hosts: they stand in one order."""
    shares = sorted(values(rows, "dead"))
    if not shares:
        return []
    of = [chosen(rows, dead=share) for share in shares]

    def each(column: str, show: Callable[[float], str]) -> list[str]:
        return [show(estimate(numbers(part, column)).mean) for part in of]

    p50, p95 = each("p50_ms", "{:.0f}".format), each("p95_ms", "{:.0f}".format)
    latency = " / ".join(map(", ".join, zip(p50, p95, strict=True)))
    at = _listed(shares)
    return [
        Finding(f"{where}: latency p50, p95 at {at} dead", "", f"{latency} ms", None),
        Finding(f"{where}: requests in a hop at {at} dead", "", " / ".join(each("requests", plain)), None),
        Finding(f"{where}: given up at {at} dead", "", " / ".join(each("given_up", percent)), None),
    ]


def _listed(shares: Sequence[float]) -> str:
    return f"{' / '.join(f'{100.0 * share:.0f}' for share in shares)} %"


PARALLEL: Final = Experiment(
    number=5,
    name="parallel",
    claim="Two hosts of a node asked at once halve the time that dead ones cost; a second one asked late costs little.",
    takes="2 minutes",
    lists=False,
    columns=(
        *("seed", "round_trips", "way", "dead", "hops", "missed", "expected", "p50_ms", "p95_ms", "requests"),
        "given_up",
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
