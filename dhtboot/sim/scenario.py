"""Runs a scenario and measures what it takes: the door from virtual to real time."""

import gc
import resource
import time
from collections.abc import Callable
from typing import Final

import msgspec

from dhtboot.sim.config import Scenario
from dhtboot.sim.huge_pages import use_huge_pages
from dhtboot.sim.result import Interval, RunResult
from dhtboot.sim.simulation import Simulation

SLICE_S: Final = 0.1
"Virtual seconds between two looks at `stop`; of 128,000 nodes they take a second or two."
REPORT_S: Final = 0.2
"Real seconds between two reports of progress."
HUGE_PAGES_S: Final = 1.0
"Real seconds between two requests for large pages, which take a millisecond."


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands."""

    virtual_s: float
    duration_s: float
    events: int
    events_per_s: float
    alive: int
    joined: int
    delivery_rate: float
    "Of the last complete interval, 0 before there is one."


def simulate(
    scenario: Scenario,
    *,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunResult:
    """Run a scenario to its end.

    Args:
        scenario: what to run.
        progress: called a few times a second.
        stop: asked often; once it says True the run ends with what there is.
    """
    wall_from, cpu_from = time.perf_counter(), time.process_time()
    simulation = Simulation(scenario)
    ended = "duration"
    reported = moved = wall_from
    # Nothing that dies in a run of a stable overlay is part of a cycle; looking for cycles would take a third of it.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while simulation.engine.now < scenario.duration_s:
            simulation.run(min(simulation.engine.now + SLICE_S, scenario.duration_s))
            if simulation.ended:
                ended = "converged"
                break
            if stop is not None and stop():
                ended = "interrupted"
                break
            now = time.perf_counter()
            if now - moved >= HUGE_PAGES_S:
                moved = now
                use_huge_pages()
            if progress is not None and now - reported >= REPORT_S:
                reported = now
                progress(_progress(simulation, now - wall_from))
        return _result(simulation, ended, time.perf_counter() - wall_from, time.process_time() - cpu_from)
    finally:
        gc.enable()
        gc.unfreeze()


def _progress(simulation: Simulation, wall_s: float) -> Progress:
    intervals = simulation.metrics.intervals
    return Progress(
        virtual_s=simulation.engine.now,
        duration_s=simulation.scenario.duration_s,
        events=simulation.engine.events,
        events_per_s=simulation.engine.events / wall_s,
        alive=len(simulation.peers),
        joined=len(simulation.census.identifiers),
        delivery_rate=intervals[-1].delivery_rate if intervals else 0.0,
    )


def _result(simulation: Simulation, ended: str, wall_s: float, cpu_s: float) -> RunResult:
    intervals = tuple(simulation.metrics.intervals)
    last = [interval for interval in intervals if interval.delivered][-1:]
    return RunResult(
        scenario=simulation.scenario,
        ended=ended,  # type: ignore[arg-type]
        virtual_s=round(simulation.engine.now, 3),
        intervals=intervals,
        convergence_s=simulation.convergence_s(),
        convergence_right_s=simulation.convergence_s(right=True),
        all_joined_s=simulation.all_joined_s,
        mean_hops=_mean_hops(last),
        messages=simulation.engine.messages,
        events=simulation.engine.events,
        digest=simulation.engine.digest,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        snapshots=tuple(simulation.snapshots),
        counters=dict(simulation.counters),
    )


def _mean_hops(last: list[Interval]) -> float:
    return last[0].mean_hops if last else 0.0
