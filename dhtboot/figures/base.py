"""What a figure is: the runs it needs, how it is drawn, what it says beside the thesis."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dhtboot.sim.config import Scenario
from dhtboot.sim.result import RunResult


class Row(msgspec.Struct, frozen=True):
    """One line of the table in the documentation."""

    what: str
    thesis: str
    measured: str


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure.

    Attributes:
        number: as in the thesis.
        title: what it shows.
        scenarios: the runs it needs, given the seeds and the largest size wanted.
        draw: draws the finished runs; returns the drawing of `plotting`.
        rows: says in numbers what it shows.
    """

    number: str
    title: str
    scenarios: Callable[[Sequence[int], int], list[Scenario]]
    draw: Callable[[Sequence[RunResult]], Any]
    rows: Callable[[Sequence[RunResult]], list[Row]]


def seconds(value: float | None) -> str:
    """A time for a table."""
    return "never" if value is None else f"{value:g} s"
