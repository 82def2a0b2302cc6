"""Experiment 10: one superpeer in a subnet beside one node that all of its hosts are (thesis 3.1, figures a and b).

The same hosts over the same Chord. With superpeers one host of each subnet is a node under a name of its own, and the
others reach the overlay by it only; when it dies another one is elected and joins. Its election is not simulated: it is
over when the others know of the death, and the elected one begins to join then.
"""

import math
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.ids import ID_BITS, NodeRef, random_id
from mdht.experiments.asking import find_owner
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.internet import Internet
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.quantile import quantile
from mdht.experiments.sim_host import SimHost
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Carried, OverlayDatagram
from mdht.subnet.face_packets import KINDS, Kind
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.wire import Header

SUPERPEER, MDHT = "superpeer", "mdht"
SUBNETS: Final = 30
SIZE: Final = 5
DEATHS: Final = 8
SHORT_SUBNETS: Final = 10
SHORT_DEATHS: Final = 2
START_STEP_S: Final = 0.1
REST_MAX_S: Final = 600.0
DETECTION_S: Final = 4.5
"Until the others know that the superpeer is dead (design, section 3)."
WATCH_S: Final = 60.0
"After each death; then comes the next one."
PROBE_S: Final = 0.5
"Between two lookups of keys that the dead host was responsible for."
USUAL_S: Final = 20.0
"Lookups of so long before the end are those that the death does not matter to any more."
PATIENCE_S: Final = 10.0
"One that takes longer than this counts as failed."
LOOKUPS: Final = 3000
"To random keys, from random hosts, to see who answers."
SHORT_LOOKUPS: Final = 600
LOOKUPS_PER_S: Final = 50.0

BUSIEST_MAX: Final = 1.5
"Times the fair share of a host."
SLOWER_MAX_S: Final = 0.25
"No outage: half of what one silent host costs of which nothing is known."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    kind: str
    subnets: int = SUBNETS
    size: int = SIZE
    deaths: int = DEATHS
    lookups: int = LOOKUPS

    @property
    def nodes_hosts(self) -> int:
        """Hosts of a subnet that are in the overlay."""
        return 1 if self.kind == SUPERPEER else self.size


class Death(msgspec.Struct, frozen=True):
    """What one death has done, until the next one."""

    leaves: int
    "Nodes that went."
    joins: int
    changes: int
    "Structural ones."
    away_s: float
    "The subnet's hosts had no part in the overlay for so long; those that live, on average, none in mDHT."
    first_s: float
    "What a lookup of a key of the dead host took that was right, on average, until the death was known."
    usual_s: float
    "The same later."
    slowest_s: float
    "The longest that one took which came to the right node."
    failed: int
    "Those that came to none, or a wrong one."


class Contrast:
    """One overlay.

    Args:
        settings: of what kind.
        seed: of all chance.

    Attributes:
        net: where.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        face = FaceConfig(hosts=HostSetConfig(allow_private=True))
        self.net = Internet(seed, NodePartConfig(overlay=ChordConfig(), face=face), strict=False)
        self._rng = Random(f"{seed} deaths")
        self._settings = settings
        self._links = settings.subnets
        self._took: dict[float, float] = {}
        self._answers: dict[int, dict[int, int]] = {}

    def settle(self) -> None:
        """Start all hosts, and wait until the overlay is at rest."""
        settings, net = self._settings, self.net
        for number in range(settings.subnets * settings.nodes_hosts):
            net.add(number % settings.subnets)
            net.run(START_STEP_S)
        until = net.now + REST_MAX_S
        while not net.at_rest and net.now < until:
            net.run(5.0)
        if not net.at_rest:
            raise AssertionError(f"seed {net.seed}: {settings.kind} comes to no rest")

    # ---- load ----------------------------------------------------------------------------------------------------

    def busiest(self) -> list[float]:
        """Of each subnet, the share of the requests it has answered that its busiest host has."""
        net = self.net
        net.on_sent = self._on_sent
        for _ in range(self._settings.lookups):
            self._look_up(self._rng.choice([*net.hosts.values()]), random_id(self._rng))
            net.run(1.0 / LOOKUPS_PER_S)
        net.on_sent = None
        return [max(counts.values()) / sum(counts.values()) for counts in self._answers.values()]

    def _on_sent(self, host: SimHost, message: Any, _header: Header | None) -> None:
        match message:
            case OverlayDatagram(body=Carried(packet=packet)) if KINDS[type(packet.message)] is Kind.ANSWERS:
                counts = self._answers.setdefault(host.link, {})
                counts[host.number] = counts.get(host.number, 0) + 1

    def _look_up(self, host: SimHost, key: int) -> None:
        find_owner(self.net, host, key, lambda _owner, _hops, _now: None)

    # ---- deaths --------------------------------------------------------------------------------------------------

    def death(self) -> Death:
        """One host dies that answers for a subnet; another one comes."""
        net, settings = self.net, self._settings
        host = self._rng.choice([one for one in net.hosts.values() if one.ready])
        before, events, died_at = net.structural_changes, len(net.node_events), net.now
        arc = self._arc(net.node_id(host.link))
        newcomers: list[SimHost] = []
        net.crash(host)
        self._took.clear()
        # Whoever comes listens on its link first, which one that is elected need not do.
        come_at = died_at + DETECTION_S - FoundingConfig().window_s
        net.at(come_at, lambda: newcomers.append(net.add(self._next_link(host.link))))
        for number in range(round((WATCH_S - PATIENCE_S) / PROBE_S)):
            net.at(died_at + PROBE_S * (number + 0.5), partial(self._probe, host.link, arc))
        net.run(WATCH_S)
        born = [birth for _, _, birth in net.node_events[events:]]
        return Death(
            leaves=born.count(False),
            joins=born.count(True),
            changes=net.structural_changes - before,
            away_s=newcomers[0].ready_at - died_at if settings.kind == SUPERPEER else 0.0,
            first_s=self._mean_s(died_at, died_at + DETECTION_S),
            usual_s=self._mean_s(net.now - PATIENCE_S - USUAL_S, net.now),
            slowest_s=max(took for took in self._took.values() if took <= PATIENCE_S),
            failed=sum(took > PATIENCE_S for took in self._took.values()),
        )

    def _mean_s(self, since: float, until: float) -> float:
        """Of the lookups begun in that time."""
        took = [took for at, took in self._took.items() if since <= at < until and took <= PATIENCE_S]
        return sum(took) / len(took) if took else math.inf

    def _next_link(self, link: int) -> int:
        """Where the next host comes; an elected superpeer has another name, as a link of its own gives it."""
        if self._settings.kind == MDHT:
            return link
        self._links += 1
        return self._links - 1

    def _arc(self, node_id: int) -> tuple[int, int]:
        """The keys of a node: the first that is not, and how many there are."""
        live = self.net.live
        before = live[live.index(node_id) - 1]
        return before, (node_id - before) % (1 << ID_BITS)

    def _probe(self, link: int, arc: tuple[int, int]) -> None:
        """A host of another subnet looks for a key that was the dead host's."""
        host = self._rng.choice([one for one in self.net.hosts.values() if one.ready and one.link != link])
        key = (arc[0] + 1 + self._rng.randrange(arc[1])) % (1 << ID_BITS)
        asked_at = self.net.now
        self._took[asked_at] = math.inf
        find_owner(self.net, host, key, partial(self._on_owner, asked_at, key, self.net.node_id(host.link)))

    def _on_owner(self, asked_at: float, key: int, me: int, owner: NodeRef | None, _hops: int, now: float) -> None:
        if (me if owner is None else owner.id) == self.net.responsible(key):
            self._took[asked_at] = now - asked_at


# ---- rows ----------------------------------------------------------------------------------------------------------


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    full = Settings(kind=SUPERPEER)
    if short:
        full = Settings(kind=SUPERPEER, subnets=SHORT_SUBNETS, deaths=SHORT_DEATHS, lookups=SHORT_LOOKUPS)
    return [full, msgspec.structs.replace(full, kind=MDHT)]


def _run(settings: Settings, seed: int) -> list[Row]:
    contrast = Contrast(settings, seed)
    contrast.settle()
    shares = contrast.busiest()
    deaths = [contrast.death() for _ in range(settings.deaths)]
    return [
        {
            "seed": seed,
            "kind": settings.kind,
            "subnets": settings.subnets,
            "size": settings.size,
            "deaths": settings.deaths,
            **{name: sum(getattr(death, name) for death in deaths) / len(deaths) for name in Death.__struct_fields__},
            "slowest_max_s": max(death.slowest_s for death in deaths),
            "busiest": sum(shares) / len(shares),
            "busiest_p95": quantile(shares, 0.95),
        }
    ]


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = f"When a host dies that answers for one of {rows[0]['subnets']} subnets of {rows[0]['size']}"
    drawing, plots = plotting.axes(title, "", "", columns=3, width=11.0)
    kinds = values(rows, "kind")
    for plot, column, text in zip(
        plots,
        ("changes", "away_s", "busiest"),
        ("structural changes of a death", "s without the overlay", "share of the busiest host"),
        strict=True,
    ):
        found = [estimate(numbers(chosen(rows, kind=kind), column)) for kind in kinds]
        errors = [each.half or 0.0 for each in found]
        plot.bar(kinds, [each.mean for each in found], yerr=errors, color=plotting.COLOURS[: len(kinds)], capsize=3)
        plot.set_title(text, fontsize=10)
    plots[2].axhline(BUSIEST_MAX / rows[0]["size"], color=plotting.GREY, linestyle=":", label="claim for mdht")
    plots[2].legend(fontsize=8)
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for kind in values(rows, "kind"):
        of = chosen(rows, kind=kind)
        found += [*_of_structure(of, kind), *_of_outage(of, kind), _of_load(of, kind)]
    return found


def _of_structure(rows: Sequence[Row], kind: str) -> list[Finding]:
    leaves, joins, changes = (estimate(numbers(rows, column)) for column in ("leaves", "joins", "changes"))
    deaths = sum(row["deaths"] for row in rows)
    each = 1.0 if kind == SUPERPEER else 0.0
    return [
        Finding(
            f"{kind}: leaves and joins of the overlay, of a death",
            f"{each:g} and {each:g}",
            f"{leaves.text(plain)} and {joins.text(plain)} of {deaths} deaths",
            leaves.mean == joins.mean == each,
        ),
        Finding(
            f"{kind}: structural changes, of a death",
            "" if kind == SUPERPEER else "0",
            changes.text(plain),
            None if kind == SUPERPEER else changes.mean == 0.0,
        ),
    ]


def _of_outage(rows: Sequence[Row], kind: str) -> list[Finding]:
    away, first, usual, failed = (
        estimate(numbers(rows, column)) for column in ("away_s", "first_s", "usual_s", "failed")
    )
    slowest = max(numbers(rows, "slowest_max_s"))
    none = kind == MDHT
    return [
        Finding(
            f"{kind}: the subnet is without the overlay",
            "0 s" if none else f"at least {DETECTION_S:g} s",
            f"{away.text(plain)} s",
            away.mean == 0.0 if none else away.mean >= DETECTION_S,
        ),
        Finding(
            f"{kind}: a lookup of the dead host's keys until its death is known, and later",
            f"at most {SLOWER_MAX_S:g} s more" if none else "",
            f"{first.text(plain)} s and {usual.text(plain)} s; the slowest {slowest:.1f} s, "
            f"{failed.text(plain)} of a death failed",
            first.mean - usual.mean <= SLOWER_MAX_S if none else None,
        ),
    ]


def _of_load(rows: Sequence[Row], kind: str) -> Finding:
    busiest, p95 = (estimate(numbers(rows, column)) for column in ("busiest", "busiest_p95"))
    limit = 1.0 if kind == SUPERPEER else BUSIEST_MAX / rows[0]["size"]
    wanted = percent(limit) if kind == SUPERPEER else f"at most {percent(limit)} (1.5 / k)"
    measured = f"{busiest.text(percent)}, p95 of the subnets {p95.text(percent)}"
    return Finding(f"{kind}: share of the busiest host of a subnet", wanted, measured, busiest.mean <= limit)


CONTRAST: Final = Experiment(
    number=10,
    name="superpeer",
    claim="A superpeer's death is a leave, a join and an outage; a host's death is none where all hosts are one node.",
    takes="8 minutes",
    lists=False,
    columns=(
        *("seed", "kind", "subnets", "size", "deaths", *Death.__struct_fields__),
        *("slowest_max_s", "busiest", "busiest_p95"),
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
