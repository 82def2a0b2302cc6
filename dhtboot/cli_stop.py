"""Ctrl-C and SIGTERM as a question that long work asks: finish with what there is."""

import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

from dhtboot.cli_options import INTERRUPTED, TERMINATED

_STATUSES: Final = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}


class Stop:
    """Says whether a signal has come; a second one ends the program as usual.

    Attributes:
        status: exit status that the signal asks for, 0 while none has come.
    """

    def __init__(self) -> None:
        self.status = 0
        self._former: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.status != 0

    def __enter__(self) -> Self:
        for number in _STATUSES:
            self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.status = _STATUSES[signal.Signals(number)]
        for each, handler in self._former.items():
            signal.signal(each, handler)
