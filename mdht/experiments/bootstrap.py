"""Experiment 4: many hosts start in few seconds, and few of them ask the bootstrap server (thesis 3.4).

As in chapter 2 all hosts start within ten seconds, in random order; but of each subnet only the first has to find the
overlay. Hosts of a subnet that start together do not know of each other yet, which is where several could found it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.bootstrap_messages import BootstrapPacket, ContactRequest
from dhtboot.chord.config import ChordConfig
from dhtboot.ids import NodeRef, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig
from dhtboot.sim.config import ProtocolName
from dhtboot.sim.metrics import Census
from mdht.experiments.asking import find_owner
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.internet import Internet
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.quantile import quantile
from mdht.experiments.sim_host import SimHost
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.wire import Header

OVERLAYS: Final[Mapping[ProtocolName, OverlayConfig]] = {"chord": ChordConfig(), "kademlia": KademliaConfig()}
SIZES: Final = (1, 2, 5, 10)
"Hosts of a subnet."
HOSTS: Final = 200
SHORT_HOSTS: Final = 60
SHORT_SIZES: Final = (1, 5)
ARRIVAL_S: Final = 10.0
"All hosts start within this time, as 10,000 at 1,000 a second do (thesis 2.4)."
INTERVAL_S: Final = 5.0
"Delivery is counted by intervals (thesis 2.3)."
INTERVALS: Final = 6
LOOKUPS: Final = 100
"In each interval, from random hosts that are READY, to random keys."
PATIENCE_S: Final = 10.0
"Lookups of the last interval are waited for so long."

FOUNDERS_MAX: Final = 1.05
SERVER_MAX: Final = 2.5
"Packets to the server of a subnet: two, a question and a report, and some that were told to try later."
LATER_MAX_S: Final = 1.5
DELIVERED_MIN: Final = 0.95
CONVERGED_MAX_S: Final = 20.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    overlay: ProtocolName
    hosts: int
    size: int
    "Hosts of a subnet."

    @property
    def subnets(self) -> int:
        """How many."""
        return self.hosts // self.size


class Start:
    """Hosts that start.

    Args:
        settings: how many, where.
        seed: of all chance.

    Attributes:
        net: where.
        later: hosts that have started when another one of their subnet was READY.
        cold: the other ones.
        founders: numbers of the hosts that have asked the server for a contact.
        early: messages to other subnets, and to the server, that hosts have sent before they were READY, by number.
        sent: lookups, by interval.
        right: those that have come to the right node.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        face = FaceConfig(hosts=HostSetConfig(allow_private=True))
        self.net = Internet(seed, NodePartConfig(overlay=OVERLAYS[settings.overlay], face=face))
        self.net.on_sent = self._on_sent
        self.later: list[SimHost] = []
        self.cold: list[SimHost] = []
        self.founders: set[int] = set()
        self.early: dict[int, int] = {}
        self.sent = [0] * INTERVALS
        self.right = [0] * INTERVALS
        self._census = Census(settings.overlay)
        self._rng = Random(f"{seed} lookups")
        places = [number % settings.subnets for number in range(settings.hosts)]
        Random(f"{seed} places").shuffle(places)
        for number, link in enumerate(places):
            self.net.at(ARRIVAL_S * number / settings.hosts, partial(self._start, link))
        for interval in range(INTERVALS):
            for number in range(LOOKUPS):
                self.net.at(INTERVAL_S * (interval + number / LOOKUPS), partial(self._look_up, interval))

    def run(self) -> None:
        """All of it."""
        self.net.run(INTERVALS * INTERVAL_S + PATIENCE_S)

    def _start(self, link: int) -> None:
        served = any(host.ready for host in self.net.links.get(link, {}).values())
        (self.later if served else self.cold).append(self.net.add(link))

    def _on_sent(self, host: SimHost, message: Any, header: Header | None) -> None:
        if header is not None:
            return
        if isinstance(message, BootstrapPacket) and isinstance(message.message, ContactRequest):
            self.founders.add(host.number)
        if not host.ready:
            self.early[host.number] = self.early.get(host.number, 0) + 1

    def _look_up(self, interval: int) -> None:
        ready = [host for host in self.net.hosts.values() if host.ready]
        if not ready:
            return
        host, key = self._rng.choice(ready), random_id(self._rng)
        self.sent[interval] += 1
        on_owner = partial(self._on_owner, interval, key, self.net.node_id(host.link))
        find_owner(self.net, host, key, on_owner)

    def _on_owner(self, interval: int, key: int, me: int, owner: NodeRef | None, _hops: int, _now: float) -> None:
        self._census.identifiers = self.net.live
        self.right[interval] += (me if owner is None else owner.id) == self._census.owner(key)


# ---- rows ----------------------------------------------------------------------------------------------------------


def converged_s(sent: Sequence[int], right: Sequence[int]) -> float | None:
    """The end of the first interval with enough of its lookups delivered; None if there is none."""
    for interval, (of, found) in enumerate(zip(sent, right, strict=True)):
        if of and found >= DELIVERED_MIN * of:
            return INTERVAL_S * (interval + 1)
    return None


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    hosts, sizes = (SHORT_HOSTS, SHORT_SIZES) if short else (HOSTS, SIZES)
    return [Settings(overlay=overlay, hosts=hosts, size=size) for overlay in OVERLAYS for size in sizes]


def _run(settings: Settings, seed: int) -> list[Row]:
    start = Start(settings, seed)
    start.run()
    net, subnets = start.net, settings.subnets
    waits = [[host.ready_at - host.born_at for host in hosts] for hosts in (start.later, start.cold)]
    parts = [host.core.part for host in net.hosts.values() if host.core is not None and host.core.part is not None]
    return [
        {
            "seed": seed,
            "overlay": settings.overlay,
            "hosts": settings.hosts,
            "size": settings.size,
            "founders": len(start.founders) / subnets,
            "to_server": net.to_server / subnets,
            "later": len(start.later),
            "later_p95_s": quantile(waits[0], 0.95) if waits[0] else None,
            "later_max_s": max(waits[0], default=None),
            "early": sum(start.early.get(host.number, 0) for host in start.later),
            "cold_p95_s": quantile(waits[1], 0.95),
            "cold_max_s": max(waits[1]),
            "converged_s": converged_s(start.sent, start.right),
            "delivered": start.right[-1] / start.sent[-1],
            "not_ready": sum(not host.ready for host in net.hosts.values()),
            "rings": len({part.step.ring_id for part in parts}),
        }
    ]


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = f"{rows[0]['hosts']:,} hosts start in {ARRIVAL_S:g} s"
    drawing, plots = plotting.axes(title, "hosts of a subnet", "", columns=3, width=11.0)
    for overlay, colour in zip(OVERLAYS, plotting.COLOURS, strict=False):
        of = chosen(rows, overlay=overlay)
        for number, column, marker in _DRAWN:
            plot = plots[number]
            seen = [row for row in of if row[column] is not None]
            sizes = sorted(values(seen, "size"))
            found = [estimate(numbers(chosen(seen, size=size), column)) for size in sizes]
            plot.errorbar(
                sizes,
                [each.mean for each in found],
                yerr=[each.half or 0.0 for each in found],
                color=colour,
                linestyle="-" if marker == "o" else "--",
                marker=marker,
                markersize=5,
                capsize=2,
                label=f"{overlay}, {_LABELS[column]}" if found else None,
            )
    plots[1].axhline(LATER_MAX_S, color=plotting.GREY, linestyle=":", label="claim for later hosts")
    plots[2].axhline(DELIVERED_MIN, color=plotting.GREY, linestyle=":", label="claim")
    titles = ("per subnet", "s until READY, p95", f"looked up after {INTERVAL_S * (INTERVALS - 1):g} s, delivered")
    for plot, text in zip(plots, titles, strict=True):
        plot.set_title(text, fontsize=10)
        plot.set_ylim(bottom=0.0)
        plot.legend(fontsize=7)
    return drawing


_DRAWN: Final = (
    (0, "to_server", "o"),
    (0, "founders", "x"),
    (1, "cold_p95_s", "o"),
    (1, "later_p95_s", "x"),
    (2, "delivered", "o"),
)
"By plot; a cross has a dashed line."
_LABELS: Final = {
    "to_server": "packets to the server",
    "founders": "founders",
    "cold_p95_s": "nobody READY there",
    "later_p95_s": "somebody READY there",
    "delivered": "to the right node",
}


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for overlay in values(rows, "overlay"):
        for size in values(chosen(rows, overlay=overlay), "size"):
            of = chosen(rows, overlay=overlay, size=size)
            where = f"{overlay}, {of[0]['hosts'] // size:,} subnets of {size}"
            found += [*_of_founding(of, where), *_of_later(of, where), *_of_delivery(of, where)]
    return found


def _of_founding(rows: Sequence[Row], where: str) -> list[Finding]:
    founders, server = (estimate(numbers(rows, column)) for column in ("founders", "to_server"))
    size = rows[0]["size"]
    return [
        Finding(
            f"{where}: founders of a subnet",
            f"at most {FOUNDERS_MAX:g}",
            founders.text(plain),
            founders.mean <= FOUNDERS_MAX,
        ),
        Finding(
            f"{where}: packets to the server, of a subnet",
            f"about 2, at most {SERVER_MAX:g}",
            f"{server.text(plain)} ({plain(server.mean / size)} of a host)",
            server.mean <= SERVER_MAX,
        ),
    ]


def _of_later(rows: Sequence[Row], where: str) -> list[Finding]:
    cold = estimate(numbers(rows, "cold_p95_s"))
    longest = max(numbers(rows, "cold_max_s"))
    found = [
        Finding(
            f"{where}: until a host is READY where none was, p95",
            "",
            f"{cold.text(plain)} s, longest {longest:.1f}",
            None,
        )
    ]
    of = [row for row in rows if row["later"]]
    if not of:
        return found
    later = estimate(numbers(of, "later_p95_s"))
    early, hosts = sum(row["early"] for row in of), sum(row["later"] for row in of)
    longest = max(numbers(of, "later_max_s"))
    return [
        *found,
        Finding(
            f"{where}: until a later host is READY, p95",
            f"at most {LATER_MAX_S:g} s",
            f"{later.text(plain)} s, longest {longest:.1f} of {hosts:,}",
            later.mean <= LATER_MAX_S,
        ),
        Finding(f"{where}: messages of later hosts to others before they are READY", "0", str(early), early == 0),
    ]


def _of_delivery(rows: Sequence[Row], where: str) -> list[Finding]:
    times = sorted(row["converged_s"] or float("inf") for row in rows)
    delivered = estimate(numbers(rows, "delivered"))
    missing = sum(row["not_ready"] for row in rows)
    rings = max(row["rings"] for row in rows)
    return [
        Finding(
            f"{where}: {percent(DELIVERED_MIN)} of the lookups come to the right node, after",
            f"at most {CONVERGED_MAX_S:g} s",
            f"{times[len(times) // 2]:g} s (longest {times[-1]:g}); in the end {delivered.text(percent)}",
            times[-1] <= CONVERGED_MAX_S,
        ),
        Finding(
            f"{where}: hosts that are not READY in the end, rings",
            "0, 1",
            f"{missing}, {rings}",
            (missing, rings) == (0, 1),
        ),
    ]


BOOTSTRAP: Final = Experiment(
    number=4,
    name="bootstrap",
    claim="Of a subnet one host finds the overlay; whoever comes later is part of it in 1.5 s and asks nobody outside.",
    takes="15 minutes",
    lists=False,
    columns=(
        *("seed", "overlay", "hosts", "size", "founders", "to_server", "later", "later_p95_s", "later_max_s", "early"),
        *("cold_p95_s", "cold_max_s", "converged_s", "delivered", "not_ready", "rings"),
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
