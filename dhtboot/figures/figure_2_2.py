"""Figure 2.2: convergence time over the number of nodes."""

import statistics
from collections.abc import Sequence
from typing import Any, Final

from dhtboot.figures.base import Figure, Row, seconds
from dhtboot.sim.config import ProtocolName, Scenario
from dhtboot.sim.result import RunResult

SIZES: Final = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000)
PROTOCOLS: Final[tuple[ProtocolName, ...]] = ("chord", "kademlia")
THESIS: Final[dict[tuple[str, int], str]] = {("chord", 128_000): "45 s", ("kademlia", 128_000): "< 15 s"}
LIMIT_S: Final = 120.0


def _scenarios(seeds: Sequence[int], nodes_max: int) -> list[Scenario]:
    return [
        Scenario(protocol=protocol, nodes=nodes, seed=seed, duration_s=LIMIT_S, until_converged=True)
        for nodes in sorted(SIZES, reverse=True)
        if nodes <= nodes_max
        for protocol in PROTOCOLS
        for seed in seeds
    ]


def _medians(results: Sequence[RunResult], protocol: str) -> dict[int, float | None]:
    found: dict[int, float | None] = {}
    for nodes in sorted({result.scenario.nodes for result in results}):
        times = [r.convergence_s for r in results if (r.scenario.protocol, r.scenario.nodes) == (protocol, nodes)]
        reached = [at for at in times if at is not None]
        found[nodes] = statistics.median(reached) if times and len(reached) == len(times) else None
    return found


def _draw(results: Sequence[RunResult]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    drawing, plot = plotting.axes("Figure 2.2: convergence time", "nodes, arriving at 1,000 a second", "95 % after (s)")
    for protocol, colour in zip(PROTOCOLS, plotting.COLOURS, strict=False):
        points = {nodes: at for nodes, at in _medians(results, protocol).items() if at is not None}
        plot.plot(list(points), list(points.values()), marker="o", color=colour, label=protocol)
    plot.plot([128_000], [45.0], marker="x", linestyle="", color=plotting.COLOURS[0], label="chord, thesis")
    plot.axhline(15.0, color=plotting.COLOURS[1], linestyle=":", label="kademlia, thesis: below")
    plot.set_xscale("log", base=2)
    plot.set_xticks(SIZES, [f"{nodes // 1000}k" for nodes in SIZES])
    plot.set_ylim(bottom=0)
    plot.legend()
    return drawing


def _rows(results: Sequence[RunResult]) -> list[Row]:
    return [
        Row(f"{protocol}, {nodes:,} nodes: 95 % delivered", THESIS.get((protocol, nodes), "-"), seconds(at))
        for protocol in PROTOCOLS
        for nodes, at in _medians(results, protocol).items()
    ]


FIGURES: Final = (
    Figure(number="2.2", title="Convergence time over size", scenarios=_scenarios, draw=_draw, rows=_rows),
)
