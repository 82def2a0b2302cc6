"""Figure 2.6: the tree of successor pointers that a mass arrival leaves behind with the standard join."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dhtboot.chord.config import ChordConfig
from dhtboot.figures.base import Figure, Row
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult, Snapshot

NODES: Final = 1_000
AT_S: Final = (5.0, 500.0)
LABELLED_MIN: Final = 8
"Nodes with so many followers are drawn as hubs."


def _scenarios(seeds: Sequence[int], nodes_max: int) -> list[Scenario]:
    chord = ChordConfig.thesis("standard")
    return [
        Scenario(nodes=min(NODES, nodes_max), seed=seeds[0], chord=chord, duration_s=AT_S[-1] + 1.0, snapshots_s=AT_S)
    ]


def depths(shape: Snapshot) -> dict[int, int]:
    """Steps from each node to the ring that most nodes lead to, or to a smaller one and 1; 0 for a node on it."""
    following = dict(zip(shape.numbers, shape.successors, strict=True))
    ring = _ring(following)
    found = dict.fromkeys(ring, 0)
    for start in following:
        path = []
        number = start
        while number not in found and number not in path:
            path.append(number)
            number = following[number]
        if number in path:  # a smaller ring, which does not lead to the large one: one step out as a whole
            at = path.index(number)
            found |= dict.fromkeys(path[at:], 1)
            del path[at:]
        base = found[number]
        for steps, each in enumerate(reversed(path), start=1):
            found[each] = base + steps
    return found


def _ring(following: Mapping[int, int]) -> list[int]:
    """The cycle that most nodes lead to."""
    ends: Counter[int] = Counter()
    for start in following:
        number = start
        for _ in range(len(following)):
            number = following[number]
        ends[min(_cycle(following, number))] += 1
    return _cycle(following, ends.most_common(1)[0][0])


def _cycle(following: Mapping[int, int], start: int) -> list[int]:
    cycle = [start]
    while following[cycle[-1]] != start:
        cycle.append(following[cycle[-1]])
    return cycle


def _draw(results: Sequence[RunResult]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    (result,) = results
    title = f"Figure 2.6: successor pointers with the standard join, {result.scenario.nodes:,} nodes"
    drawing, plots = plotting.bare_axes(title, 1, len(result.snapshots), 5.5)
    for plot, shape in zip(plots, result.snapshots, strict=True):
        _draw_shape(plot, shape, plotting.COLOURS)
    return drawing


def _draw_shape(plot: Any, shape: Snapshot, colours: Sequence[str]) -> None:
    """Nodes by identifier around the circle, by steps to the ring outward; hubs large."""
    depth = depths(shape)
    followers = Counter(shape.successors)
    deepest = max(depth.values(), default=0) or 1
    place = {}
    for at, number in enumerate(shape.numbers):
        angle = 2.0 * math.pi * at / len(shape.numbers)
        radius = 1.0 + 1.5 * math.sqrt(depth[number] / deepest)
        place[number] = (radius * math.sin(angle), radius * math.cos(angle))
    for number, following in zip(shape.numbers, shape.successors, strict=True):
        (x, y), (to_x, to_y) = place[number], place[following]
        plot.plot([x, to_x], [y, to_y], color="#999999", linewidth=0.3, alpha=0.5, zorder=1)
    for on_ring, colour, name in ((True, colours[0], "on the ring"), (False, colours[1], "in the tree")):
        chosen = [number for number in shape.numbers if (depth[number] == 0) == on_ring]
        plot.scatter(
            [place[n][0] for n in chosen],
            [place[n][1] for n in chosen],
            s=[3.0 + 3.0 * min(followers[n], 100) * (followers[n] >= LABELLED_MIN) for n in chosen],
            color=colour,
            zorder=2,
            label=f"{len(chosen)} {name}",
        )
    hub, most = followers.most_common(1)[0]
    plot.set_title(f"after {shape.at_s:g} s: deepest chain {max(depth.values())}, largest hub (node {hub}) {most}")
    plot.legend(loc="lower right", markerscale=1.0)


def _rows(results: Sequence[RunResult]) -> list[Row]:
    rows = []
    for shape in results[0].snapshots:
        depth, followers = depths(shape), Counter(shape.successors)
        rows.append(
            Row(
                f"chord, standard join, shape after {shape.at_s:g} s",
                "a tree with hubs and chains",
                f"{sum(d == 0 for d in depth.values())} of {len(shape.numbers)} nodes on the ring, "
                f"largest hub {max(followers.values())} followers, deepest chain {max(depth.values())}",
            )
        )
    return rows


FIGURES: Final = (
    Figure(number="2.6", title="The tree of successor pointers", scenarios=_scenarios, draw=_draw, rows=_rows),
)
