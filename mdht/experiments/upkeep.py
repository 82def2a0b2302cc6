"""Experiment 6: how much of what hosts know of other nodes' hosts is out of date (thesis 3.3.3).

Shipped hosts in subnets over Chord, each of them replaced in its own subnet after an exponential lifetime, which half
of them end with a goodbye. A subnet tells other nodes of it (push), and whoever asks it something gets what is new with
the answer (pull). Each is switched off in turn; what other nodes tell by the way, and silence, are left in all cases.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.effects import Send
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.churn_run import tau_s
from mdht.experiments.internet import DELAY_S, Internet
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.quantile import quantile
from mdht.experiments.sim_host import SimHost
from mdht.subnet.effects import Effect, MemberChanged
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import HostsChanged, OverlayDatagram
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import State
from mdht.subnet.node_part_config import NodePartConfig

NEITHER, PUSH, PULL, BOTH = "neither", "push only", "pull only", "both"
SUBNETS: Final = 20
SIZE: Final = 5
SHORT_SUBNETS: Final = 8
SHORT_SIZE: Final = 3
MEDIANS_MIN: Final = {1.4: (BOTH,), 10.0: (NEITHER, PUSH, PULL, BOTH), 60.0: (BOTH,)}
"By the median lifetime, what is switched on."
START_STEP_S: Final = 0.1
SETTLE_S: Final = 60.0
WARM_UP_S: Final = 240.0
"Of churn, before anything is counted."
COUNTED_S: Final = 480.0
SHORT_WARM_UP_S: Final = 30.0
SHORT_COUNTED_S: Final = 120.0
LOOK_S: Final = 10.0
"Between two looks at what all hosts hold."
REPLACED_S: Final = 5.0
"After a host has gone."

CLAIM_MIN: Final = 10.0
DEAD_MAX: Final = 0.02
PUSH_MAX_S: Final = 2.0

_TOLD: Final = frozenset({State.READY, State.LEFT, State.DEAD})
"What members become that other nodes are told of."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    mode: str
    median_min: float
    subnets: int = SUBNETS
    size: int = SIZE
    warm_up_s: float = WARM_UP_S
    counted_s: float = COUNTED_S


class Watched(Internet):
    """An internet that sees what becomes known in a subnet, and when other nodes are told that have it for a neighbour.

    Attributes:
        delays: from the moment when a change is known to somebody in the subnet until a push reaches one of them; None
            for one that was not told. What changes again before that counts by the later change.
        pushes: datagrams.
    """

    def __init__(self, seed: int, config: NodePartConfig) -> None:
        super().__init__(seed, config, strict=False)
        self.delays: list[float | None] = []
        self.pushes = 0
        self._untold: dict[int, dict[bytes, tuple[State, float, set[int]]]] = {}
        "By link and host: what has become of it, when, and the links that are still to be told."

    def perform(self, host: SimHost, effects: Iterable[Effect]) -> None:
        """See `Internet.perform`."""
        found = [*effects]
        if host.ready:
            for effect in found:
                match effect:
                    case MemberChanged(hid=hid, state=state) if state in _TOLD:
                        self._on_change(host, hid, state)
                    case Send(to=to, packet=OverlayDatagram(body=HostsChanged())):
                        self.pushes += 1
                        if to in self._by_address:
                            self._on_push(host, self._by_address[to].link)
        super().perform(host, found)

    def forget(self) -> None:
        """Count from now on."""
        self.delays.clear()
        self._untold.clear()
        self.pushes = 0

    def end(self) -> None:
        """What was not told will not be."""
        for untold in self._untold.values():
            for _, _, links in untold.values():
                self.delays += [None] * len(links)
        self._untold.clear()

    def _on_change(self, host: SimHost, hid: bytes, state: State) -> None:
        untold = self._untold.setdefault(host.link, {})
        if host.core is None or host.core.part is None or (hid in untold and untold[hid][0] is state):
            return
        me = self.node_id(host.link)
        links = {link for link, holder in self.spokesmen().items() if link != host.link and me in neighbours_of(holder)}
        untold[hid] = (state, self.now, links)

    def spokesmen(self) -> dict[int, SimHost]:
        """A ready host of each link that has one."""
        return {host.link: host for host in self.hosts.values() if host.ready}

    def _on_push(self, host: SimHost, link: int) -> None:
        for hid, (state, since, links) in self._untold.get(host.link, {}).items():
            core = host.core
            member = None if core is None else core.membership.view.get(hid)
            knows = (core is not None and hid == core.hid) or (member is not None and member.state is state)
            if knows and link in links:
                links.discard(link)
                self.delays.append(self.now + DELAY_S - since)


def neighbours_of(host: SimHost) -> set[int]:
    """The nodes that a host has for predecessor and successors."""
    part = None if host.core is None else host.core.part
    return set() if part is None else {node.id for node in part.step.neighbours()}


class Held(msgspec.Struct, frozen=True):
    """Hosts that others would ask, of the nodes in their tables, and how many of them are gone."""

    told: int
    "Of predecessor and successors, who push to whoever has them for that."
    told_dead: int
    others: int
    "Of fingers, who push to those that have asked them lately."
    others_dead: int


class Run:
    """Hosts that come and go.

    Args:
        settings: how.
        seed: of all chance.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        push, pull = settings.mode in {PUSH, BOTH}, settings.mode in {PULL, BOTH}
        face = FaceConfig(hosts=HostSetConfig(push=push, pull=pull, allow_private=True))
        self.net = Watched(seed, NodePartConfig(overlay=ChordConfig(), face=face))
        self._settings = settings
        self._rng = Random(f"{seed} lives {settings.median_min}")

    def warm_up(self) -> None:
        """Start all, and let some of them go."""
        settings, net = self._settings, self.net
        for number in range(settings.subnets * settings.size):
            net.add(number % settings.subnets)
            net.run(START_STEP_S)
        net.run(SETTLE_S)
        for host in [*net.hosts.values()]:
            self._live(host)
        net.run(settings.warm_up_s)
        net.forget()

    def _live(self, host: SimHost) -> None:
        life_s = self._rng.expovariate(1.0 / tau_s(60.0 * self._settings.median_min))
        self.net.at(self.net.now + life_s, partial(self._end, host))

    def _end(self, host: SimHost) -> None:
        if not any(other.ready for other in self.net.links[host.link].values() if other is not host):
            self._live(host)  # nobody else is there who would tell
            return
        (self.net.crash if self._rng.random() < 0.5 else self.net.leave)(host)
        self.net.at(self.net.now + REPLACED_S, partial(self._replace, host.link))

    def _replace(self, link: int) -> None:
        self._live(self.net.add(link))

    def held(self) -> Held:
        """What hosts would ask now."""
        found = [0, 0, 0, 0]
        for host in self.net.hosts.values():
            if not host.ready or host.core is None or host.core.part is None:
                continue
            face, neighbours = host.core.part.face, neighbours_of(host)
            for contact in contacts_of(face.core):
                node = face.nodes.get(contact.address)
                usable = [] if node is None else node.usable
                dead = sum(int.from_bytes(other.hid, "big") not in self.net.hosts for other in usable)
                at = 0 if contact.id in neighbours else 2
                found[at] += len(usable)
                found[at + 1] += dead
        return Held(*found)


# ---- rows ----------------------------------------------------------------------------------------------------------


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    if short:
        small = Settings(mode=BOTH, median_min=CLAIM_MIN, subnets=SHORT_SUBNETS, size=SHORT_SIZE)
        small = msgspec.structs.replace(small, warm_up_s=SHORT_WARM_UP_S, counted_s=SHORT_COUNTED_S)
        return [msgspec.structs.replace(small, mode=mode) for mode in MEDIANS_MIN[CLAIM_MIN]]
    return [Settings(mode=mode, median_min=median) for median, modes in MEDIANS_MIN.items() for mode in modes]


def _run(settings: Settings, seed: int) -> list[Row]:
    run = Run(settings, seed)
    run.warm_up()
    net = run.net
    before = net.structural_changes
    looks = []
    for _ in range(round(settings.counted_s / LOOK_S)):
        net.run(LOOK_S)
        looks.append(run.held())
    net.end()
    told, told_dead, others, others_dead = (
        sum(getattr(look, name) for look in looks) for name in Held.__struct_fields__
    )
    return [
        {
            "seed": seed,
            "mode": settings.mode,
            "median_min": settings.median_min,
            "subnets": settings.subnets,
            "size": settings.size,
            "dead_share": (told_dead + others_dead) / (told + others),
            "told_share": told / (told + others),
            "dead_of_told": told_dead / told,
            "dead_of_others": others_dead / others if others else None,
            "pushes": len(net.delays),
            "missing": sum(delay is None for delay in net.delays),
            "push_p50_s": _finite(net.delays, 0.5),
            "push_p95_s": _finite(net.delays, 0.95),
            "pushes_per_min": 60.0 * net.pushes / settings.counted_s / settings.subnets,
            "changes": net.structural_changes - before,
        }
    ]


def _finite(delays: Sequence[float | None], share: float) -> float | None:
    """A quantile; None for no number at all."""
    found = quantile(delays, share) if delays else float("inf")
    return None if found == float("inf") else found


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = f"Hosts of other nodes that are gone: {rows[0]['subnets']} subnets of {rows[0]['size']}"
    drawing, plots = plotting.axes(title, "", "", columns=2, width=9.0)
    for mode, colour in zip((NEITHER, PUSH, PULL, BOTH), plotting.COLOURS, strict=False):
        of = chosen(rows, mode=mode)
        medians = sorted(values(of, "median_min"))
        for plot, column in zip(plots, ("dead_share", "push_p95_s"), strict=True):
            seen = [
                (median, estimate(found))
                for median in medians
                if (found := [row[column] for row in chosen(of, median_min=median) if row[column] is not None])
            ]
            plot.errorbar(
                [median for median, _ in seen],
                [each.mean for _, each in seen],
                yerr=[each.half or 0.0 for _, each in seen],
                color=colour,
                marker="o",
                markersize=4,
                capsize=2,
                label=mode if seen else None,
            )
    texts = ("share of the hosts that would be asked", "s until a push reaches a neighbour, p95")
    for plot, limit, text in zip(plots, (DEAD_MAX, PUSH_MAX_S), texts, strict=True):
        plot.axhline(limit, color=plotting.GREY, linestyle=":", label="claim")
        plot.set_title(text, fontsize=10)
        plot.set_xlabel("median lifetime (min)")
        plot.set_xscale("log")
        plot.set_xticks([*MEDIANS_MIN], [f"{median:g}" for median in MEDIANS_MIN])
        plot.minorticks_off()
        plot.set_ylim(bottom=0.0)
        plot.legend(fontsize=8)
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for median in sorted(values(rows, "median_min")):
        for mode in values(chosen(rows, median_min=median), "mode"):
            of = chosen(rows, median_min=median, mode=mode)
            where = f"median {median:g} min, {mode}"
            found += [_of_dead(of, where, claimed=(mode, median) == (BOTH, CLAIM_MIN))]
            if mode in {PUSH, BOTH}:
                found += [_of_push(of, where, claimed=(mode, median) == (BOTH, CLAIM_MIN))]
            found += [_of_changes(of, where, claimed=mode == BOTH)]
    return found


def _of_dead(rows: Sequence[Row], where: str, *, claimed: bool) -> Finding:
    share = estimate(numbers(rows, "dead_share"))
    wanted, holds = (f"at most {percent(DEAD_MAX)}", share.mean <= DEAD_MAX) if claimed else ("", None)
    told = estimate(numbers(rows, "dead_of_told"))
    others = [row["dead_of_others"] for row in rows if row["dead_of_others"] is not None]
    parts = f"of nodes that push to the holder {told.text(percent)}"
    if others:
        parts += f", of others {estimate(others).text(percent)}"
    measured = f"{share.text(percent)} ({parts})"
    return Finding(f"{where}: dead among the hosts that would be asked", wanted, measured, holds)


def _of_push(rows: Sequence[Row], where: str, *, claimed: bool) -> Finding:
    p50, p95 = (
        [float("inf") if row[column] is None else row[column] for row in rows]
        for column in ("push_p50_s", "push_p95_s")
    )
    pushes, missing = sum(row["pushes"] for row in rows), sum(row["missing"] for row in rows)
    late = max(p95) if float("inf") in p95 else estimate(p95).mean
    measured = f"{plain(late)} s (p50 {plain(sorted(p50)[len(p50) // 2])} s; {missing:,} of {pushes:,} not told)"
    wanted, holds = (f"p95 at most {PUSH_MAX_S:g} s", late <= PUSH_MAX_S) if claimed else ("", None)
    return Finding(f"{where}: until a push reaches a neighbour", wanted, measured, holds)


def _of_changes(rows: Sequence[Row], where: str, *, claimed: bool) -> Finding:
    changes = sum(row["changes"] for row in rows)
    what = f"{where}: structural changes, all in all"
    return Finding(what, "0" if claimed else "", f"{changes:,}", changes == 0 if claimed else None)


UPKEEP: Final = Experiment(
    number=6,
    name="upkeep",
    claim="Pushes and pulls together leave few dead hosts among those that other nodes know of a subnet.",
    takes="30 minutes",
    lists=False,
    columns=(
        *(
            "seed",
            "mode",
            "median_min",
            "subnets",
            "size",
            "dead_share",
            "told_share",
            "dead_of_told",
            "dead_of_others",
        ),
        *("pushes", "missing", "push_p50_s", "push_p95_s", "pushes_per_min", "changes"),
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
