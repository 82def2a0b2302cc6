"""What an experiment is: what it claims, the runs it needs, how they are drawn, what they say beside the claim."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

Row = dict[str, Any]
"One line of the CSV, by its columns."
Lists = Mapping[str, Sequence[int]]
"Addresses of hosts as numbers, distinct and ascending, by the name of their list."
Settings = TypeVar("Settings")


class Finding(msgspec.Struct, frozen=True):
    """One line of the printed table."""

    what: str
    wanted: str
    measured: str
    "With the 95 % interval over seeds."
    holds: bool | None
    "Whether it is as wanted; None where nothing is claimed, and the number stands for itself."


class Experiment(msgspec.Struct, Generic[Settings], frozen=True, kw_only=True):
    """One experiment. It is pure: nothing but settings and a seed decides what comes out.

    Attributes:
        number: in the design.
        name: one word.
        claim: one sentence that may turn out to be wrong.
        takes: how long all of it takes with ten seeds on one core.
        lists: whether it looks at lists of addresses.
        columns: of the CSV.
        settings: what to run with each seed, given whether it is the short version, and lists of addresses.
        run: one run, with settings and a seed.
        figure: draws rows, of which there is at least one; returns the drawing of `plotting`.
        findings: says in numbers what they show.
    """

    number: int
    name: str
    claim: str
    takes: str
    lists: bool
    columns: tuple[str, ...]
    settings: Callable[[bool, Lists], list[Settings]]
    run: Callable[[Settings, int], list[Row]]
    figure: Callable[[Sequence[Row]], Any]
    findings: Callable[[Sequence[Row]], list[Finding]]


def chosen(rows: Sequence[Row], **fields: object) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in fields.items())]


def values(rows: Sequence[Row], column: str) -> list[Any]:
    """The distinct values of a column, in the order in which they come."""
    return list(dict.fromkeys(row[column] for row in rows))


def numbers(rows: Sequence[Row], column: str) -> list[float]:
    """A column as numbers."""
    return [float(row[column]) for row in rows]
