"""Tables that forget."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(table: "OrderedDict[K, V]", key: K, value: V, size_max: int) -> None:
    """Note something in a bounded table; of too much, what was noted longest ago is forgotten."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > size_max:
        table.popitem(last=False)
