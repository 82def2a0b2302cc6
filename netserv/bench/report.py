"""What was measured, as tables for people and as CSV; beside it the thesis and the goals."""

import csv
import io
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from netserv.bench.configurations import (
    ADDED,
    BASE,
    BY_NAME,
    CROWD,
    CROWD_MAX,
    MEMORY,
    P99,
    RATIO,
    START,
    THESIS_DELAY_US,
    THESIS_MB,
    goal,
)
from netserv.bench.results import Crowd, Delay, Found, Rate, Throughput, medians

_R = TypeVar("_R", Rate, Delay, Throughput)


def rates_table(rows: Sequence[Rate]) -> list[str]:
    """Figure 6.7."""
    body = []
    for row, least, most in _by_size(rows):
        parts = " + ".join(f"{each:,.0f}" for each in (row.sender_ns, row.broker_ns, row.container_ns))
        body.append(
            (
                _numbered(row.configuration),
                row.plane,
                str(row.bytes),
                f"{row.packets_per_s:,.0f}",
                f"{row.ratio:.3f}",
                f"{least.ratio:.3f} .. {most.ratio:.3f}",
                _thesis_ratio(row),
                parts,
                f"{row.lost + row.untreated:.2%}",
                _judged(row.configuration, row.plane, (RATIO, row.ratio)),
            )
        )
    parts = "sender + broker + container, ns"
    return _table(("", "plane", "bytes", "packets/s", "ratio", "of all rounds", "thesis", parts, "lost", "goal"), body)


def delays_table(rows: Sequence[Delay]) -> list[str]:
    """Figure 6.8."""
    body = [
        (
            _numbered(row.configuration),
            row.plane,
            str(row.bytes),
            f"{row.median_us:.1f}",
            f"{row.p99_us:.1f}",
            f"{row.added_us:.1f}",
            f"{least.added_us:.1f} .. {most.added_us:.1f}",
            f"{row.lost:.0f}",
            _judged(row.configuration, row.plane, (ADDED, row.added_us), (P99, row.p99_us)),
        )
        for row, least, most in _by_size(rows)
    ]
    head = ("", "plane", "bytes", "median us", "p99 us", "added us", "of all rounds", "lost", "goals: added, p99")
    return [*_table(head, body), f"thesis, container: {THESIS_DELAY_US:g} us added"]


def crowds_table(rows: Sequence[Crowd]) -> list[str]:
    """Figure 6.9."""
    body = []
    for row, least, most in medians(rows):
        measured = ((RATIO, row.ratio), (MEMORY, row.mb_mean), (START, row.ready_ms))
        body.append(
            (
                str(row.containers),
                row.plane,
                f"{row.packets_per_s:,.0f}",
                f"{row.ratio:.4f}",
                f"{least.ratio:.4f} .. {most.ratio:.4f}",
                f"{row.lost + row.untreated:.2%}",
                f"{row.mb_mean:.1f}",
                f"{row.ready_ms:.1f}",
                _judged(CROWD, row.plane, *measured) if row.containers == CROWD_MAX else "",
            )
        )
    head = (
        "",
        "plane",
        "packets/s",
        "ratio",
        "of all rounds",
        "lost",
        "MB each",
        "ms to start",
        "goals: ratio, MB, ms",
    )
    return [*_table(head, body), f"thesis: {THESIS_MB:g} MB each"]


def throughputs_table(rows: Sequence[Throughput]) -> list[str]:
    """The highest rates without loss."""
    body = [
        (
            _numbered(row.configuration),
            row.plane,
            str(row.bytes),
            f"{'>= ' if row.bounded else ''}{row.packets_per_s:,.0f}",
            f"{row.ratio:.3f}",
            f"{least.ratio:.3f} .. {most.ratio:.3f}",
            _thesis_ratio(row),
        )
        for row, least, most in _by_size(rows)
    ]
    return _table(("", "plane", "bytes", "packets/s", "ratio", "of all rounds", "thesis"), body)


def tables(found: Found) -> list[str]:
    """All that was measured, for a terminal."""
    lines: list[str] = []
    for rows, title, table in (
        (found.rates, "Rates (figure 6.7), packets in a second of processor time", rates_table(found.rates)),
        (found.delays, "Delay of single packets (figure 6.8)", delays_table(found.delays)),
        (
            found.throughputs,
            "Throughput (RFC 2544), sender by the clock on another processor, loss below 0.1 %",
            throughputs_table(found.throughputs),
        ),
        (found.crowds, "Many containers, each with KeepAlive and busy (figure 6.9)", crowds_table(found.crowds)),
    ):
        if rows:
            lines += ["", title, *table] if lines else [title, *table]
    return lines


def csv_files(found: Found) -> dict[str, str]:
    """A file for each kind of measurement, a row for each round."""
    kinds: dict[str, Sequence[msgspec.Struct]] = {
        "rates": found.rates,
        "delays": found.delays,
        "containers": found.crowds,
        "throughput": found.throughputs,
    }
    return {f"{name}.csv": _csv(rows) for name, rows in kinds.items() if rows}


def _csv(rows: Sequence[msgspec.Struct]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = rows[0].__struct_fields__
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they have to be: names and goals to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = []
    for row in (head, *body):
        cells = [
            text.ljust(width) if number in {0, 1, len(head) - 1} else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _by_size(rows: Sequence[_R]) -> list[tuple[_R, _R, _R]]:
    return sorted(medians(rows), key=lambda each: each[0].bytes)


def _judged(what: str, plane: str, *measured: tuple[str, float]) -> str:
    """Goals, each with whether it was reached."""
    found = []
    for measure, value in measured:
        wanted = goal(what, plane, measure)
        if wanted is not None:
            bound = f"{'>=' if wanted.least else '<='} {wanted.bound:g}"
            found.append(f"{bound} {'met' if wanted.met(value) else 'MISSED'}")
    return ", ".join(found)


def _numbered(name: str) -> str:
    number = BY_NAME[name].number
    return f"{number} {name}" if number else f"- {name}"


def _thesis_ratio(row: Rate | Throughput) -> str:
    kpps = BY_NAME[row.configuration].kpps
    return f"{kpps[row.bytes] / BASE.kpps[row.bytes]:.2f}" if row.bytes in kpps else ""
