"""Figures 2.7 and 2.8: a hub and a chain of six nodes, cycle by cycle."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dhtboot.figures.base import Figure, Row
from dhtboot.sim.config import Scenario
from dhtboot.sim.lockstep import CHAIN, HUB, NODES, Cycle, steps
from dhtboot.sim.result import RunResult

CYCLES: Final = 6


def _none(_seeds: Sequence[int], _nodes_max: int) -> list[Scenario]:
    return []  # six nodes in lockstep need no scenario


def _draw(title: str, shape: Mapping[int, int]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    cycles = steps(shape, CYCLES)
    drawing, plots = plotting.bare_axes(title, 1, len(cycles), 2.3)
    for plot, cycle in zip(plots, cycles, strict=True):
        _draw_cycle(plot, cycle, plotting.COLOURS)
    return drawing


def _draw_cycle(plot: Any, cycle: Cycle, colours: Sequence[str]) -> None:
    place = {n: (math.sin(2 * math.pi * n / NODES), math.cos(2 * math.pi * n / NODES)) for n in range(NODES)}
    for number, following in cycle.successors.items():
        if following != number:
            right = following == (number + 1) % NODES
            plot.annotate(
                "",
                xy=place[following],
                xytext=place[number],
                arrowprops={
                    "arrowstyle": "->",
                    "color": colours[0] if right else colours[1],
                    "shrinkA": 9,
                    "shrinkB": 9,
                    "connectionstyle": "arc3,rad=0.12",
                },
            )
    for number, (x, y) in place.items():
        plot.scatter([x], [y], s=190, color="white", edgecolors="black", zorder=3)
        plot.text(x, y, str(number), ha="center", va="center", fontsize=9, zorder=4)
    plot.set_xlim(-1.35, 1.35)
    plot.set_ylim(-1.35, 1.35)
    plot.set_title(f"cycle {cycle.number}: ring of {cycle.ring}", fontsize=9)


def _rows(name: str, shape: Mapping[int, int]) -> list[Row]:
    rings = [cycle.ring for cycle in steps(shape, CYCLES)]
    return [Row(f"{name} of six nodes: ring after each cycle", "one node more a cycle", ", ".join(map(str, rings)))]


def _figure(number: str, name: str, title: str, shape: Mapping[int, int]) -> Figure:
    def draw(_results: Sequence[RunResult]) -> Any:
        return _draw(title, shape)

    def rows(_results: Sequence[RunResult]) -> list[Row]:
        return _rows(name, shape)

    return Figure(number=number, title=title, scenarios=_none, draw=draw, rows=rows)


FIGURES: Final = (
    _figure("2.7", "hub", "Figure 2.7: a hub dissolves (blue: the right successor)", HUB),
    _figure("2.8", "chain", "Figure 2.8: a chain dissolves (blue: the right successor)", CHAIN),
)
