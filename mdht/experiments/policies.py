"""Experiment 8: what the replication policies cost, and what they save (thesis 3.3.5).

Shipped stores on one link without loss. Who holds a key is computed from its rank, or was announced, so that a lookup
mostly goes to one host; beside that we look at lookups as the thesis has them, which ask all siblings.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, percent, plain
from mdht.experiments.policies_run import AS_SHIPPED, ASK_ALL, PolicyRun
from mdht.subnet.messages import Ask

POPULAR, CROWD, CHURN = "popular", "crowd", "churn"
SINGLE, FULL, FIXED, ADAPTIVE = "single", "full", "fixed:3", "adaptive:1:0.5"
DURABLE: Final = "adaptive:3:0.5"
POLICIES: Final = (SINGLE, FIXED, ADAPTIVE, FULL)
COPIES_MIN: Final = 1
"Of `ADAPTIVE`: n0."
HOLDER, ALL = "holder", "all"
"Whom a lookup asks first: a host that should hold the key, as we ship it, or all siblings, as the thesis has it."
ANY, LATEST, MISSING = "any", "latest", "missing"
"What is looked up: any version of a record, the latest one, keys that were never put."
HOSTS: Final = 10
CROWD_HOSTS: Final = (5, HOSTS)
ZIPFS: Final = (0.8, 1.0, 1.2)
ZIPF: Final = 1.0
RECORDS: Final = 200
SHORT_RECORDS: Final = 60
RATE: Final = 20.0
"Lookups a second of all hosts together."
POPULAR_S: Final = 180.0
SHORT_POPULAR_S: Final = 20.0
OTHERS: Final = 30
"Lookups of the latest versions, and of missing keys."
CROWD_RATE: Final = 100.0
"Lookups a second of one key."
SHORT_CROWD_RATE: Final = 50.0
BACKGROUND: Final = 2.0
"Of all others, beside a crowd and after it."
CROWD_S: Final = 120.0
SHORT_CROWD_S: Final = 60.0
WINDOW_S: Final = 10.0
FALL_WITHIN_S: Final = 60.0
FALL_MIN: Final = 5.0
AFTER_S: Final = 600.0
"From the crowd's end until there are `COPIES_MIN` copies again."
AFTER_WINDOW_S: Final = 60.0
MEDIANS_MIN: Final = (60.0, 10.0)
MARKS: Final = (math.inf, *MEDIANS_MIN)
CHURN_S: Final = 1800.0
SHORT_CHURN_S: Final = 120.0
CHURN_RATE: Final = 5.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One link. Times in seconds, rates in lookups a second."""

    part: str
    policy: str
    asks: str = HOLDER
    hosts: int = HOSTS
    zipf: float = ZIPF
    records: int = RECORDS
    lasts_s: float
    "That is measured, or that there is a crowd, or that hosts come and crash."
    rate: float
    median_min: float = math.inf
    "Of lifetimes; nobody crashes where it is infinite."


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    return [*_popular_settings(short), *_crowd_settings(short), *_churn_settings(short)]


def _popular_settings(short: bool) -> list[Settings]:
    if short:
        each = [(policy, HOLDER, ZIPF) for policy in POLICIES]
    else:
        kinds = [*[(HOLDER, zipf) for zipf in ZIPFS], (ALL, ZIPF)]
        each = [(policy, asks, zipf) for policy in POLICIES for asks, zipf in kinds]
    records, lasts_s = (SHORT_RECORDS, SHORT_POPULAR_S) if short else (RECORDS, POPULAR_S)
    return [
        Settings(part=POPULAR, policy=policy, asks=asks, zipf=zipf, records=records, lasts_s=lasts_s, rate=RATE)
        for policy, asks, zipf in each
    ]


def _crowd_settings(short: bool) -> list[Settings]:
    if short:
        each = [(policy, asks, 5) for policy, asks in ((FULL, HOLDER), (ADAPTIVE, HOLDER), (ADAPTIVE, ALL))]
    else:
        of = [(policy, hosts) for policy in POLICIES for hosts in CROWD_HOSTS if policy == ADAPTIVE or hosts == HOSTS]
        each = [(policy, asks, hosts) for policy, hosts in of for asks in (HOLDER, ALL)]
    records = SHORT_RECORDS if short else RECORDS
    lasts_s, rate = (SHORT_CROWD_S, SHORT_CROWD_RATE) if short else (CROWD_S, CROWD_RATE)
    return [
        Settings(part=CROWD, policy=policy, asks=asks, hosts=hosts, records=records, lasts_s=lasts_s, rate=rate)
        for policy, asks, hosts in each
    ]


def _churn_settings(short: bool) -> list[Settings]:
    if short:
        each = [(policy, MEDIANS_MIN[-1], rate) for policy, rate in ((SINGLE, 0.0), (FIXED, 0.0), (FIXED, CHURN_RATE))]
    else:
        kinds = [*[(median, 0.0) for median in MARKS], (MEDIANS_MIN[-1], CHURN_RATE)]
        each = [(policy, median, rate) for policy in (*POLICIES, DURABLE) for median, rate in kinds]
    records, lasts_s = (SHORT_RECORDS, SHORT_CHURN_S) if short else (RECORDS, CHURN_S)
    return [
        Settings(part=CHURN, policy=policy, records=records, lasts_s=lasts_s, rate=rate, median_min=median)
        for policy, median, rate in each
    ]


# ---- the three parts -----------------------------------------------------------------------------------------------


def _run(settings: Settings, seed: int) -> list[Row]:
    config = AS_SHIPPED if settings.asks == HOLDER else ASK_ALL
    run = PolicyRun(settings.policy, settings.hosts, settings.records, settings.zipf, seed, config)
    part = {POPULAR: _popular, CROWD: _crowd, CHURN: _churn}[settings.part]
    return [_row(settings, seed, measured) for measured in part(run, settings)]


def _row(settings: Settings, seed: int, measured: dict[str, Any]) -> Row:
    row: Row = {
        "seed": seed,
        "part": settings.part,
        "policy": settings.policy,
        "asks": settings.asks,
        "hosts": settings.hosts,
        "zipf": settings.zipf,
        "median_min": settings.median_min,
    }
    return row | {name: measured.get(name) for name in COLUMNS[len(row) :]}


def _popular(run: PolicyRun, settings: Settings) -> list[dict[str, Any]]:
    """All keys by their popularity, then what is not the common case."""
    run.lookups(settings.lasts_s, settings.rate)  # until the copies have followed
    window = run.lookups(settings.lasts_s, settings.rate)
    cost = run.put_cost
    found: list[dict[str, Any]] = [
        {
            "what": ANY,
            **window.measured(),
            "held_bytes": run.held_bytes(),
            "put_packets": cost.packets,
            "put_bytes": cost.size,
            "put_ms": cost.acked_ms,
        }
    ]
    if settings.asks == HOLDER and settings.zipf == ZIPF:
        found.append({"what": LATEST, **run.asked(OTHERS, run.keys, Ask.LATEST).measured()})
        found.append({"what": MISSING, **run.asked(OTHERS, run.missing, Ask.ANY).measured()})
    return found


def _crowd(run: PolicyRun, settings: Settings) -> list[dict[str, Any]]:
    """One key of medium popularity that all want for a while: windows while they do, and afterwards."""
    key = run.keys[len(run.keys) // 2]
    run.link.watched = key
    run.link.taken()
    found = []
    windows = round(settings.lasts_s / WINDOW_S)
    for number in range(1, windows + 1):
        window = run.lookups(WINDOW_S, BACKGROUND, crowd=key, crowd_rate=settings.rate)
        found.append({"what": ANY, "since_s": number * WINDOW_S, **window.measured()})
    for number in range(1, round(AFTER_S / AFTER_WINDOW_S) + 1):
        window = run.lookups(AFTER_WINDOW_S, BACKGROUND, crowd=key)
        since_s = settings.lasts_s + number * AFTER_WINDOW_S
        found.append({"what": ANY, "since_s": since_s, "after_s": number * AFTER_WINDOW_S, "copies": window.copies})
    return found


def _churn(run: PolicyRun, settings: Settings) -> list[dict[str, Any]]:
    """Hosts come and crash. Without lookups all that is not the membership's is repair."""
    window, crashes = run.churn(settings.lasts_s, 60.0 * settings.median_min, settings.rate)
    host_hours = settings.hosts * settings.lasts_s / 3600.0
    measured: dict[str, Any] = {
        "what": ANY,
        **window.measured(),
        "crashes": crashes,
        "lost": run.lost() / len(run.keys),
        "member_bytes": window.traffic.member_bytes / host_hours,
    }
    if not settings.rate:
        measured["repair_bytes"] = window.traffic.bytes / host_hours
    return [measured]


# ---- what they show ------------------------------------------------------------------------------------------------


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "Replication policies: a crowd that wants one key, and hosts that come and crash"
    drawing, plots = plotting.axes(title, "s since the crowd began", "", columns=3, width=12.0)
    for policy, colour in zip((*POLICIES, DURABLE), plotting.COLOURS, strict=False):
        for hosts, line in zip(CROWD_HOSTS, ("--", "-"), strict=True):
            of = chosen(rows, part=CROWD, policy=policy, hosts=hosts, asks=ALL)
            look = {"color": colour, "linestyle": line, "label": f"{policy}, {hosts} hosts" if of else None}
            during = [row for row in of if row["after_s"] is None]
            times = sorted(values(during, "since_s"))
            plots[0].plot(times, [_mean(chosen(during, since_s=at), "multicasts") for at in times], **look)
            times = sorted(values(of, "since_s"))
            plots[1].plot(times, [_mean(chosen(of, since_s=at), "copies") for at in times], **look)
        repair = [row for row in chosen(rows, part=CHURN, policy=policy) if row["repair_bytes"] is not None]
        medians = sorted(values(repair, "median_min"), reverse=True)
        spent = [_mean(chosen(repair, median_min=median), "repair_bytes") / 1000.0 for median in medians]
        places = [MARKS.index(median) for median in medians]
        plots[2].plot(places, spent, color=colour, marker="o", markersize=4, label=policy if repair else None)
    plots[2].set_xlabel("median lifetime")
    texts = [f"{median:g} min" if math.isfinite(median) else "for ever" for median in MARKS]
    plots[2].set_xticks(range(len(MARKS)), texts)
    titles = ("multicasts of a lookup that asks all", "copies of the key", "repair, kB per host and hour")
    for plot, text in zip(plots, titles, strict=True):
        plot.set_title(text, fontsize=10)
        plot.set_ylim(bottom=0.0)
        if plot.get_legend_handles_labels()[1]:
            plot.legend(fontsize=7)
    return drawing


def _mean(rows: Sequence[Row], column: str) -> float:
    return estimate(numbers(rows, column)).mean


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for part, of_part in ((POPULAR, _of_popular), (CROWD, _of_crowd), (CHURN, _of_churn)):
        for policy in (*POLICIES, DURABLE):
            of = chosen(rows, part=part, policy=policy)
            found += of_part(of, policy) if of else []
    return found


def _shown(rows: Sequence[Row], *columns: tuple[str, Callable[[float], str]]) -> str:
    """Columns side by side, each with its interval."""
    return ", ".join(estimate(numbers(rows, column)).text(show) for column, show in columns)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


_PER_LOOKUP: Final = (("multicasts", plain), ("unicasts", plain), ("lookup_bytes", _whole))
_LATENCY: Final = (("p50_ms", plain), ("p95_ms", plain))


def _of_popular(rows: Sequence[Row], policy: str) -> list[Finding]:
    any_of = chosen(rows, what=ANY)
    stored = chosen(any_of, asks=HOLDER, zipf=ZIPF)
    found = []
    if stored:
        kept = _shown(stored, ("copies", plain), ("held_bytes", _whole))
        puts = _shown(stored, ("put_packets", plain), ("put_bytes", _whole), ("put_ms", plain))
        found.append(Finding(f"{policy}: copies of a record, bytes held by a host", "", kept, None))
        found.append(Finding(f"{policy}: packets and bytes of a put, ms until acknowledged", "", puts, None))
    for asks in values(any_of, "asks"):
        for zipf in sorted(values(chosen(any_of, asks=asks), "zipf")):
            of = chosen(any_of, asks=asks, zipf=zipf)
            full = policy == FULL
            found.append(
                Finding(
                    f"{policy}, Zipf {zipf:g}, asks {asks}: multicasts, unicasts, bytes of a lookup; p50, p95 in ms",
                    "0 multicasts" if full else "",
                    f"{_shown(of, *_PER_LOOKUP)}; {_shown(of, *_LATENCY)}",
                    _none(of) if full else None,
                )
            )
    for what in (LATEST, MISSING):
        of = chosen(rows, what=what)
        if of:
            told = f"{_shown(of, *_PER_LOOKUP)}; {_shown(of, *_LATENCY)}"
            found.append(Finding(f"{policy}, {what}: the same", "", told, None))
    return found


def _none(rows: Sequence[Row]) -> bool:
    """Whether no lookup has made anybody send a multicast."""
    return not any(row["multicasts"] for row in rows)


def _of_crowd(rows: Sequence[Row], policy: str) -> list[Finding]:
    found = []
    for asks in values(rows, "asks"):
        for hosts in values(chosen(rows, asks=asks), "hosts"):
            of = chosen(rows, asks=asks, hosts=hosts)
            where = f"{policy}, crowd among {hosts} hosts, asks {asks}"
            early, late = chosen(of, since_s=WINDOW_S), chosen(of, since_s=FALL_WITHIN_S)
            if late:
                found += [_fall(early, late, policy, where), _saved(early, late, where)]
            after = chosen(of, after_s=AFTER_S)
            if policy == ADAPTIVE and after:
                found.append(_back(of, after, where))
    return found


def _fall(early: Sequence[Row], late: Sequence[Row], policy: str, where: str) -> Finding:
    before, after = (estimate(numbers(of, "multicasts")) for of in (early, late))
    measured = f"{before.text(plain)}, {after.text(plain)}"
    what = f"{where}: multicasts of a lookup in the first {WINDOW_S:g} s, and after {FALL_WITHIN_S - WINDOW_S:g} s"
    if policy == FULL:
        return Finding(what, "0, 0", measured, _none([*early, *late]))
    if policy != ADAPTIVE:
        return Finding(what, "", measured, None)
    if before.mean == 0.0:
        return Finding(what, "", f"{measured}: nothing to fall", None)
    wanted = f"falls at least {FALL_MIN:g} times"
    return Finding(what, wanted, measured, before.mean >= FALL_MIN * after.mean)


def _saved(early: Sequence[Row], late: Sequence[Row], where: str) -> Finding:
    columns = (("unicasts", plain), ("busiest", plain), ("p50_ms", plain), ("p95_ms", plain))
    what = f"{where}: unicasts, and values that the busiest host sends, of a lookup, p50, p95 in ms; then and then"
    return Finding(what, "", f"{_shown(early, *columns)}; {_shown(late, *columns)}", None)


def _back(rows: Sequence[Row], after: Sequence[Row], where: str) -> Finding:
    most = [max(numbers(chosen(rows, seed=seed), "copies")) for seed in values(rows, "seed")]
    copies = numbers(after, "copies")
    return Finding(
        f"{where}: most copies, copies {AFTER_S / 60.0:g} min after its end",
        f"{COPIES_MIN} in the end",
        f"{estimate(most).text(plain)}, {estimate(copies).text(plain)}",
        all(each == COPIES_MIN for each in copies),
    )


def _of_churn(rows: Sequence[Row], policy: str) -> list[Finding]:
    found = []
    for median in sorted(values(rows, "median_min")):
        of = chosen(rows, median_min=median)
        repaired = [row for row in of if row["repair_bytes"] is not None]
        looked_up = [row for row in of if row["repair_bytes"] is None]
        where = f"{policy}, " + (f"crashes, median {median:g} min" if math.isfinite(median) else "no crashes")
        if repaired:
            spent = _shown(repaired, ("repair_bytes", _whole), ("member_bytes", _whole), ("lost", percent))
            what = f"{where}: repair bytes, membership's bytes per host and hour, records lost"
            found.append(Finding(what, "", spent, None))
        if looked_up:
            told = _shown(looked_up, ("multicasts", plain), ("p50_ms", plain), ("p99_ms", plain), ("found", percent))
            what = f"{where}: multicasts of a lookup and its repairs, p50, p99 in ms, found"
            found.append(Finding(what, "", told, None))
    return found


COLUMNS: Final = (
    *(
        "seed",
        "part",
        "policy",
        "asks",
        "hosts",
        "zipf",
        "median_min",
        "what",
        "since_s",
        "after_s",
        "lookups",
        "found",
    ),
    *("multicasts", "unicasts", "lookup_bytes", "p50_ms", "p95_ms", "p99_ms", "busiest", "copies", "held_bytes"),
    *("put_packets", "put_bytes", "put_ms", "repair_bytes", "member_bytes", "crashes", "lost"),
)

COMPARED: Final = Experiment(
    number=8,
    name="policies",
    claim="Copies that follow the lookups spare multicasts while many want a key, and cost nothing later.",
    takes="55 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
