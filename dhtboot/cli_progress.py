"""Progress of long work on stderr: a bar where `rich` and a terminal are there, else a line now and then."""

import sys
import time
from types import TracebackType
from typing import Any, Final, Self

QUIET_S: Final = 2.0
"Work that takes no longer says nothing."
LINE_S: Final = 10.0
"Without a terminal a line is printed so often."


class Bar:
    """Shows how much of some work is done.

    Args:
        title: what is done.
        total: how much there is of it.
        quiet: show nothing at all.
    """

    def __init__(self, title: str, total: float, *, quiet: bool = False) -> None:
        self._title = title
        self._total = total
        self._quiet = quiet
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, text: str) -> None:
        """So much is done; `text` says more about it."""
        now = time.monotonic()
        if self._quiet or now - self._began < QUIET_S:
            return
        if self._bar is None and sys.stderr.isatty():
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
        elif now - self._said >= LINE_S:
            self._said = now
            left_s = (now - self._began) * (self._total - done) / done if done else float("inf")
            print(f"{self._title}: {done:.0f} of {self._total:.0f}, {text}, {left_s:.0f} s left", file=sys.stderr)

    def _open(self) -> None:
        try:
            from rich.console import Console  # noqa: PLC0415 - optional, and slow to import
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        except ImportError:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[text]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._title, total=self._total, text="")
        self._bar.start()
