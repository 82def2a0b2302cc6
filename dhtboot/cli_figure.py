"""`dhtboot figure`: the figures of thesis chapter 2, from fresh runs."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from dhtboot import results
from dhtboot.cli_options import Commands, add_command, directory, listed, whole
from dhtboot.cli_progress import Bar
from dhtboot.cli_scenario import check_memory
from dhtboot.cli_stop import Stop
from dhtboot.errors import LocalProtocolError
from dhtboot.figures.all import FIGURES
from dhtboot.figures.base import Figure, Row
from dhtboot.jobs import local_pool, run_jobs
from dhtboot.sim.result import RunResult

_EXAMPLES: Final = """\
examples:
  dhtboot figure 2.1a                          one figure into ./figures: PNG, SVG, and its data
  dhtboot figure 2.5 --seeds 1-5 --jobs 4      five seeds, four runs at once
  dhtboot figure 2.2 --nodes-max 16000         without the largest sizes, which take a quarter of an hour
  dhtboot figure all                           all of them; what was run before is not run again

exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM
"""


def add_parser(commands: Commands) -> None:
    """Add the command's options."""
    parser = add_command(
        commands,
        "figure",
        run,
        summary="draw a figure of the thesis",
        description="Run what a figure of thesis chapter 2 shows, and draw it beside what the thesis measured.",
        examples=_EXAMPLES,
    )
    parser.add_argument("number", type=_number, metavar="NUMBER", help=f"{', '.join(FIGURES)} or all")
    parser.add_argument("--seeds", type=listed(whole(0, 1 << 62)), default=[1], metavar="A-B", help="seeds (1)")
    parser.add_argument("--nodes-max", type=whole(6, 1_000_000), default=128_000, metavar="N", help="largest run")
    parser.add_argument("--out", type=directory, default=Path("figures"), metavar="DIR", help="where to (./figures)")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv", help="of the data (csv)")
    parser.add_argument("--jobs", type=whole(1, 1024), default=os.cpu_count() or 1, help="runs at once (all cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(options: argparse.Namespace) -> int:
    """Run, draw, write; return the exit status."""
    rows: list[Row] = []
    with Stop() as stop:
        for figure in FIGURES.values() if options.number == "all" else [FIGURES[options.number]]:
            done = _runs(figure, options, stop)
            if stop.status:
                print(f"stopped; finished runs are in {options.out}, the same command goes on", file=sys.stderr)
                break
            _write(figure, done, options)
            rows += figure.rows(done)
    if rows:
        print("\n".join(table(rows)), flush=True)
    return stop.status


def _runs(figure: Figure, options: argparse.Namespace, stop: Stop) -> list[RunResult]:
    scenarios = figure.scenarios(options.seeds, options.nodes_max)
    if not scenarios:
        return []
    jobs = min(options.jobs, len(scenarios))
    for scenario in scenarios:
        check_memory(scenario, jobs)
    finished = 0
    with local_pool(jobs) as pool, Bar(f"figure {figure.number}", len(scenarios), quiet=options.quiet) as bar:

        def on_done(_result: RunResult, _known: bool) -> None:
            nonlocal finished
            finished += 1
            bar.update(finished, "runs")

        return run_jobs(scenarios, options.out / "runs", options.format, pool, on_done=on_done, stop=stop)


def _write(figure: Figure, done: list[RunResult], options: argparse.Namespace) -> None:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    base = options.out / f"figure-{figure.number}"
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for kind, data in plotting.files(figure.draw(done)).items():
            print(f"wrote {results.write(base.with_name(f'{base.name}.{kind}'), data)}", file=sys.stderr)
    except OSError as error:
        raise LocalProtocolError(f"cannot write to {options.out}: {error.strerror}; choose another --out") from error


def table(rows: list[Row]) -> list[str]:
    """Rows as a Markdown table, for people and for the documentation."""
    lines = ["| | thesis | measured |", "|---|---|---|"]
    return lines + [f"| {row.what} | {row.thesis} | {row.measured} |" for row in rows]


def _number(text: str) -> str:
    if text != "all" and text not in FIGURES:
        raise argparse.ArgumentTypeError(f"there is no figure {text!r}; there are {', '.join(FIGURES)} and all")
    return text
