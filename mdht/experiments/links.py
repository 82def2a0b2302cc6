"""Experiment 14: a link loses packets, is split, or filters multicast. Who is taken for dead, and are records lost?

Shipped hosts, each a membership and a founding, on a link that loses each copy of a multicast, and each unicast packet,
with some probability and independently of the others; or that filters multicast to a host, from it, or of everybody.
For the records, hosts that are a membership and their share of them, on a link with the same losses.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mdht.experiments import link_faults, link_records
from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, plain
from mdht.experiments.link_faults import CRASH, FILTERED, SIGNED, SPLIT, STEADY, WAIT_MAX_S, WAYS, Settings
from mdht.experiments.link_records import CRASHES, SPLITS
from mdht.experiments.quantile import quantile

LOSSES: Final = (0.0, 0.1, 0.2, 0.3)
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
EVENTS: Final[Mapping[tuple[str, int], int]] = {
    (CRASH, 5): 40,
    (CRASH, 16): 20,
    (SIGNED, 5): 10,
    (SIGNED, 16): 5,
    (SPLIT, 5): 2,
    (SPLIT, 16): 1,
    (FILTERED, 5): 5,
    (FILTERED, 16): 2,
}
"By part and hosts, in each run."
SHORT_EVENTS: Final = {CRASH: 3, SIGNED: 2, SPLIT: 2, FILTERED: 1}
RECORD_EVENTS: Final = {CRASHES: 30, SPLITS: 5}
SHORT_RECORD_EVENTS: Final = {CRASHES: 5, SPLITS: 1}
RECORDS: Final = 1000
SHORT_RECORDS: Final = 100
RECORD_HOSTS: Final = 5
COLUMNS: Final = link_faults.COLUMNS + link_records.COLUMNS
FALSE_DEAD_MAX: Final = 1.0
"In ten host-hours (design, row 14)."
FALSE_DEAD_LOSS: Final = 0.2
DETECTION_MAX_S: Final = 4.5
HEAL_MAX_S: Final = 30.0
EMULATED_MAX_S: Final = 15.0


def _settings(short: bool, _lists: Lists) -> list[Settings | link_records.Settings]:
    steady_s = SHORT_STEADY_S if short else STEADY_S
    lossy = [
        Settings(
            part=part,
            hosts=hosts,
            loss=loss,
            duration_s=duration_s if part == STEADY else 0.0,
            events=_events(part, hosts, short),
        )
        for part in (STEADY, CRASH, SIGNED, SPLIT)
        for hosts in HOSTS
        for loss, duration_s in zip(LOSSES, steady_s[hosts], strict=True)
        if not (short and part == SIGNED and hosts != HOSTS[0])  # signatures of 16 take most of a minute
    ]
    filtered = [
        Settings(part=FILTERED, hosts=hosts, loss=0.0, events=_events(FILTERED, hosts, short), way=way)
        for hosts in HOSTS
        for way in WAYS
    ]
    kept = [
        link_records.Settings(
            part=part,
            hosts=RECORD_HOSTS,
            loss=loss,
            records=SHORT_RECORDS if short else RECORDS,
            events=(SHORT_RECORD_EVENTS if short else RECORD_EVENTS)[part],
        )
        for part in (CRASHES, SPLITS)
        for loss in LOSSES
    ]
    return [*lossy, *filtered, *kept]


def run(settings: Settings | link_records.Settings, seed: int) -> list[Row]:
    """One link, and what happens on it."""
    if isinstance(settings, link_records.Settings):
        rows = link_records.run(settings, seed)
    else:
        rows = link_faults.run(settings, seed)
    return [{name: row.get(name) for name in COLUMNS} for row in rows]


def _events(part: str, hosts: int, short: bool) -> int:
    events = EVENTS.get((part, hosts), 0)
    return min(events, SHORT_EVENTS[part]) if short and events else events


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "A link that loses or filters packets: mistakes, and how long the truth takes"
    drawing, plots = plotting.axes(title, "multicast loss", "", columns=4, width=15.0)
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
    _draw_filters(plots[3], rows, plotting.COLOURS, plotting.GREY)
    for plot, limit in zip(plots[:3], (FALSE_DEAD_MAX, DETECTION_MAX_S, HEAL_MAX_S), strict=True):
        plot.axhline(limit, color=plotting.GREY, linestyle=":", label="claim")
        plot.set_xticks(LOSSES, [f"{loss:.0%}" for loss in LOSSES])
        plot.set_ylim(bottom=0.0)
        plot.legend(fontsize=7)
    texts = ("nobody crashes", "s until all know a crash", "s until halves agree", "longest, s, where it is filtered")
    for plot, text in zip(plots, texts, strict=True):
        plot.set_title(text, fontsize=10)
    return drawing


def _draw_filters(plot: Any, rows: Sequence[Row], colours: Sequence[str], grey: str) -> None:
    for hosts, colour in zip(HOSTS, colours, strict=False):
        of = chosen(rows, part=FILTERED, hosts=hosts)
        for column, text, marker in (("emulated_s", "until all hear all", "o"), ("multicast_s", "and back", "s")):
            places = [place for place, way in enumerate(WAYS) if chosen(of, way=way)]
            longest = [quantile([row[column] for row in chosen(of, way=WAYS[place])], 1.0) for place in places]
            plot.plot(places, longest, marker, color=colour, label=f"{hosts} hosts, {text}" if places else None)
    plot.axhline(EMULATED_MAX_S, color=grey, linestyle=":", label="claim")
    plot.set_xticks(range(len(WAYS)), [way.replace(" ", "\n") for way in WAYS], fontsize=8)
    plot.set_xlabel("multicast is filtered")
    plot.set_ylim(bottom=0.0)
    plot.legend(fontsize=7)


def _rate(rows: Sequence[Row], column: str) -> float:
    """Per host-hour."""
    return sum(numbers(rows, column)) / sum(numbers(rows, "host_hours"))


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for part, of_part in ((STEADY, _of_steady), (CRASH, _of_crash), (SIGNED, _of_crash), (SPLIT, _of_split)):
        for hosts in HOSTS:
            of = chosen(rows, part=part, hosts=hosts)
            for loss in sorted(values(of, "loss")):
                where = f"{hosts} hosts{' that sign' if part == SIGNED else ''}, {100.0 * loss:.0f} % lost"
                found += of_part(chosen(of, loss=loss), where, loss)
    for hosts in HOSTS:
        of = chosen(rows, part=FILTERED, hosts=hosts)
        for way in values(of, "way"):
            found += _of_filter(chosen(of, way=way), f"{hosts} hosts, multicast filtered, {way}")
    for part in (CRASHES, SPLITS):
        of = chosen(rows, part=part)
        for loss in sorted(values(of, "loss")):
            found += _of_records(chosen(of, loss=loss), f"{part}, {100.0 * loss:.0f} % lost")
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


def _of_filter(rows: Sequence[Row], where: str) -> list[Finding]:
    def longest(column: str) -> str:
        times = [row[column] for row in rows]
        return f"{_seconds(times, 0.5)}, {_seconds(times, 1.0)} of {len(rows)}"

    dead = f"{sum(row['false_dead'] for row in rows)}, after {sum(row['accusations'] for row in rows)} SUSPECT"
    emulated = quantile([row["emulated_s"] for row in rows], 1.0)
    return [
        Finding(
            f"{where}: until all hear all by unicast, p50, longest",
            f"at most {EMULATED_MAX_S:g} s",
            longest("emulated_s"),
            emulated <= EMULATED_MAX_S,
        ),
        Finding(f"{where}: live hosts taken for dead", "", dead, None),
        Finding(f"{where}: packets a second", "", estimate(numbers(rows, "packets_per_s")).text(plain), None),
        Finding(f"{where}: until all know a crash, p50, longest", "", longest("all_s"), None),
        Finding(f"{where}: until all know that it is back", "", longest("agreed_s"), None),
        Finding(f"{where}: until multicast is used again, once it passes", "", longest("multicast_s"), None),
    ]


def _of_records(rows: Sequence[Row], where: str) -> list[Finding]:
    lost, records = sum(row["lost"] for row in rows), sum(row["records"] for row in rows)
    events = sum(row["events"] for row in rows)
    missed = f"{sum(row['stale'] for row in rows)}; {sum(row['unfound'] for row in rows)}"
    placed = [row["placed_s"] for row in rows]
    found = [
        Finding(f"{where}: records lost", "0", f"{lost} of {records} in {events} events", lost == 0),
        Finding(f"{where}: held in an older version only; not found in the latest", "0; 0", missed, missed == "0; 0"),
    ]
    if rows[0]["part"] == SPLITS:
        what = f"{where}: until all copies are the latest and where they belong, longest of each run, p50, longest"
        holds = quantile(placed, 1.0) <= HEAL_MAX_S
        text = f"{_seconds(placed, 0.5)}, {_seconds(placed, 1.0)}"
        found.append(Finding(what, f"at most {HEAL_MAX_S:g} s", text, holds))
    return found


def _seconds(times: Sequence[float | None], share: float) -> str:
    found = quantile(times, share)
    return f"over {WAIT_MAX_S:g} s" if math.isinf(found) else f"{found:.1f} s"


LINKS: Final = Experiment(
    number=14,
    name="links",
    claim="On a link that loses packets, is split or filters multicast few live hosts are taken for dead.",
    takes="40 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=run,
    figure=_figure,
    findings=_findings,
)
