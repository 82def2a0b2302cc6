"""Experiment 14, membership: who is taken for dead where a link loses packets, and when it is split (thesis 3.4).

Shipped hosts, each a membership and a founding, on a link that loses each copy of a multicast, and each unicast packet,
with some probability and independently of the others. What the design's row has beside it, records, unicast emulation
and ports that are isolated, is not looked at yet.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, plain
from mdht.experiments.link_run import WholeHost, WholeLink, hid_of
from mdht.experiments.quantile import quantile
from mdht.subnet.messages import State, Suspect

STEADY, CRASH, SPLIT = "steady", "crash", "split"
LOSSES: Final = (0.0, 0.1, 0.2, 0.3)
UNICAST_SHARE: Final = 0.1
"Of the multicast loss: a wireless link sends a unicast packet again until it is acknowledged."
HOSTS: Final = (5, 16)
STEADY_S: Final[Mapping[int, tuple[float, ...]]] = {
    5: (300.0, 900.0, 3600.0, 1800.0),
    16: (60.0, 150.0, 720.0, 360.0),
}
"By hosts, one for each loss: most where a number is claimed; an hour of 16 hosts takes ten times that of 5."
SHORT_STEADY_S: Final[Mapping[int, tuple[float, ...]]] = {
    5: (60.0, 120.0, 360.0, 120.0),
    16: (30.0, 30.0, 60.0, 30.0),
}
EVENTS: Final[Mapping[tuple[str, int], int]] = {(CRASH, 5): 40, (CRASH, 16): 20, (SPLIT, 5): 2, (SPLIT, 16): 1}
"By part and hosts, in each run."
SHORT_CRASHES: Final = 3
START_S: Final = 10.0
"Until a link without loss has come to one subnet, before the loss begins."
SLICE_S: Final = 60.0
CRASH_WITHIN_S: Final = 3.0
"A crash comes at any time of a heartbeat's period."
WAIT_MAX_S: Final = 120.0
"No crash, and no end of a split, is waited for any longer."
SPLIT_S: Final = 60.0
EPISODE_S: Final = 10.0
"A host that several others take for dead within this time is one false death."
FALSE_DEAD_MAX: Final = 1.0
"In ten host-hours (design, row 14)."
FALSE_DEAD_LOSS: Final = 0.2
DETECTION_MAX_S: Final = 4.5
HEAL_MAX_S: Final = 30.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One link."""

    part: str
    hosts: int
    loss: float
    "Of multicast."
    duration_s: float = 0.0
    "That nothing happens in, for the steady part."
    events: int = 0
    "Crashes or splits, for the others."


def linked(settings: Settings, seed: int) -> WholeLink:
    """A link that has come to one subnet, and loses packets from now on."""
    link = WholeLink(seed)
    starts = Random(f"starts {seed} {settings.hosts}")
    for _ in range(settings.hosts):
        link.add()
        link.run(0.2 * starts.random())
    link.run(START_S)
    if link.run_until_agreed(WAIT_MAX_S) is None:
        raise AssertionError(f"seed {seed}: {settings.hosts} hosts without any loss are no subnet")
    link.multicast_loss = settings.loss
    link.unicast_loss = UNICAST_SHARE * settings.loss
    _drain(link)
    return link


def false_deaths(marks: Sequence[tuple[float, bytes]]) -> int:
    """Hosts taken for dead, each once while others follow: marks are times and names, in any order."""
    found = 0
    last: dict[bytes, float] = {}
    for at, hid in sorted(marks):
        found += at - last.get(hid, -math.inf) > EPISODE_S
        last[hid] = at
    return found


def _drain(link: WholeLink) -> tuple[list[tuple[float, bytes]], int, int]:
    """Marks of death, accusations, and packets since the last call; nothing of them is kept."""
    marks = [(at, hid) for host in link.hosts for at, hid, state in host.changes if state is State.DEAD]
    accusations = sum(isinstance(message, Suspect) for host in link.hosts for _, message in host.sent)
    packets = sum(len(host.sent) for host in link.hosts)
    for host in link.hosts:
        host.changes.clear()
        host.sent.clear()
    return marks, accusations, packets


# ---- the three parts -----------------------------------------------------------------------------------------------


def _run(settings: Settings, seed: int) -> list[Row]:
    link = linked(settings, seed)
    if settings.part == STEADY:
        return [_steady(link, settings, seed)]
    rng = Random(f"{settings.part} {seed} {settings.hosts} {settings.loss}")
    event = _crash if settings.part == CRASH else _split
    return [_row(settings, seed, **event(link, rng)) for _ in range(settings.events)]


def _row(settings: Settings, seed: int, **measured: float | None) -> Row:
    row: Row = {"seed": seed, "part": settings.part, "hosts": settings.hosts, "loss": settings.loss}
    return row | {name: measured.get(name) for name in COLUMNS[len(row) :]}


def _steady(link: WholeLink, settings: Settings, seed: int) -> Row:
    """Nobody crashes: whoever is taken for dead is so by mistake."""
    marks: list[tuple[float, bytes]] = []
    accusations = packets = 0
    for _ in range(slices := math.ceil(settings.duration_s / SLICE_S)):
        link.run(settings.duration_s / slices)
        found = _drain(link)
        marks += found[0]
        accusations += found[1]
        packets += found[2]
    return _row(
        settings,
        seed,
        host_hours=settings.hosts * settings.duration_s / 3600.0,
        false_dead=false_deaths(marks),
        marks=len(marks),
        accusations=accusations,
        packets_per_s=packets / settings.duration_s,
    )


def _crash(link: WholeLink, rng: Random) -> dict[str, float | None]:
    """One host crashes, and is started again when all others know it."""
    link.run(CRASH_WITHIN_S * rng.random())
    victim = rng.choice(link.hosts)
    victim.alive = False
    _drain(link)
    crashed_at = link.now
    while not all(_is_dead(other, victim) for other in link.living) and link.now - crashed_at < WAIT_MAX_S:
        link.run(0.1)
    times = [_death_s(other, victim, crashed_at) for other in link.living]
    known = [time for time in times if time is not None]
    link.restart(victim)
    back_s = link.run_until_agreed(WAIT_MAX_S)
    _drain(link)
    return {
        "first_s": min(known, default=None),
        "all_s": max(known) if len(known) == len(times) else None,
        "agreed_s": back_s,
    }


def _is_dead(observer: WholeHost, victim: WholeHost) -> bool:
    member = observer.membership.view.get(hid_of(victim.number))
    return member is not None and member.state is State.DEAD


def _death_s(observer: WholeHost, victim: WholeHost, crashed_at: float) -> float | None:
    """How long it took an observer to know of a crash; 0 if it took the victim for dead before."""
    if not _is_dead(observer, victim):
        return None
    name = hid_of(victim.number)
    last = max((at for at, hid, state in observer.changes if (hid, state) == (name, State.DEAD)), default=crashed_at)
    return last - crashed_at


def _split(link: WholeLink, rng: Random) -> dict[str, float | None]:
    """Half of the hosts are cut off from the other half for a minute."""
    link.run(CRASH_WITHIN_S * rng.random())
    for host in rng.sample(link.hosts, len(link.hosts) // 2):
        host.side = 1
    link.run(SPLIT_S)
    for host in link.hosts:
        host.side = 0
    agreed_s = link.run_until_agreed(WAIT_MAX_S)
    _drain(link)
    return {"agreed_s": agreed_s}


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    steady_s = SHORT_STEADY_S if short else STEADY_S
    return [
        Settings(
            part=part,
            hosts=hosts,
            loss=loss,
            duration_s=duration_s if part == STEADY else 0.0,
            events=_events(part, hosts, short),
        )
        for part in (STEADY, CRASH, SPLIT)
        for hosts in HOSTS
        for loss, duration_s in zip(LOSSES, steady_s[hosts], strict=True)
    ]


def _events(part: str, hosts: int, short: bool) -> int:
    events = EVENTS.get((part, hosts), 0)
    return min(events, SHORT_CRASHES) if short else events


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "A link that loses packets: mistakes, and how long the truth takes"
    drawing, plots = plotting.axes(title, "multicast loss", "", columns=3, width=11.0)
    for hosts, colour in zip(HOSTS, plotting.COLOURS, strict=False):
        steady, crash, split = (chosen(rows, part=part, hosts=hosts) for part in (STEADY, CRASH, SPLIT))
        for plot, of, share, column in (
            (plots[1], crash, 0.5, "all_s"),
            (plots[1], crash, 0.99, "all_s"),
            (plots[2], split, 0.5, "agreed_s"),
            (plots[2], split, 1.0, "agreed_s"),
        ):
            losses = sorted(values(of, "loss"))
            found = [quantile([row[column] for row in chosen(of, loss=loss)], share) for loss in losses]
            label = f"{hosts} hosts, {'longest' if share == 1.0 else f'p{100 * share:.0f}'}"
            line = "-" if share == 0.5 else "--"
            plot.plot(
                losses, found, color=colour, linestyle=line, marker="o", markersize=4, label=label if of else None
            )
        losses = sorted(values(steady, "loss"))
        rates = [10.0 * _rate(chosen(steady, loss=loss), "false_dead") for loss in losses]
        accused = [_rate(chosen(steady, loss=loss), "accusations") for loss in losses]
        plots[0].plot(
            losses, rates, color=colour, marker="o", markersize=4, label=f"{hosts} hosts, false DEAD in 10 host-hours"
        )
        plots[0].plot(
            losses, accused, color=colour, linestyle="--", marker="o", markersize=4, label="SUSPECT per host-hour"
        )
    for plot, limit in zip(plots, (FALSE_DEAD_MAX, DETECTION_MAX_S, HEAL_MAX_S), strict=True):
        plot.axhline(limit, color=plotting.GREY, linestyle=":", label="claim")
        plot.set_xticks(LOSSES, [f"{loss:.0%}" for loss in LOSSES])
        plot.set_ylim(bottom=0.0)
        plot.legend(fontsize=7)
    for plot, text in zip(plots, ("nobody crashes", "s until all know a crash", "s until halves agree"), strict=True):
        plot.set_title(text, fontsize=10)
    return drawing


def _rate(rows: Sequence[Row], column: str) -> float:
    """Per host-hour."""
    return sum(numbers(rows, column)) / sum(numbers(rows, "host_hours"))


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for part, of_part in ((STEADY, _of_steady), (CRASH, _of_crash), (SPLIT, _of_split)):
        for hosts in HOSTS:
            of = chosen(rows, part=part, hosts=hosts)
            for loss in sorted(values(of, "loss")):
                found += of_part(chosen(of, loss=loss), f"{hosts} hosts, {100.0 * loss:.0f} % lost", loss)
    return found


def _of_steady(rows: Sequence[Row], where: str, loss: float) -> list[Finding]:
    marks = [10.0 * _rate(chosen(rows, seed=seed), "marks") for seed in values(rows, "seed")]
    dead = [10.0 * _rate(chosen(rows, seed=seed), "false_dead") for seed in values(rows, "seed")]
    accused = [_rate(chosen(rows, seed=seed), "accusations") for seed in values(rows, "seed")]
    count = f"{sum(row['false_dead'] for row in rows)} in {sum(row['host_hours'] for row in rows):.1f} host-hours"
    claimed = math.isclose(loss, FALSE_DEAD_LOSS)
    return [
        Finding(
            f"{where}: false DEAD in 10 host-hours",
            f"at most {FALSE_DEAD_MAX:g}" if claimed else "",
            f"{estimate(dead).text(plain)} ({count}); each observer counted, {estimate(marks).text(plain)}",
            estimate(dead).mean <= FALSE_DEAD_MAX if claimed else None,
        ),
        Finding(f"{where}: SUSPECT per host-hour", "", estimate(accused).text(plain), None),
        Finding(f"{where}: packets a second", "", estimate(numbers(rows, "packets_per_s")).text(plain), None),
    ]


def _of_crash(rows: Sequence[Row], where: str, loss: float) -> list[Finding]:
    everybody = [row["all_s"] for row in rows]
    first = [row["first_s"] for row in rows]
    claimed = loss == 0.0
    return [
        Finding(
            f"{where}: until all know a crash, p50, p99, longest",
            f"p99 at most {DETECTION_MAX_S:g} s" if claimed else "",
            f"{_seconds(everybody, 0.5)}, {_seconds(everybody, 0.99)}, {_seconds(everybody, 1.0)} "
            f"(first: {_seconds(first, 0.5)}, {_seconds(first, 0.99)}) of {len(rows)}",
            quantile(everybody, 0.99) <= DETECTION_MAX_S if claimed else None,
        )
    ]


def _of_split(rows: Sequence[Row], where: str, _loss: float) -> list[Finding]:
    healed = [row["agreed_s"] for row in rows]
    return [
        Finding(
            f"{where}: healed after a split until all agree, p50, longest",
            f"at most {HEAL_MAX_S:g} s",
            f"{_seconds(healed, 0.5)}, {_seconds(healed, 1.0)} of {len(rows)}",
            quantile(healed, 1.0) <= HEAL_MAX_S,
        )
    ]


def _seconds(times: Sequence[float | None], share: float) -> str:
    found = quantile(times, share)
    return f"over {WAIT_MAX_S:g} s" if math.isinf(found) else f"{found:.1f} s"


COLUMNS: Final = (
    *("seed", "part", "hosts", "loss", "host_hours", "false_dead", "marks", "accusations", "packets_per_s"),
    *("first_s", "all_s", "agreed_s"),
)

LINKS: Final = Experiment(
    number=14,
    name="links",
    claim="On a link that loses packets, or is split, few live hosts are taken for dead, and all agree again soon.",
    takes="6 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
