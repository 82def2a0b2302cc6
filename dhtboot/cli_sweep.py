"""`dhtboot sweep`: a grid of runs."""

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dhtboot.cli_options import Commands, add_command, directory, listed, number, whole
from dhtboot.cli_progress import Bar
from dhtboot.cli_scenario import (
    NODES_MAX,
    PROTOCOLS,
    add_rate_option,
    add_scenario_options,
    check_memory,
    scenario_of,
)
from dhtboot.cli_stop import Stop
from dhtboot.jobs import Pool, local_pool, run_jobs
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult

_EXAMPLES: Final = """\
examples:
  dhtboot sweep --nodes 1000,10000 --seeds 1-5                   both protocols, over all cores
  dhtboot sweep --protocol chord --nodes 1k --seeds 1-5 --losses 0,0.05,0.1 --settings live
  dhtboot sweep --nodes 1000 --seeds 1-100 --cluster tcp://10.0.0.1:8786
  dhtboot sweep ...                                              the same again goes on where it was stopped

Each finished run is written to --out at once: JSON whole, its table as Parquet or CSV; the directory is a data set.
exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    parser = add_command(
        commands,
        "sweep",
        run,
        summary="simulate a grid of sizes, seeds and settings",
        description="Simulate every combination of the values given, over the cores of this machine or a Dask cluster.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--protocol", type=listed(_protocol), default=list(PROTOCOLS), help="chord,kademlia (both)")
    parser.add_argument("--nodes", type=listed(whole(1, NODES_MAX)), default=[1000], metavar="N,N", help="sizes (1000)")
    parser.add_argument("--seeds", type=listed(whole(0, 1 << 62)), default=[1], metavar="A-B", help="seeds (1)")
    parser.add_argument("--losses", type=listed(number(0, 0.99)), metavar="P,P", help="shares of packets lost")
    add_rate_option(parser)
    add_scenario_options(parser)
    where = parser.add_argument_group("where")
    where.add_argument("--jobs", type=whole(1, 1024), default=os.cpu_count() or 1, help="runs at once here (all cores)")
    where.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler, as tcp://host:8786, instead")
    where.add_argument("--out", type=directory, default=Path("sweep"), metavar="DIR", help="for the runs (./sweep)")
    where.add_argument("--format", choices=("csv", "parquet"), default="parquet", help="of the tables (parquet)")
    where.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(options: argparse.Namespace) -> int:
    """Run the grid; return the exit status."""
    scenarios = list(_grid(options))
    if not options.cluster:
        for scenario in scenarios:
            check_memory(scenario, min(options.jobs, len(scenarios)))
    finished = 0
    with Stop() as stop, pool_of(options) as pool, Bar("runs", len(scenarios), quiet=options.quiet) as bar:

        def on_done(result: RunResult, known: bool) -> None:
            nonlocal finished
            finished += 1
            what = f"{result.scenario.protocol} {result.scenario.nodes:,} seed {result.scenario.seed}"
            bar.update(finished, f"{'found' if known else 'done'}: {what}")

        done = run_jobs(scenarios, options.out, options.format, pool, on_done=on_done, stop=stop)
    print("\n".join(table(done)), flush=True)
    if stop.status:
        print(f"{len(done)} of {len(scenarios)} runs are in {options.out}; the same command goes on", file=sys.stderr)
    return stop.status


def _grid(options: argparse.Namespace) -> Iterator[Scenario]:
    """The longest runs first, so that no core is idle at the end."""
    losses = options.losses or [options.loss]
    for nodes, protocol, loss, seed in itertools.product(
        sorted(options.nodes, reverse=True), options.protocol, losses, options.seeds
    ):
        options.loss = loss
        yield scenario_of(options, protocol, nodes, seed)


@contextmanager
def pool_of(options: argparse.Namespace) -> Iterator[Pool]:
    """The cluster that was asked for, or this machine."""
    if options.cluster:
        from dhtboot.jobs_dask import cluster_pool  # noqa: PLC0415 - a second that only a cluster needs

        with cluster_pool(options.cluster) as pool:
            yield pool
    else:
        with local_pool(options.jobs) as pool:
            yield pool


def table(done: list[RunResult]) -> list[str]:
    """Medians over the seeds, as lines for people."""
    lines = [
        f"{'protocol':<9} {'nodes':>8} {'loss':>5} {'seeds':>5} {'converged s':>11} {'hops':>6} {'cpu s':>7} {'MB':>7}"
    ]
    groups: dict[tuple[str, int, float], list[RunResult]] = {}
    for result in done:
        scenario = result.scenario
        groups.setdefault((scenario.protocol, scenario.nodes, scenario.loss), []).append(result)
    for (protocol, nodes, loss), members in sorted(groups.items()):
        converged = [result.convergence_s for result in members if result.convergence_s is not None]
        when = f"{statistics.median(converged):g}" if len(converged) * 2 > len(members) else "never"
        lines.append(
            f"{protocol:<9} {nodes:>8} {loss:>5g} {len(members):>5} {when:>11} "
            f"{statistics.median(r.mean_hops for r in members):>6.2f} "
            f"{statistics.median(r.cpu_s for r in members):>7.1f} "
            f"{statistics.median(r.peak_bytes for r in members) / 1e6:>7.0f}"
        )
    return lines


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither chord nor kademlia")
    return text
