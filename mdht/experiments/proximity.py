"""Experiment 11: what hosts of a link save the overlay by telling each other what they have cached (thesis 3.4.1.5).

Shipped caches on a link, each host reading records of other nodes at random times, by one law of popularity for all.
The overlay is a delay. The same requests are counted for caches that tell nothing, and for one cache of the whole link.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import Estimate, estimate, percent, plain
from mdht.experiments.proximity_run import (
    END_S,
    LEASE_S,
    OVERLAY,
    OWN,
    SIBLING,
    UNDER_WAY,
    UNHEARD,
    Content,
    Reading,
    fetches,
    requests,
)
from mdht.experiments.quantile import quantile
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.messages import Fetch, Inventory, Nack, Value

HOSTS: Final = (1, 2, 3, 5, 10, 20)
SHORT_HOSTS: Final = (1, 2, 10)
RATE_PER_S: Final = 0.2
"Of one host."
RATES_PER_S: Final = (0.05, 1.0)
LOSSES: Final = (0.1, 0.2, 0.3)
"Of multicast."
UNICAST_SHARE: Final = 0.1
"Of it, that of unicast: a wireless link sends a unicast packet again until it is acknowledged."
OTHER_HOSTS: Final = 10
"That other rates, losses and times are looked at with."
KEEP_S: Final = InventoryConfig().keep_s
REQUESTS: Final = 2_400
SHORT_REQUESTS: Final = 300
DURATION_MAX_S: Final = 3_600.0
SAVED_MIN: Final = 0.95
LATENCY_MAX: Final = 0.1
"Of a hit on the link, by that of the overlay (design, row 11, as the number above)."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One link."""

    hosts: int
    rate_per_s: float = RATE_PER_S
    keep_s: float = KEEP_S
    loss: float = 0.0
    requests: int = REQUESTS

    @property
    def duration_s(self) -> float:
        """In which about so many are made."""
        return min(self.requests / self.hosts / self.rate_per_s, DURATION_MAX_S)


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    by_hosts = [Settings(hosts=hosts) for hosts in (SHORT_HOSTS if short else HOSTS)]
    by_rate = [Settings(hosts=OTHER_HOSTS, rate_per_s=rate) for rate in RATES_PER_S]
    by_loss = [Settings(hosts=OTHER_HOSTS, loss=loss) for loss in LOSSES]
    lasting = [Settings(hosts=OTHER_HOSTS, keep_s=float(LEASE_S))]
    if not short:
        return [*by_hosts, *by_rate, *by_loss, *lasting]
    return [msgspec.structs.replace(each, requests=SHORT_REQUESTS) for each in (*by_hosts, by_loss[-1], *lasting)]


def _run(settings: Settings, seed: int) -> list[Row]:
    # The same for all losses and times, so that nothing else tells them apart.
    rng = Random(f"proximity {seed} {settings.hosts} {settings.rate_per_s}")
    content = Content(rng)
    wanted = requests(content, settings.hosts, settings.rate_per_s, settings.duration_s, rng)
    link = Reading(settings.hosts, settings.keep_s, content, seed)
    link.multicast_loss, link.unicast_loss = settings.loss, UNICAST_SHARE * settings.loss
    link.read(wanted, settings.duration_s)
    row: Row = {
        "seed": seed,
        "hosts": settings.hosts,
        "rate_per_s": settings.rate_per_s,
        "keep_s": settings.keep_s,
        "loss": settings.loss,
        "host_s": settings.hosts * (settings.duration_s + END_S),
        "requests": len(wanted),
    }
    fetched = {
        "none": [request.key for request in wanted],
        "alone": fetches(wanted, settings.keep_s, shared=False),
        "ours": [key for host in link.hosts for key in host.fetched],
        "ideal": fetches(wanted, settings.keep_s, shared=True),
        "lasting": fetches(wanted, float(LEASE_S), shared=True),
    }
    for name, keys in fetched.items():
        row[f"{name}_bytes"] = sum(content.sizes[key] for key in keys)
    row["fetches"] = len(fetched["ours"])
    return [row | _on_link(link)]


def _on_link(link: Reading) -> Row:
    """What has happened on it."""
    counters: Counter[str] = sum((host.inventory.counters for host in link.hosts), Counter())
    latency_ms = {
        where: [1000.0 * took_s for host in link.hosts for took_s in host.latency_s[where]]
        for where in (OWN, SIBLING, OVERLAY)
    }
    multicasts, multicast_bytes = link.sent(Inventory)
    return {
        "under_way": link.needless[UNDER_WAY],
        "unheard": link.needless[UNHEARD],
        "own": len(latency_ms[OWN]),
        "siblings": len(latency_ms[SIBLING]),
        **{name: counters[name] for name in ("asked", "denied", "silent")},
        "hit_p50_ms": quantile(latency_ms[SIBLING], 0.5) if latency_ms[SIBLING] else None,
        "hit_p99_ms": quantile(latency_ms[SIBLING], 0.99) if latency_ms[SIBLING] else None,
        "overlay_p50_ms": quantile(latency_ms[OVERLAY], 0.5),
        "multicasts": multicasts,
        "multicast_bytes": multicast_bytes,
        "unicast_bytes": link.sent(Fetch, Value, Nack)[1],
    }


# ---- what they show ------------------------------------------------------------------------------------------------


def _saved(rows: Sequence[Row], best: str) -> Estimate | None:
    """The share of the bytes that were saved by sharing of those that the best way to share saves; seed by seed."""
    shares = [
        (row["alone_bytes"] - row["ours_bytes"]) / (row["alone_bytes"] - row[best])
        for row in rows
        if row["alone_bytes"] > row[best]
    ]
    return estimate(shares) if shares else None


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    drawing, plots = plotting.axes("Records of other nodes, read by the hosts of a link", "", "", columns=3, width=11.0)
    usual = chosen(rows, rate_per_s=RATE_PER_S, keep_s=KEEP_S, loss=0.0)
    hosts = sorted(values(usual, "hosts"))
    names = {
        "alone": "own cache",
        "ours": "shared caches",
        "ideal": "ideal",
        "lasting": "ideal, kept as long as it lives",
    }
    for (name, label), colour in zip(names.items(), plotting.COLOURS, strict=False):
        at_hosts = [chosen(usual, hosts=count) for count in hosts]
        shares = [sum(numbers(each, f"{name}_bytes")) / sum(numbers(each, "none_bytes")) for each in at_hosts]
        plots[0].plot(hosts, shares, color=colour, marker="o", markersize=4, label=label)
    for best, colour in (("ideal_bytes", plotting.COLOURS[0]), ("lasting_bytes", plotting.COLOURS[1])):
        label = "as ideal" if best == "ideal_bytes" else "as ideal that keeps what lives"
        for plot, of, column in (
            (plots[1], [row for row in usual if row["hosts"] > 1], "hosts"),
            (plots[2], chosen(rows, hosts=OTHER_HOSTS, rate_per_s=RATE_PER_S, keep_s=KEEP_S), "loss"),
        ):
            at = [(where, _saved(chosen(of, **{column: where}), best)) for where in sorted(values(of, column))]
            known = [(where, found) for where, found in at if found is not None]
            plot.errorbar(
                [where for where, _ in known],
                [found.mean for _, found in known],
                yerr=[found.half or 0.0 for _, found in known],
                color=colour,
                marker="o",
                markersize=4,
                capsize=2,
                label=label,
            )
    for plot in plots[1:]:
        plot.axhline(SAVED_MIN, color=plotting.GREY, linestyle=":", label="claim")
    texts = (
        "bytes from the overlay, by those without caches",
        "share saved by sharing",
        f"the same, {OTHER_HOSTS} hosts",
    )
    for plot, text, below in zip(plots, texts, ("hosts", "hosts", "multicast lost"), strict=True):
        plot.set_title(text, fontsize=10)
        plot.set_xlabel(below)
        plot.set_ylim(0.0, 1.05)
        plot.legend(fontsize=7, loc="lower left")
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    kinds = [tuple(row[name] for name in ("hosts", "rate_per_s", "keep_s", "loss")) for row in rows]
    for hosts, rate, keep_s, loss in dict.fromkeys(kinds):
        of = chosen(rows, hosts=hosts, rate_per_s=rate, keep_s=keep_s, loss=loss)
        where = f"{hosts} host{'s' * (hosts > 1)}"
        where += f", {rate:g} requests a second of each" * (rate != RATE_PER_S)
        where += f", copies kept {keep_s:g} s" * (keep_s != KEEP_S)
        where += f", {100.0 * loss:.0f} % lost" * (loss > 0.0)
        found += _of(of, where, claimed=loss == 0.0)
    return found


def _of(rows: Sequence[Row], where: str, *, claimed: bool) -> list[Finding]:
    def share(of: str, by: str) -> str:
        return estimate([row[of] / row[by] for row in rows]).text(percent)

    shares = " / ".join(share(f"{name}_bytes", "none_bytes") for name in ("alone", "ours", "ideal", "lasting"))
    what = "bytes over the overlay by those without caches: own cache / shared / ideal / ideal as long as records live"
    found = [Finding(f"{where}: {what}", "", shares, None)]
    ideal, lasting = _saved(rows, "ideal_bytes"), _saved(rows, "lasting_bytes")
    hits = _hits(rows)
    if ideal is None or lasting is None or not hits:
        return found
    ratio = estimate([row["hit_p99_ms"] / row["overlay_p50_ms"] for row in hits])
    p50, p99, overlay = (estimate(numbers(hits, name)) for name in ("hit_p50_ms", "hit_p99_ms", "overlay_p50_ms"))
    times = f"{p50.mean:.1f}, {p99.mean:.1f} ms; overlay {overlay.mean:.0f} ms"
    saved = sum(numbers(rows, "alone_bytes")) - sum(numbers(rows, "ours_bytes"))
    on_link = sum(numbers(rows, "multicast_bytes")) + sum(numbers(rows, "unicast_bytes"))
    rate = 60.0 * sum(numbers(rows, "multicasts")) / sum(numbers(rows, "host_s"))
    return [
        Finding(
            f"{where}: saved by sharing, of what an ideal cache for all saves",
            f"at least {100.0 * SAVED_MIN:.0f} %" if claimed else "",
            ideal.text(percent),
            ideal.mean >= SAVED_MIN if claimed else None,
        ),
        Finding(f"{where}: of what one saves that keeps records as long as they live", "", lasting.text(percent), None),
        Finding(
            f"{where}: latency of a hit on the link, p99 by the overlay's p50",
            f"at most {LATENCY_MAX:g}" if claimed else "",
            f"{ratio.text('{:.4f}'.format)} (p50, p99 {times})",
            ratio.mean <= LATENCY_MAX if claimed else None,
        ),
        *found,
        Finding(
            f"{where}: fetched although under way at a sibling; cached by one that was not heard",
            "",
            f"{share('under_way', 'fetches')}; {share('unheard', 'fetches')}",
            None,
        ),
        Finding(f"{where}: siblings asked that had it no more", "", _ratio(rows, "denied", "asked"), None),
        Finding(
            f"{where}: bytes on the link for each saved; announcements of a host in a minute",
            "",
            f"{plain(on_link / saved) if saved > 0 else '-'}; {plain(rate)}",
            None,
        ),
    ]


def _hits(rows: Sequence[Row]) -> list[Row]:
    """The rows in which something was found at a sibling."""
    return [row for row in rows if row["hit_p99_ms"] is not None]


def _ratio(rows: Sequence[Row], of: str, by: str) -> str:
    return percent(sum(numbers(rows, of)) / max(1.0, sum(numbers(rows, by))))


COLUMNS: Final = (
    *("seed", "hosts", "rate_per_s", "keep_s", "loss", "host_s", "requests", "none_bytes", "alone_bytes"),
    *("ours_bytes", "ideal_bytes", "lasting_bytes", "fetches", "under_way", "unheard", "own", "siblings", "asked"),
    *("denied", "silent", "hit_p50_ms", "hit_p99_ms", "overlay_p50_ms", "multicasts", "multicast_bytes"),
    "unicast_bytes",
)

PROXIMITY: Final = Experiment(
    number=11,
    name="proximity",
    claim="Hosts of a link that tell each other what they have cached fetch nearly as little as one cache would.",
    takes="12 minutes",
    lists=False,
    columns=COLUMNS,
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
