"""`mdht experiment`: whether what the thesis claims of one node per subnet holds, in numbers."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from dhtboot import results
from dhtboot.cli_options import listed, whole
from dhtboot.cli_progress import Bar
from dhtboot.cli_stop import Stop
from dhtboot.errors import DhtbootError
from mdht.cli_isolation import read_list
from mdht.errors import LocalProtocolError
from mdht.experiments.all import EXPERIMENTS
from mdht.experiments.base import Experiment, Finding, Row

KNOWN: Final = ", ".join(f"{number} {each.name}" for number, each in EXPERIMENTS.items())
EXAMPLES: Final = f"""\
experiments, and how long they take with ten seeds on one core:
{chr(10).join(f"  {number:<3} {each.name:<11} {each.takes:<13} {each.claim}" for number, each in EXPERIMENTS.items())}

examples:
  mdht experiment 7 --short                    seconds: one seed, fewer and smaller runs
  mdht experiment 9 --seeds 1-10 --out figures all of it: experiment-9.csv, .png and .svg in ./figures
  mdht experiment 12 --hosts hosts.txt         also of a list with one IPv4 address a line

exit status: 0 done whether or not a claim holds, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM
"""
_SEED_MAX: Final = 1 << 62
_VERDICTS: Final = {True: "yes", False: "no", None: ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("number", nargs="?", default="", metavar="N", help=KNOWN)
    parser.add_argument("--seeds", metavar="A-B", help="seeds; each is a run of its own (1-10, with --short 1)")
    parser.add_argument("--short", action="store_true", help="fewer and smaller runs, in less than a minute")
    parser.add_argument("--hosts", action="append", default=[], metavar="FILE", help="one IPv4 address a line (9, 12)")
    parser.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR", help="where to (./figures)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line of the table")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more")


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 done, 1 failed, 130 and 143 stopped by Ctrl-C and SIGTERM with what there was by then.
    """
    try:
        experiment = _experiment(options.number)
        seeds = _seeds(options.seeds, "1" if options.short else "1-10")
        lists = _lists(experiment, options.hosts)
        _make(options.out)
        rows, status = _rows(experiment, experiment.settings(options.short, lists), seeds, quiet=options.quiet)
        if rows:
            found = experiment.findings(rows)
            print("\n".join(_json(found) if options.json else table(experiment, found, seeds)), flush=True)
            _write(experiment, rows, options.out)
    except (LocalProtocolError, DhtbootError) as error:
        print(f"mdht: {error}", file=sys.stderr)
        return 1
    return status


def table(experiment: Experiment[Any], findings: Sequence[Finding], seeds: Sequence[int]) -> list[str]:
    """The claim, and findings as a Markdown table, for people and for the documentation."""
    of = f"{len(seeds)} seeds, ± is a 95 % interval" if len(seeds) > 1 else "one seed"
    head = [f"Experiment {experiment.number}, {experiment.name} ({of}).", f"Claim: {experiment.claim}", ""]
    head += ["| | wanted | measured | holds |", "|---|---|---|---|"]
    return head + [f"| {each.what} | {each.wanted} | {each.measured} | {_VERDICTS[each.holds]} |" for each in findings]


def _experiment(number: str) -> Experiment[Any]:
    found = EXPERIMENTS.get(int(number)) if re.fullmatch(r"[0-9]{1,3}", number) else None
    if found is None:
        asked = f"there is no experiment {number[:20]!r}" if number else "say which experiment"
        raise LocalProtocolError(f"{asked}; there are {KNOWN}")
    return found


def _seeds(text: str | None, default: str) -> list[int]:
    try:
        seeds: list[int] = listed(whole(0, _SEED_MAX))(text or default)
    except argparse.ArgumentTypeError as error:
        raise LocalProtocolError(f"--seeds: {error}; 1-10 or 1,5,9 can be") from error
    return list(dict.fromkeys(seeds))


def _lists(experiment: Experiment[Any], files: Sequence[str]) -> dict[str, tuple[int, ...]]:
    if files and not experiment.lists:
        raise LocalProtocolError(f"experiment {experiment.number} looks at no hosts: leave --hosts out")
    lists: dict[str, tuple[int, ...]] = {}
    for name in files:
        hosts = read_list(name)
        if hosts.refused:
            print(f"mdht: {name}: {hosts.refused:,} lines are no IPv4 address", file=sys.stderr)
        stem = Path(name).stem if name != "-" else "stdin"
        lists[stem if stem not in lists else f"{stem} {len(lists) + 1}"] = hosts.addresses
    return lists


def _make(directory: Path) -> None:
    """Before the work, so that nothing is worked out in vain."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(directory, error) from error


def _rows(
    experiment: Experiment[Any], settings: Sequence[Any], seeds: Sequence[int], *, quiet: bool
) -> tuple[list[Row], int]:
    """Run one seed after the other, so that what is there when it is stopped can be compared."""
    rows: list[Row] = []
    done = 0
    with Stop() as stop, Bar(f"experiment {experiment.number}", len(seeds) * len(settings), quiet=quiet) as bar:
        for seed in seeds:
            for each in settings:
                if stop():
                    print(f"stopped after {done:,} of {len(seeds) * len(settings):,} runs", file=sys.stderr)
                    return rows, stop.status
                rows += experiment.run(each, seed)
                done += 1
                bar.update(done, f"seed {seed}")
    return rows, 0


def _write(experiment: Experiment[Any], rows: list[Row], directory: Path) -> None:
    base = directory / f"experiment-{experiment.number}"
    try:
        print(f"wrote {results.write(base.with_suffix('.csv'), results.table_bytes(rows, 'csv'))}", file=sys.stderr)
        from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

        for kind, data in plotting.files(experiment.figure(rows)).items():
            print(f"wrote {results.write(base.with_suffix(f'.{kind}'), data)}", file=sys.stderr)
    except OSError as error:
        raise _cannot_write(directory, error) from error


def _cannot_write(directory: Path, error: OSError) -> LocalProtocolError:
    return LocalProtocolError(f"cannot write to {directory}: {error.strerror}; choose another --out")


def _json(findings: Sequence[Finding]) -> list[str]:
    return [msgspec.json.encode(each).decode() for each in findings]
