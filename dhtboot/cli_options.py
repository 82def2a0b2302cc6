"""What the commands share: exit statuses, argument types, output."""

import argparse
import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

FAILED: Final = 1
USAGE: Final = 2
NOT_CONVERGED: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name it has
else:
    Commands = Any


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Add a command that runs `run`."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell more on stderr")
    parser.set_defaults(run=run)
    return parser


def print_json(fields: Any) -> None:
    """One line of JSON on stdout, at once."""
    print(msgspec.json.encode(fields).decode(), flush=True)


def host(text: str) -> str:
    """A numeric address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a numeric IPv4 or IPv6 address") from error


def port(text: str) -> int:
    """A UDP port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 0..65535")
    return int(text)


def network(text: str) -> str:
    """The name of an overlay."""
    if not 1 <= len(text) <= 64 or not text.isprintable():
        raise argparse.ArgumentTypeError("a network's name has 1 to 64 printable characters")
    return text


def seconds(text: str) -> float:
    """A time of up to a day."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1.0 <= value <= 86_400.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not within 1..86400 seconds (a day)")
    return value


def number(low: float, high: float, unit: str = "") -> Callable[[str], float]:
    """A number within bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not within {low:g}..{high:g}{unit}")
        return value

    return parse


def whole(low: int, high: int, possible: Callable[[], str] | None = None) -> Callable[[str], int]:
    """A whole number within bounds; `10k` and `1_000` are accepted.

    Args:
        low: the least.
        high: the most.
        possible: says what is possible here, for whoever asks for more than the most.
    """

    def parse(text: str) -> int:
        found = re.fullmatch(r"([0-9][0-9_]*)(k|M)?", text)
        value = int(found[1].replace("_", "")) * {None: 1, "k": 1000, "M": 1_000_000}[found[2]] if found else low - 1
        if not low <= value <= high:
            hint = f"; {possible()}" if possible and value > high else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number within {low:,}..{high:,}{hint}")
        return value

    return parse


def span(low: float, high: float, unit: str) -> Callable[[str], tuple[float, float]]:
    """One number, or two with a dash between them: `5` or `1-5`."""
    single = number(low, high, unit)

    def parse(text: str) -> tuple[float, float]:
        first, dash, second = text.partition("-")
        bounds = single(first), single(second if dash else first)
        if bounds[0] > bounds[1]:
            raise argparse.ArgumentTypeError(f"{text!r}: the first number is the smaller one")
        return bounds

    return parse


def listed(single: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Several values with commas between them; whole numbers may be given as a range `1-5`."""

    def parse(text: str) -> list[Any]:
        values: list[Any] = []
        for part in text.split(","):
            ends = re.fullmatch(r"([0-9]+)-([0-9]+)", part)
            if ends and int(ends[1]) <= int(ends[2]) <= int(ends[1]) + 10_000:
                values += [single(str(value)) for value in range(int(ends[1]), int(ends[2]) + 1)]
            else:
                values.append(single(part))
        return values

    return parse


def directory(text: str) -> Path:
    """A directory to write to, made when it is not there."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no directory")
    return path
