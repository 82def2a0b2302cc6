"""Figures 6.7 to 6.9 of the thesis, from what was measured here, with what the thesis has measured beside."""

from collections.abc import Sequence
from typing import Any

from dhtboot.figures import plotting
from netserv.bench.configurations import BASE, BY_NAME, CONFIGURATIONS, THESIS_DELAY_US, THESIS_MB
from netserv.bench.results import Crowd, Delay, Found, Rate, medians

_WIDTH = 0.8


def figures(found: Found) -> dict[str, bytes]:
    """Names of files, and what is in them."""
    drawings = {
        "figure-6.7": rates(found.rates) if found.rates else None,
        "figure-6.8": microbenchmark(found.rates, found.delays) if found.delays else None,
        "figure-6.9": crowds(found.crowds) if found.crowds else None,
    }
    return {
        f"{name}.{kind}": data
        for name, drawing in drawings.items()
        if drawing is not None
        for kind, data in plotting.files(drawing).items()
    }


def rates(rows: Sequence[Rate]) -> Any:
    """Figure 6.7: the rate of each configuration, as a ratio to configuration 2."""
    sizes = sorted({row.bytes for row in rows})
    title = "Figure 6.7: rates, as ratios to the router with netfilter rules"
    drawing, found = plotting.axes(title, "", "ratio to configuration 2", columns=len(sizes), width=5.5 * len(sizes))
    for size, plot in zip(sizes, found if len(sizes) > 1 else [found], strict=True):
        middle = [each for each in medians(rows) if each[0].bytes == size]
        names = [each.name for each in CONFIGURATIONS if any(row.configuration == each.name for row, _, _ in middle)]
        series = list(dict.fromkeys(row.plane for row, _, _ in middle if row.plane != "none"))
        shown = ["thesis", *series]
        for place, label in enumerate(shown):
            at, heights, spread = [], [], []
            for number, name in enumerate(names):
                value = _thesis(name, size) if label == "thesis" else _bar(middle, name, label)
                if value is not None:
                    at.append(number + (place + 0.5) * _WIDTH / len(shown) - _WIDTH / 2)
                    heights.append(value[0])
                    spread.append((value[0] - value[1], value[2] - value[0]))
            colour = plotting.GREY if label == "thesis" else plotting.COLOURS[place - 1]
            plot.bar(at, heights, _WIDTH / len(shown), color=colour, label=label, yerr=list(zip(*spread, strict=True)))
        plot.set_title(f"{size} bytes")
        plot.set_xticks(range(len(names)), [_label(name) for name in names], rotation=35, ha="right")
        plot.legend()
    return drawing


def microbenchmark(rates_rows: Sequence[Rate], delay_rows: Sequence[Delay]) -> Any:
    """Figure 6.8: where the time of a packet goes, and how long it takes where there are few."""
    columns = 2 if rates_rows else 1
    title = "Figure 6.8: what a packet costs"
    drawing, found = plotting.axes(title, "", "microseconds", columns=columns, width=6.5 * columns, height=4.8)
    plots = list(found) if columns > 1 else [found]
    if rates_rows:
        _draw_costs(plots[0], rates_rows)
    _draw_delays(plots[-1], delay_rows)
    return drawing


def _draw_costs(plot: Any, rows: Sequence[Rate]) -> None:
    size = max(row.bytes for row in rows)
    middle = [row for row, _, _ in medians(rows) if row.bytes == size]
    bottom = [0.0] * len(middle)
    parts = (("sender_ns", "sender and kernel"), ("broker_ns", "packet broker"), ("container_ns", "container"))
    for (field, label), colour in zip(parts, plotting.COLOURS, strict=False):
        heights = [getattr(row, field) / 1e3 for row in middle]
        plot.bar(range(len(middle)), heights, _WIDTH, bottom=bottom, color=colour, label=label)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    plot.set_title(f"processor time of a packet of {size} bytes")
    plot.set_xticks(range(len(middle)), [_with_plane(row) for row in middle], rotation=45, ha="right", fontsize=8)
    plot.legend()


def _draw_delays(plot: Any, rows: Sequence[Delay]) -> None:
    size = max(row.bytes for row in rows)
    middle = [row for row, _, _ in medians(rows) if row.bytes == size]
    places = range(len(middle))
    plot.bar(places, [row.median_us for row in middle], _WIDTH, color=plotting.COLOURS[0], label="median")
    plot.plot(places, [row.p99_us for row in middle], "_", color=plotting.COLOURS[1], markersize=14, label="p99")
    thesis = next(row.median_us for row in middle if row.configuration == BASE.name) + THESIS_DELAY_US
    plot.axhline(thesis, color=plotting.GREY, linestyle="--", label=f"thesis: {THESIS_DELAY_US:g} µs added")
    plot.set_yscale("log")
    plot.set_title(f"delay of a packet of {size} bytes, 1,000 a second")
    plot.set_xticks(places, [_with_plane(row) for row in middle], rotation=45, ha="right", fontsize=8)
    plot.legend()


def crowds(rows: Sequence[Crowd]) -> Any:
    """Figure 6.9: many containers."""
    title = "Figure 6.9: many containers, each with KeepAlive and busy (340 bytes)"
    drawing, (rate, memory) = plotting.axes(title, "containers", "ratio to configuration 2", columns=2, width=11.0)
    middle = medians(rows)
    for plane, colour in zip(dict.fromkeys(row.plane for row in rows), plotting.COLOURS, strict=False):
        mine = [each for each in middle if each[0].plane == plane]
        at = [row.containers for row, _, _ in mine]
        spread = [
            [row.ratio - least.ratio for row, least, _ in mine],
            [most.ratio - row.ratio for row, _, most in mine],
        ]
        rate.errorbar(at, [row.ratio for row, _, _ in mine], yerr=spread, color=colour, marker="o", label=plane)
        memory.plot(at, [row.mb_mean for row, _, _ in mine], color=colour, marker="o", label=plane)
    keep_alive = BY_NAME["KeepAlive"]
    thesis = keep_alive.kpps[340] / BASE.kpps[340]
    rate.axhline(thesis, color=plotting.GREY, linestyle="--", label="thesis, one container")
    memory.axhline(THESIS_MB, color=plotting.GREY, linestyle="--", label="thesis")
    memory.set_ylabel("MB of each container (PSS)")
    counts = sorted({row.containers for row in rows})
    for plot in (rate, memory):
        plot.set_xscale("log")
        plot.set_yscale("log")
        plot.set_xticks(counts, list(map(str, counts)))
        plot.minorticks_off()
        plot.legend()
    return drawing


def _bar(middle: Sequence[tuple[Rate, Rate, Rate]], name: str, plane: str) -> tuple[float, float, float] | None:
    """Median, least and most; what is without a plane stands at each."""
    for row, least, most in middle:
        if row.configuration == name and row.plane in {plane, "none"}:
            return row.ratio, least.ratio, most.ratio
    return None


def _thesis(name: str, size: int) -> tuple[float, float, float] | None:
    kpps = BY_NAME[name].kpps
    if size not in kpps:
        return None
    ratio = kpps[size] / BASE.kpps[size]
    return ratio, ratio, ratio


def _label(name: str) -> str:
    number = BY_NAME[name].number
    return f"{number} {name}" if number else name


def _with_plane(row: Rate | Delay) -> str:
    return _label(row.configuration) + (f", {row.plane}" if row.plane != "none" else "")
