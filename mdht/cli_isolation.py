"""`mdht isolation`: how many hosts of a list would be alone in their subnet (thesis figure 3.2)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from dhtboot.errors import DhtbootError
from mdht.errors import LocalProtocolError
from mdht.isolation import BITS, SYNTHETIC, Hosts, Isolation, isolation, read_hosts, sample, synthetic

SHOWN: Final = (30, 28, 26, 24, 23, 22, 21, 20, 19, 18, 17, 16, 12)
"Prefix lengths of the table; JSON and the drawing have all."

EXAMPLES: Final = """\
examples:
  mdht isolation hosts.txt                     one IPv4 address a line; - reads standard input
  mdht isolation a.txt b.txt --out figures     two curves in figures/isolation.png and .svg
  mdht isolation --synthetic edu --hosts 5000  addresses made up after the thesis' figure
  mdht isolation hosts.txt --sample 1000       of a thousand of them, drawn at random
"""


class Curve(msgspec.Struct, frozen=True):
    """One line of the figure."""

    name: str
    hosts: int
    repeated: int
    refused: int
    "Lines that are no IPv4 address."
    ratios: tuple[float, ...]
    "For prefix lengths 0 to 32."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="one IPv4 address a line; - for standard input")
    parser.add_argument("--synthetic", choices=sorted(SYNTHETIC), help="addresses made up after the thesis' figure")
    parser.add_argument("--hosts", type=int, default=10_000, metavar="N", help="of them (10,000)")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each list, drawn at random")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all chance (1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="draw isolation.png and isolation.svg there")
    parser.add_argument("--json", action="store_true", help="one JSON object per list, with all prefix lengths")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more")


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 done, 1 failed.
    """
    try:
        curves = [_curve(name, hosts, options) for name, hosts in _lists(options)]
        for curve in curves:
            if curve.refused:
                print(f"mdht: {curve.name}: {curve.refused:,} lines are no IPv4 address", file=sys.stderr)
        print("\n".join(_json(curves) if options.json else _table(curves)))
        if options.out is not None:
            _draw(curves, options.out)
    except LocalProtocolError as error:
        print(f"mdht: {error}", file=sys.stderr)
        return 1
    return 0


def _lists(options: argparse.Namespace) -> list[tuple[str, Hosts]]:
    found = [(Path(name).stem if name != "-" else "stdin", read_list(name)) for name in options.files]
    if options.synthetic is not None:
        made = synthetic(options.synthetic, options.hosts, Random(options.seed))
        found.append((f"synthetic {options.synthetic}", Hosts(tuple(made), 0, 0)))
    if not found:
        raise LocalProtocolError("nothing to look at: name a FILE with one IPv4 address a line, or --synthetic edu")
    return found


def read_list(name: str) -> Hosts:
    """Read a list from a file, or from standard input for -.

    Raises:
        LocalProtocolError: it cannot be read, or there is no address; the text names the file.
    """
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(errors="replace")
        return read_hosts(text.splitlines())
    except OSError as error:
        raise LocalProtocolError(f"{name}: {error.strerror}") from error
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{name}: {error}") from error


def _curve(name: str, hosts: Hosts, options: argparse.Namespace) -> Curve:
    addresses: Sequence[int] = hosts.addresses
    if options.sample is not None:
        addresses = sample(addresses, options.sample, Random(options.seed))
    found: Isolation = isolation(addresses)
    return Curve(name, found.hosts, hosts.repeated, hosts.refused, found.ratios)


def _json(curves: Sequence[Curve]) -> list[str]:
    return [msgspec.json.encode(curve).decode() for curve in curves]


def _table(curves: Sequence[Curve]) -> list[str]:
    width = max(len(curve.name) for curve in curves)
    head = f"{'':{width}} {'hosts':>9} " + " ".join(f"{'/' + str(bits):>6}" for bits in SHOWN)
    rows = [
        f"{curve.name:{width}} {curve.hosts:>9,} " + " ".join(f"{curve.ratios[bits]:>6.1%}" for bits in SHOWN)
        for curve in curves
    ]
    return [f"{'':{width}} {'':>9} hosts alone in their subnet, by its prefix length", head, *rows]


def _draw(curves: Sequence[Curve], directory: Path) -> None:
    plotting = _plotting()
    drawing, plot = plotting.axes("Hosts alone in their subnet", "prefix length", "share of all hosts")
    lengths = range(8, BITS + 1)
    for at, curve in enumerate(curves):
        shares = [curve.ratios[bits] for bits in lengths]
        colour = plotting.COLOURS[at % len(plotting.COLOURS)]
        plot.plot(lengths, shares, marker=".", color=colour, label=f"{curve.name}, {curve.hosts:,} hosts")
    plot.set_xticks(range(8, BITS + 1, 4), [f"/{bits}" for bits in range(8, BITS + 1, 4)])
    plot.set_ylim(0, 1)
    plot.legend()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for kind, data in plotting.files(drawing).items():
            (directory / f"isolation.{kind}").write_bytes(data)
    except OSError as error:
        raise LocalProtocolError(f"{directory}: {error.strerror}") from error


def _plotting() -> Any:
    try:
        from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import
    except DhtbootError as error:
        raise LocalProtocolError(str(error)) from error
    return plotting
