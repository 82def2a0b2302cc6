"""Many runs: over the cores of this machine or a Dask cluster, each written when it is done, so that work resumes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from dhtboot import results
from dhtboot.results import TableFormat
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult
from dhtboot.sim.scenario import simulate

POLL_S: Final = 0.2
"How soon a request to stop is seen."

_stopping: Any = None
"In a worker process: the event that ends its run."


class Pool(Protocol):
    """Where jobs run."""

    def submit(self, scenario: Scenario) -> "Future[RunResult]":
        """Run a scenario."""

    def stop(self) -> None:
        """End what runs, as soon as possible."""


def run_jobs(
    scenarios: Sequence[Scenario],
    directory: Path,
    table: TableFormat,
    pool: Pool,
    *,
    on_done: Callable[[RunResult, bool], None],
    stop: Callable[[], bool],
) -> list[RunResult]:
    """Run what was not run before.

    Args:
        scenarios: what to run; the longest should come first.
        directory: where finished runs are, and are written.
        table: format of their tables.
        pool: where to run them.
        on_done: called with each result, and whether it was there before.
        stop: asked often; once it says True no more is begun, and what runs is given up.

    Returns:
        The finished ones.
    """
    done: list[RunResult] = []
    under_way: set[Future[RunResult]] = set()
    for scenario in scenarios:
        known = results.load(scenario, directory)
        if known is None:
            under_way.add(pool.submit(scenario))
        else:
            done.append(known)
            on_done(known, True)
    while under_way:
        finished, under_way = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
        for future in finished:
            result = future.result()
            if result.ended != "interrupted":
                results.save(result, directory, table)
                done.append(result)
                on_done(result, False)
        if stop():
            pool.stop()
            break
    return done


# ---- this machine ----------------------------------------------------------------------------------------------------


class _LocalPool:
    def __init__(self, executor: ProcessPoolExecutor, stopping: Any) -> None:
        self._executor = executor
        self._stopping = stopping

    def submit(self, scenario: Scenario) -> Future[RunResult]:
        return self._executor.submit(run_one, scenario)

    def stop(self) -> None:
        self._stopping.set()
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def local_pool(jobs: int) -> Iterator[Pool]:
    """So many processes of this machine; a fresh one for each run, so that its peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_prepare, initargs=(stopping,), max_tasks_per_child=1
    ) as executor:
        yield _LocalPool(executor, stopping)


def _prepare(stopping: Any) -> None:
    import signal  # noqa: PLC0415 - in the worker only

    global _stopping  # noqa: PLW0603 - an event can reach a worker in no other way
    _stopping = stopping
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent says when to stop


def run_one(scenario: Scenario) -> RunResult:
    """One job, wherever it runs."""
    parent = os.getppid()

    def stop() -> bool:
        return (_stopping is not None and _stopping.is_set()) or os.getppid() != parent

    return simulate(scenario, stop=stop)
