"""`make bench`: the record store beside the `kademlia` package, and OpenDHT where it is installed, in one run.

Every contestant does the same work in a process of its own, in turns, several rounds; the table shows medians. All
nodes of a contestant live in one process on loopback: latencies contain the work of all nodes that take part.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tools.bench_work import Figures

ROOT: Final = Path(__file__).resolve().parent.parent
DEBIAN_PYTHON: Final = "/usr/bin/python3"
"OpenDHT's binding comes from Debian's package python3-opendht, which only Debian's own Python sees."
RUN_LIMIT_S: Final = 600


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    title: str
    figure: str
    unit: str
    goal: float | None = None
    at_least: bool = False
    "Whether the goal is a floor and not a ceiling."


ROWS: Final = (
    Row("put p50", "put_p50", "ms", 3.0),
    Row("put p99", "put_p99", "ms", 8.0),
    Row("get (all values) p50", "get_p50", "ms", 2.0),
    Row("get (all values) p99", "get_p99", "ms", 6.0),
    Row("get first value p50", "first_p50", "ms", 1.0),
    Row("puts/s, 32 at once", "puts_per_s", "/s", 350.0, at_least=True),
    Row("gets/s, 32 at once", "gets_per_s", "/s", 1000.0, at_least=True),
    Row("processor per put, all nodes", "cpu_ms_per_put", "ms", 2.5),
    Row("processor per get, all nodes", "cpu_ms_per_get", "ms", 1.0),
    Row("memory per loaded node", "kib_per_node", "KiB", 400.0),
    Row("gets that missed", "missing", "", 0.0),
    Row("100 values under one key", "hundred_values", "ms", 50.0),
    Row("watch: put to added p50", "watch_added_p50", "ms", 2.0),
    Row("watch: remove to removed p50", "watch_removed_p50", "ms", 5.0),
    Row("error of expiry", "expiry_error_s", "s", 1.0),
    Row("nodes doubled: copies placed after 5 s", "placed_percent", "%", 99.0, at_least=True),
    Row("half the nodes killed: get p50", "half_dead_p50", "ms", 60.0),
    Row("half the nodes killed: get p99", "half_dead_p99", "ms", 400.0),
    Row("half the nodes killed: missed", "half_dead_missed", "", None),
    Row("half the nodes killed: truly gone", "half_dead_gone", "", None),
    Row("all restart with 1,000 records: 95 % found", "restart_delivery_s", "s", 20.0),
    Row("all restart: processor idle again", "restart_idle_s", "s", None),
)


def contestants() -> dict[str, list[str]]:
    """Commands of those that are installed here."""
    found = {
        "z2z": [sys.executable, "-m", "tools.bench_z2z"],
        "kademlia": [sys.executable, "-m", "tools.bench_kademlia"],
    }
    if (
        Path(DEBIAN_PYTHON).exists()
        and not subprocess.run([DEBIAN_PYTHON, "-c", "import opendht"], capture_output=True, check=False).returncode
    ):
        found["opendht"] = [DEBIAN_PYTHON, str(ROOT / "tools" / "bench_opendht.py")]
    return found


def run_once(command: Sequence[str], nodes: int, operations: int, seed: int) -> Figures | None:
    """One contestant, once; None when it failed."""
    try:
        done = subprocess.run(
            [*command, str(nodes), str(operations), str(seed)],
            stdout=subprocess.PIPE,
            check=True,
            timeout=RUN_LIMIT_S,
            cwd=ROOT,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"  failed: {error}", file=sys.stderr)
        return None
    return Figures(**json.loads(done.stdout))


def median_of(runs: Sequence[Figures], figure: str) -> float | None:
    """Median of one figure over the rounds, None where the contestant has none."""
    values = [run.extra.get(figure, getattr(run, figure, None)) for run in runs]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def print_table(nodes: int, rounds: int, results: dict[str, list[Figures]]) -> None:
    """Medians side by side, the goal, and whether ours reaches it."""
    names = [runs[0].contestant for runs in results.values()]
    print(f"\n{nodes} nodes in one process, medians of {rounds} rounds")
    print(f"{'':<46}" + "".join(f"{name:>16}" for name in names) + f"{'goal':>12}")
    for row in ROWS:
        medians = [median_of(runs, row.figure) for runs in results.values()]
        if all(value is None for value in medians):
            continue
        cells = "".join(f"{'-' if value is None else f'{value:.2f}':>16}" for value in medians)
        goal, verdict = "", ""
        if row.goal is not None:
            goal = f"{'>=' if row.at_least else '<='} {row.goal:g}"
            ours = medians[0]
            if ours is not None:
                verdict = "  yes" if (ours >= row.goal if row.at_least else ours <= row.goal) else "  NO"
        print(f"{row.title + (f' [{row.unit}]' if row.unit else ''):<46}{cells}{goal:>12}{verdict}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[32, 100], metavar="N", help="sizes (default 32 100)")
    parser.add_argument("--operations", type=int, default=1000, metavar="N", help="puts, and gets (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each contestant (default 3)")
    parser.add_argument("--json", action="store_true", help="print every run as a line of JSON as well")
    options = parser.parse_args(argv)
    failed = False
    for nodes in options.nodes:
        results: dict[str, list[Figures]] = {}
        for seed in range(1, options.rounds + 1):
            for name, command in contestants().items():
                print(f"{nodes} nodes, round {seed} of {options.rounds}: {name}", file=sys.stderr)
                figures = run_once(command, nodes, options.operations, seed)
                failed = failed or figures is None
                if figures is not None:
                    results.setdefault(name, []).append(figures)
                    if options.json:
                        print(json.dumps(msgspec.to_builtins(figures)))
        if results:
            print_table(nodes, options.rounds, results)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
