"""`dhtboot run`: one simulated run."""

import argparse
import gc
import math
import sys
from typing import Final

import msgspec

from dhtboot import results
from dhtboot.cli_options import NOT_CONVERGED, Commands, add_command, directory, number
from dhtboot.cli_progress import Bar
from dhtboot.cli_scenario import PROTOCOLS, add_scenario_options, add_size_options, scenario_of
from dhtboot.cli_stop import Stop
from dhtboot.sim.result import RunResult
from dhtboot.sim.scenario import Progress, simulate

_EXAMPLES: Final = """\
examples:
  dhtboot run chord --nodes 10000 --rate 1000 --seed 1         the experiment of figure 2.1a
  dhtboot run chord --nodes 1000 --join standard --duration 6000 --until-converged
  dhtboot run kademlia --nodes 1000 --churn exponential:84 --settings live --duration 300
  dhtboot run chord --nodes 500 --partition 30-60:0.5 --settings live --duration 300 --json
  dhtboot run chord --nodes 1000 --out results --format parquet

A run is the same to the last message for the same options and seed: compare the digest.
exit status: 0 done, 1 failed, 2 wrong usage, 3 not converged with --until-converged, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    parser = add_command(
        commands,
        "run",
        run,
        summary="simulate how an overlay forms",
        description="Simulate how nodes that all come within seconds form an overlay, on the code that real nodes run.",
        examples=_EXAMPLES,
    )
    parser.add_argument("protocol", choices=PROTOCOLS, help="which overlay")
    add_size_options(parser)
    add_scenario_options(parser)
    parser.add_argument(
        "--snapshot", type=_times, default=(), metavar="S,S", help="record Chord's successor pointers at these times"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=directory, metavar="DIR", help="write the run and its table there")
    output.add_argument("--format", choices=("csv", "parquet"), default="csv", help="of the table (csv)")
    output.add_argument("--json", action="store_true", help="print the whole result as one line of JSON")
    output.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(options: argparse.Namespace) -> int:
    """Simulate, print and write; return the exit status."""
    scenario = scenario_of(options, options.protocol, options.nodes, options.seed, options.snapshot)
    with Stop() as stop, Bar(f"{scenario.protocol}", scenario.duration_s, quiet=options.quiet) as bar:

        def progress(at: Progress) -> None:
            bar.update(at.virtual_s, f"virtual s, {at.joined} of {at.alive} joined, {at.events_per_s:,.0f} events/s")

        result = simulate(scenario, progress=progress, stop=stop)
    gc.freeze()  # what is left of the run ends with the process: to look for cycles in all of it would take minutes
    if options.json:
        print(msgspec.json.encode(result).decode(), flush=True)
    else:
        print("\n".join(report(result)), flush=True)
    if options.out:
        for path in results.save(result, options.out, options.format):
            print(f"wrote {path}", file=sys.stderr)
    if stop.status:
        return stop.status
    return NOT_CONVERGED if scenario.until_converged and result.convergence_s is None else 0


def report(result: RunResult) -> list[str]:
    """The run as lines for people."""
    lines = [f"{'s':>7} {'sent':>8} {'delivered':>9} {'right':>7} {'hops':>6} {'joined':>8} {'alive':>8}"]
    for interval in result.intervals:
        end = interval.start_s + result.scenario.interval_s
        lines.append(
            f"{end:>7g} {interval.sent:>8} {interval.delivery_rate:>9.1%} {interval.right_rate:>7.1%} "
            f"{interval.mean_hops:>6.2f} {interval.joined:>8} {interval.alive:>8}"
        )
    nodes = result.intervals[-1].alive if result.intervals else result.scenario.nodes
    share = f"{result.scenario.converged_share:.0%}"
    lines += [
        f"{share} delivered after {_seconds(result.convergence_s)}",
        f"{share} delivered to the right node after {_seconds(result.convergence_right_s)}",
        f"all joined after {_seconds(result.all_joined_s)}",
        f"mean hops {result.mean_hops:.2f}; log2({nodes}) / 2 = {math.log2(max(nodes, 1)) / 2:.2f}",
        f"{result.messages:,} messages, {result.events:,} events, {result.events / result.cpu_s:,.0f} events/s",
        f"{result.cpu_s:.1f} s of processor, {result.peak_bytes / 1e6:.0f} MB at most",
        f"digest {result.digest}",
    ]
    if result.ended == "interrupted":
        lines.append(f"interrupted at {result.virtual_s:g} s of {result.scenario.duration_s:g} s")
    return lines


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:g} s"


def _times(text: str) -> tuple[float, ...]:
    return tuple(number(0, 1e6, " s")(part) for part in text.split(","))
