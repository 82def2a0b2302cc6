"""`make bench`: what signalling costs a node, by the engine alone and by the daemon in a laboratory of three hosts.

    python -m tools.bench_signalling                     all of it, about ten minutes
    python -m tools.bench_signalling --quick             the same with few sessions, in a few seconds
    python -m tools.bench_signalling --only middle       one row
    python -m tools.bench_signalling --no-lab            without namespaces: the engine alone

Each measurement is a process of its own, or a daemon of its own; the rounds of all take turns, and the table has the
medians. Processor time and memory are the node's only. Latencies depend on who else uses the machine: the load is told.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tools import signalling_lab
from tools.netlab import Lab, LabError
from tools.netlab_process import end_by_exception
from tools.signalling_lab import Scene

ROOT: Final = Path(__file__).resolve().parent.parent
RUN_S: Final = 900


Figures = dict[str, float]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much is done."""

    handshakes: int = 20_000
    probes: int = 4_000
    sessions: int = 50_000
    seconds: float = 60.0
    "Of refreshing, by the daemon; by the engine alone it is always a minute."


QUICK: Final = Sizes(handshakes=300, probes=100, sessions=200, seconds=1.0)


class Row(msgspec.Struct, frozen=True):
    """One line of the table."""

    kind: str
    title: str
    figure: str
    unit: str
    goal: float | None = None
    at_least: bool = False
    scale: float = 1.0
    digits: int = 2


def _standing(kind: str, who: str, tail: str) -> tuple[Row, ...]:
    return (
        Row(kind, f"{who}: memory of a session", "bytes_per_session", "bytes", 2_400.0, digits=0),
        Row(kind, f"{who}: share of a core", "core_share", "%", 50.0, scale=100.0, digits=1),
        Row(kind, f"{who}: {tail} p50", "p50_ms", "ms", digits=3),
        Row(kind, f"{who}: {tail} p95", "p95_ms", "ms", 1.1, digits=3),
        Row(kind, f"{who}: {tail} p99", "p99_ms", "ms", digits=3),
        Row(kind, f"{who}: {tail} longest", "max_ms", "ms"),
    )


ROWS: Final = (
    Row("engine responder", "engine, responding: handshakes", "handshakes_per_s", "/s", 5_000.0, True, digits=0),
    Row("engine querier", "engine, querying: handshakes", "handshakes_per_s", "/s", 5_000.0, True, digits=0),
    Row("engine probes", "engine: signed PROBEs passed through", "exchanges_per_s", "/s", digits=0),
    *_standing("engine responding", "engine, last node of all", "time of a message"),
    *_standing("engine middle", "engine, in the middle", "time of a message"),
    Row("daemon handshakes", "daemon, responding: handshakes", "handshakes_per_s", "/s", 5_000.0, True, digits=0),
    Row("daemon handshakes", "daemon, responding: done, with the other end", "wall_per_s", "/s", digits=0),
    Row("daemon probes", "daemon: signed PROBEs passed through", "exchanges_per_s", "/s", digits=0),
    *_standing("daemon responding", "daemon, last node of all", "answer to a Query"),
    *_standing("daemon middle", "daemon, in the middle", "answer to a Query"),
)
_NAMES: Final = tuple(dict.fromkeys(row.kind for row in ROWS))


def engine(kind: str, count: int, seed: int) -> Figures:
    """One measurement of the engine alone."""
    words = [sys.executable, "-m", "tools.signalling_memory", kind, str(count), str(seed)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=RUN_S, cwd=ROOT)
    figures: Figures = json.loads(done.stdout)
    return figures


def measurements(sizes: Sizes, lab: Lab | None) -> dict[str, Callable[[int], Figures]]:
    """All of them by name; each is given a seed."""
    found: dict[str, Callable[[int], Figures]] = {
        "engine responder": lambda seed: engine("responder", sizes.handshakes, seed),
        "engine querier": lambda seed: engine("querier", sizes.handshakes, seed),
        "engine probes": lambda seed: engine("probes", sizes.probes, seed),
        "engine responding": lambda seed: engine("responding", sizes.sessions, seed),
        "engine middle": lambda seed: engine("middle", sizes.sessions, seed),
    }
    if lab is not None:
        # Few sessions are refreshed ten times a second, so that there is something to measure.
        scene = Scene(lab, *((1.0,) if sizes is QUICK else ()))
        found |= {
            "daemon handshakes": lambda seed: signalling_lab.handshakes(scene, sizes.handshakes, seed),
            "daemon probes": lambda seed: signalling_lab.probes(scene, sizes.probes, seed),
            "daemon responding": lambda seed: signalling_lab.standing(
                scene, sizes.sessions, seed, sizes.seconds, middle=False
            ),
            "daemon middle": lambda seed: signalling_lab.standing(
                scene, sizes.sessions, seed, sizes.seconds, middle=True
            ),
        }
    return found


def run(options: argparse.Namespace, sizes: Sizes, lab: Lab | None) -> dict[str, list[Figures]]:
    """All rounds of what is asked for."""
    chosen = {name: measure for name, measure in measurements(sizes, lab).items() if options.only in name}
    results: dict[str, list[Figures]] = {}
    for seed in range(1, options.rounds + 1):
        for name, measure in chosen.items():
            load = os.getloadavg()[0]
            print(f"round {seed} of {options.rounds}: {name} (load {load:.1f})", file=sys.stderr, flush=True)
            figures = measure(seed)
            results.setdefault(name, []).append(figures)
            if options.json:
                print(json.dumps({"measurement": name, "seed": seed, "load": load, **figures}), flush=True)
    return results


def table(results: dict[str, list[Figures]], options: argparse.Namespace, sizes: Sizes) -> list[str]:
    """Medians, goals, and whether they are reached."""
    lines = [f"{sizes.sessions:,} sessions, medians of {options.rounds}, one core of {os.cpu_count()}"]
    for row in ROWS:
        if row.kind not in results:
            continue
        value = statistics.median(figures[row.figure] for figures in results[row.kind]) * row.scale
        goal = verdict = ""
        if row.goal is not None:
            goal = f"{'>=' if row.at_least else '<='} {row.goal:,g}"
            verdict = "yes" if (value >= row.goal if row.at_least else value <= row.goal) else "NO"
        lines.append(f"{row.title:<52}{value:>12,.{row.digits}f} {row.unit:<6}{goal:>10}  {verdict}".rstrip())
    return lines


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="bench_signalling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--sessions", type=int, metavar="N", help="live sessions (default 50,000)")
    made.add_argument("--seconds", type=float, metavar="S", help="how long the daemon is watched (default 60)")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="default 3")
    made.add_argument("--only", default="", metavar="WORD", help="rows whose measurement has it in its name")
    made.add_argument("--quick", action="store_true", help="one round of very little, to see that it works")
    made.add_argument("--no-lab", action="store_true", help="without the daemon, which needs namespaces")
    made.add_argument("--json", action="store_true", help="print every measurement as a line of JSON as well")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parser().parse_args(argv)
    sizes = QUICK if options.quick else Sizes()
    if options.quick:
        options.rounds = 1
    else:
        given = {name: value for name in ("sessions", "seconds") if (value := getattr(options, name)) is not None}
        sizes = msgspec.structs.replace(sizes, **given)
    end_by_exception()
    try:
        if options.no_lab or "daemon" not in " ".join(name for name in _NAMES if options.only in name):
            results = run(options, sizes, None)
        else:
            with Lab() as lab:
                results = run(options, sizes, lab)
    except (LabError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(results, options, sizes)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
