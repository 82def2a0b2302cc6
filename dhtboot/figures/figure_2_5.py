"""Figure 2.5: the standard join of Chord, 1,000 nodes, three settings of its periods."""

import statistics
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.figures.base import Figure, Row, seconds
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult

NODES: Final = 1_000
SETTINGS: Final[tuple[tuple[float, float, str, str], ...]] = (
    (5.0, 5.0, "5 s / 10 s", "4,500 s"),
    (1.0, 5.0, "random 1-5 s / 2-10 s", "2,000 s"),
    (1.0, 1.0, "1 s / 2 s", "650 s"),
)
"Bounds of STABILIZE's period (FIXFINGERS has twice that), their name, what the thesis measured."
LIMIT_S: Final = 9_000.0


def scenario(low_s: float, high_s: float, seed: int, nodes: int) -> Scenario:
    """One run of the figure."""
    chord = msgspec.structs.replace(
        ChordConfig.thesis("standard"),
        stabilize_min_s=low_s,
        stabilize_max_s=high_s,
        fix_fingers_min_s=2.0 * low_s,
        fix_fingers_max_s=2.0 * high_s,
    )
    return Scenario(
        nodes=nodes, seed=seed, chord=chord, duration_s=LIMIT_S, until_converged=True, converged_when="right"
    )


def _scenarios(seeds: Sequence[int], nodes_max: int) -> list[Scenario]:
    return [scenario(low, high, seed, min(NODES, nodes_max)) for low, high, _, _ in SETTINGS for seed in seeds]


def _of(results: Sequence[RunResult], low_s: float, high_s: float) -> list[RunResult]:
    return [
        r for r in results if (r.scenario.chord.stabilize_min_s, r.scenario.chord.stabilize_max_s) == (low_s, high_s)
    ]


def _draw(results: Sequence[RunResult]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = f"Figure 2.5: Chord with the standard join, {results[0].scenario.nodes:,} nodes"
    drawing, plot = plotting.axes(title, "virtual time (s)", "delivered per sent")
    for (low, high, name, _thesis), colour in zip(SETTINGS, plotting.COLOURS, strict=False):
        for at, result in enumerate(_of(results, low, high)):
            ends = [interval.start_s + result.scenario.interval_s for interval in result.intervals]
            believed = [interval.delivery_rate for interval in result.intervals]
            right = [interval.right_rate for interval in result.intervals]
            plot.plot(ends, believed, color=colour, alpha=0.8, linewidth=1, label=None if at else name)
            plot.plot(ends, right, color=colour, alpha=0.5, linewidth=0.8, linestyle=":")
    plot.plot([], [], color=plotting.GREY, linestyle=":", label="to the responsible node")
    plot.axhline(0.95, color=plotting.GREY, linestyle="--", label="95 %")
    plot.set_ylim(0, 1.08)
    plot.legend(loc="lower right")
    return drawing


def _rows(results: Sequence[RunResult]) -> list[Row]:
    rows = []
    for low, high, name, thesis in SETTINGS:
        found = [result.convergence_right_s for result in _of(results, low, high)]
        times = sorted(at for at in found if at is not None)
        measured = "never" if not times else seconds(statistics.median(times))
        spread = f" (median of {len(times)}; {times[0]:g} .. {times[-1]:g})" if len(times) > 1 else ""
        rows.append(Row(f"chord, standard join, {name}: 95 % to the right node", thesis, measured + spread))
    return rows


FIGURES: Final = (
    Figure(number="2.5", title="Chord with the standard join", scenarios=_scenarios, draw=_draw, rows=_rows),
)
