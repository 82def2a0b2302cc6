"""What was measured: a row for each measurement, and their medians."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast packets go through, in a second of processor time of all that takes part."""

    plane: str
    configuration: str
    bytes: int
    round: int
    packets_per_s: float
    "Those of which the module has said something, where there is one; those that came else."
    ratio: float
    "To configuration 2 of the same round and size."
    sender_ns: float
    "Processor time of a packet: the generator, and what the kernel does in its time."
    broker_ns: float
    container_ns: float
    untreated: float
    "Share of those sent that came back without a word of the module (deadline, full ring)."
    lost: float


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """How long a packet takes when there are few: a thousand a second."""

    plane: str
    configuration: str
    bytes: int
    round: int
    median_us: float
    p99_us: float
    added_us: float
    "Median less that of configuration 2 in the same round."
    lost: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """The highest rate without loss, in packets that are sent by the clock from another processor."""

    plane: str
    configuration: str
    bytes: int
    round: int
    packets_per_s: float
    "Really sent; 0: there was loss at every rate."
    ratio: float
    "To configuration 2 of the same round and size."
    lost: float
    "Of that rate."
    bounded: bool
    "Whether the sender could send no more."


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Many containers, all of them busy."""

    plane: str
    containers: int
    round: int
    packets_per_s: float
    ratio: float
    untreated: float
    lost: float
    mb_mean: float
    "Proportional set size of a container."
    mb_max: float
    ready_ms: float
    "Median, from the request until the walls of a container have been tested."
    loaded_ms: float
    "Until its module runs and gets packets."


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All of a run."""

    rates: tuple[Rate, ...] = ()
    delays: tuple[Delay, ...] = ()
    crowds: tuple[Crowd, ...] = ()
    throughputs: tuple[Throughput, ...] = ()


_R = TypeVar("_R", Rate, Delay, Crowd, Throughput)
_KEYS: Final = frozenset({"plane", "configuration", "bytes", "containers"})


def medians(rows: Iterable[_R]) -> list[tuple[_R, _R, _R]]:
    """For each thing that was measured in several rounds: medians, least and most of each number."""
    groups: dict[tuple[object, ...], list[_R]] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in row.__struct_fields__ if name in _KEYS)
        groups.setdefault(key, []).append(row)
    return [(_of(each, statistics.median), _of(each, min), _of(each, max)) for each in groups.values()]


def _of(rows: Sequence[_R], take: Callable[[Sequence[float]], Any]) -> _R:
    first = rows[0]
    numbers = {
        name: take([getattr(row, name) for row in rows])
        for name in first.__struct_fields__
        if name not in _KEYS and name != "round"
    }
    return msgspec.structs.replace(first, round=len(rows), **numbers)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so many of them are.

    Args:
        values: one or more.
        share: 0 to 1.
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
