"""`make bench`, first half: what the simulator costs, each run in a process of its own, medians over several rounds.

The pure form and, where `make compiled` has built it, the compiled one do the same runs in turns; equal digests show
that they are the same.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).resolve().parent.parent
COMPILED: Final = ROOT / ".venv-compiled" / "bin" / "python"
OVERSIM_CPU_S: Final = {"chord": 528.0, "kademlia": 521.0}
OVERSIM_MB: Final = {"chord": 4000.0, "kademlia": 3000.0}
"OverSim on the same scenario of 10,000 nodes and 50 s, on a machine of this class."
GOAL_CPU_S: Final = 55.0
GOAL_MB: Final = 600.0


class Line(msgspec.Struct, frozen=True):
    """One line of the table: medians of one form and one protocol."""

    form: str
    protocol: str
    events_per_s: float
    cpu_s: float
    peak_mb: float
    convergence_s: float | None
    digest: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench_sim", description="Measure the simulator.")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--duration", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    forms = {"pure": Path(sys.executable)} | ({"compiled": COMPILED} if COMPILED.exists() else {})
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for protocol in ("chord", "kademlia"):
            for form, python in forms.items():
                print(f"  round {number + 1}: {form}, {protocol}", file=sys.stderr, flush=True)
                found.setdefault((form, protocol), []).append(run(python, protocol, options))
    lines = [line(form, protocol, results) for (form, protocol), results in found.items()]
    print("\n".join(table(lines, options)))
    return 0


def run(python: Path, protocol: str, options: argparse.Namespace) -> dict[str, Any]:
    """One run; outside the checkout, so that each Python finds the form installed with it."""
    command = [str(python), "-m", "dhtboot", "run", protocol, "--nodes", str(options.nodes), "--quiet", "--json"]
    command += ["--duration", str(options.duration)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def line(form: str, protocol: str, results: list[dict[str, Any]]) -> Line:
    """The medians of some runs, which are the same run."""
    digests = {result["digest"] for result in results}
    if len(digests) != 1:
        raise AssertionError(f"{form} {protocol}: the same scenario gave {len(digests)} different runs")
    return Line(
        form,
        protocol,
        statistics.median(r["events"] / r["cpu_s"] for r in results),
        statistics.median(r["cpu_s"] for r in results),
        statistics.median(r["peak_bytes"] for r in results) / 1e6,
        results[0]["convergence_s"],
        digests.pop(),
    )


def table(lines: list[Line], options: argparse.Namespace) -> list[str]:
    """The lines as a Markdown table; OverSim's figures where the scenario is the one it was measured with."""
    title = f"simulator, {options.nodes:,} nodes, {options.duration:g} s, medians of {options.rounds}"
    rows = [f"| {title} | events/s | processor s | peak MB | 95 % s | digest |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {each.protocol}, {each.form} | {each.events_per_s:,.0f} | {each.cpu_s:.1f} | {each.peak_mb:.0f} "
        f"| {each.convergence_s} | {each.digest[:12]} |"
        for each in lines
    ]
    if (options.nodes, options.duration) == (10_000, 50.0):
        rows += [
            f"| {protocol}, OverSim | - | {OVERSIM_CPU_S[protocol]:.0f} | {OVERSIM_MB[protocol]:.0f} | - | - |"
            for protocol in OVERSIM_CPU_S
        ]
        rows.append(f"| goal | - | {GOAL_CPU_S:g} | {GOAL_MB:g} | - | - |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
