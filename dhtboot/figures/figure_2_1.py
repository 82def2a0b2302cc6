"""Figures 2.1a and 2.1b: 10,000 nodes come at 1,000 a second; how soon are messages delivered?"""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from dhtboot.figures.base import Figure, Row, seconds
from dhtboot.sim.config import ProtocolName, Scenario
from dhtboot.sim.result import RunResult

NODES: Final = 10_000
THESIS: Final[dict[str, str]] = {"chord": "20 s", "kademlia": "< 15 s"}


def _scenarios(protocol: ProtocolName, seeds: Sequence[int], nodes_max: int) -> list[Scenario]:
    return [Scenario(protocol=protocol, nodes=min(NODES, nodes_max), seed=seed) for seed in seeds]


def _draw(title: str, results: Sequence[RunResult]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    drawing, (rates, hops) = plotting.axes(title, "virtual time (s)", "", columns=2, width=10)
    rates.set_ylabel("delivered per sent")
    hops.set_ylabel("mean hops of delivered messages")
    for result in results:
        ends = [interval.start_s + result.scenario.interval_s for interval in result.intervals]
        first = result is results[0]
        rates.plot(
            ends,
            [interval.delivery_rate for interval in result.intervals],
            marker="o",
            color=plotting.COLOURS[0],
            label="to a node that believes itself responsible" if first else None,
        )
        rates.plot(
            ends,
            [interval.right_rate for interval in result.intervals],
            linestyle="--",
            color=plotting.COLOURS[1],
            label="to the responsible node" if first else None,
        )
        hops.plot(ends, [interval.mean_hops for interval in result.intervals], marker="o", color=plotting.COLOURS[2])
    nodes = results[0].scenario.nodes
    rates.axhline(0.95, color=plotting.GREY, linestyle=":", label="95 %")
    rates.set_ylim(0, 1.08)
    rates.legend(loc="lower right")
    hops.axhline(math.log2(nodes) / 2, color=plotting.GREY, linestyle=":", label=f"log2({nodes:,}) / 2")
    hops.set_ylim(bottom=0)
    hops.legend(loc="lower right")
    return drawing


def _rows(results: Sequence[RunResult]) -> list[Row]:
    protocol, nodes = results[0].scenario.protocol, results[0].scenario.nodes
    name = f"{protocol}, {nodes:,} nodes at 1,000/s"
    return [
        Row(f"{name}: 95 % delivered", THESIS[protocol], _each(results, lambda r: seconds(r.convergence_s))),
        Row(f"{name}: 95 % to the right node", "-", _each(results, lambda r: seconds(r.convergence_right_s))),
        Row(
            f"{name}: mean hops",
            "O(log N)",
            f"{statistics.median(r.mean_hops for r in results):.2f}; log2(N) / 2 = {math.log2(nodes) / 2:.2f}",
        ),
    ]


def _each(results: Sequence[RunResult], text: Any) -> str:
    return ", ".join(dict.fromkeys(text(result) for result in results))


def _figure(number: str, protocol: ProtocolName, title: str) -> Figure:
    def scenarios(seeds: Sequence[int], nodes_max: int) -> list[Scenario]:
        return _scenarios(protocol, seeds, nodes_max)

    def draw(results: Sequence[RunResult]) -> Any:
        return _draw(title, results)

    return Figure(number=number, title=title, scenarios=scenarios, draw=draw, rows=_rows)


FIGURES: Final = (
    _figure("2.1a", "chord", "Figure 2.1a: Chord with aggressive join"),
    _figure("2.1b", "kademlia", "Figure 2.1b: Kademlia"),
)
