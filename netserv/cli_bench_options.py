"""What `netserv bench` may be told."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from netserv.bench.configurations import SIZES
from netserv.forwarding.base import PLANE_NAMES

KINDS: Final = ("rates", "delay", "containers", "throughput")
EXAMPLES: Final = """\
examples:
  sudo netserv bench                                   all, in seven to fourteen minutes
  sudo netserv bench rates --plane both --out results  figure 6.7: CSV, and figures where matplotlib is installed
  sudo netserv bench rates delay --rounds 3            figure 6.8 needs both
  sudo netserv bench containers --containers 1,10,100
  sudo netserv bench throughput --plane both           the highest rates without loss; needs two processors

Rates are packets in a second of processor time of all that takes part, the sender included, on one processor; ratios
are those to a router with netfilter rules in the same round. Modules and containers are those of a node. Throughput
is that of RFC 2544: a sender by the clock on one processor, the router on another, loss below 0.1 %. Traffic stays
in network namespaces that end with the command, and so does all else. The thesis' numbers and our goals stand beside.

exit status: 0 measured, whether or not goals were reached; 1 failed, 2 wrong usage, 130 stopped by Ctrl-C
"""
ROUNDS_MAX: Final = 1_000
SECONDS_MAX: Final = 600.0
CONTAINERS_MAX: Final = 200
"A hundred of the thesis, and as many again; they take 1 GB."
_BYTES: Final = {str(each): each for each in SIZES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = parser.add_argument
    add("what", type=_kind, nargs="*", metavar="WHAT", help=f"{', '.join(KINDS)} (all of them)")
    add(
        "--plane",
        choices=("auto", *PLANE_NAMES, "both"),
        default="auto",
        help="how packets reach modules (auto: as a node on this machine chooses; both: xdp and netfilter)",
    )
    add("--rounds", type=_whole(ROUNDS_MAX), default=5, metavar="N", help="of all configurations in turns (5)")
    add("--seconds", type=_seconds, default=1.0, metavar="S", help="of traffic for each number (1)")
    add("--bytes", type=_sizes, default=SIZES, metavar="LIST", help="of IP packets: 64, 340 or both (64,340)")
    add(
        "--containers",
        type=_counts,
        default=(1, 2, 5, 10, 20, 50, 100),
        metavar="LIST",
        help="how many of them at a time (1,2,5,10,20,50,100)",
    )
    add("--out", type=Path, metavar="DIR", help="write CSV there, and figures where matplotlib is installed")
    add("--json", action="store_true", help="print one JSON object, a row for each round")
    add("-v", "--verbose", action="count", default=0, help="more about what is done, twice: everything")


def _kind(text: str) -> str:
    if text not in KINDS:
        raise argparse.ArgumentTypeError(f"there is no {text!r}; there are {', '.join(KINDS)}")
    return text


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"a whole number from 1 to {most}: {text}")
        return int(text)

    return parse


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_whole(CONTAINERS_MAX)(each) for each in text.split(",")}))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({_BYTES[each] for each in text.split(",")}))
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"64, 340 or 64,340, as in the thesis: {text}") from error


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"seconds from 0.05 to {SECONDS_MAX:g}: {text}")
    return value
