"""Counters and gauges of a module, which the node shows with its own."""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from netserv.errors import LocalProtocolError

NAMES_MAX: Final = 64
"Of one module: the node keeps and shows them all, and a module might make a name of each packet."
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"As Prometheus has them, in small letters."


class Counter:
    """A number that grows.

    `add` is a plain addition, cheap enough for each packet. A counter is for one thread: of what two threads add to
    one, some may be lost.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, count: float = 1) -> None:
        """Count."""
        self.value += count


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        """It is so much now."""
        self.value = value


_Metric = TypeVar("_Metric", Counter, Gauge)


class Metrics:
    """All counters of a module."""

    def __init__(self) -> None:
        self._kept: dict[str, Counter | Gauge] = {}
        self._asked: dict[str, Callable[[], float]] = {}

    def __len__(self) -> int:
        return len(self._kept) + len(self._asked)

    def counter(self, name: str) -> Counter:
        """The counter of a name, made when it is asked for first.

        Raises:
            LocalProtocolError: no name of a counter, or too many.
        """
        return self._of(name, Counter)

    def gauge(self, name: str) -> Gauge:
        """The gauge of a name, likewise."""
        return self._of(name, Gauge)

    def ask(self, name: str, function: Callable[[], float]) -> None:
        """Have a function called for the value, about once a second on the packet thread; `lambda: len(table)`."""
        self._check(name)
        self._asked[name] = function

    def values(self) -> dict[str, float]:
        """What there is now. What a function raises leaves its counter out."""
        asked: list[tuple[str, Callable[[], float]]] = [*self._asked.items()]
        asked += [(name, partial(getattr, metric, "value")) for name, metric in list(self._kept.items())]
        found: dict[str, float] = {}
        for name, function in asked:
            try:
                found[name] = float(function())  # a module may have put anything there
            except Exception:  # noqa: S112 - a counter is not worth more
                continue
        return found

    def _of(self, name: str, kind: type[_Metric]) -> _Metric:
        metric = self._kept.get(name)
        if metric is None:
            self._check(name)
            metric = self._kept.setdefault(name, kind())
        if not isinstance(metric, kind):
            raise LocalProtocolError(f"metric {name} is of another kind")
        return metric

    def _check(self, name: str) -> None:
        if _NAME.fullmatch(name) is None:
            raise LocalProtocolError(f"metric {name[:80]!r}: a-z, 0-9 and _, beginning with a letter, 64 at most")
        if len(self) >= NAMES_MAX or name in self._asked:
            raise LocalProtocolError(f"metric {name}: more than {NAMES_MAX} names, or one that is there already")
