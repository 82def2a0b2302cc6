"""Intervals of the identifier circle (Chord section 4.1)."""

from typing import Final

from dhtboot.ids import ID_BITS

CIRCLE: Final = 1 << ID_BITS


def between(identifier: int, low: int, high: int) -> bool:
    """Whether `identifier` lies on the way from `low` to `high`, ends left out; all but `low` when both are one."""
    if low < high:
        return low < identifier < high
    return identifier > low or identifier < high


def between_or_at_end(identifier: int, low: int, high: int) -> bool:
    """The same with `high` included: whether `high` is responsible for `identifier` when `low` precedes it."""
    if low < high:
        return low < identifier <= high
    return identifier > low or identifier <= high


def clockwise(low: int, high: int) -> int:
    """How far it is from `low` to `high`."""
    return (high - low) % CIRCLE
