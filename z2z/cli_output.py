"""What `z2z` prints: lines for people or JSON objects, and the log on standard error."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

import msgspec

from z2z.reports import Report, line, printable

FAILURES: Final = frozenset({"failed", "refused", "skipped"})
"Events that `-q` lets through."


class Terminal:
    """The output of one command."""

    def __init__(self, stream: TextIO, *, json: bool, verbosity: int) -> None:
        """Make it.

        Args:
            stream: where changes are told; standard error when standard output carries data.
            json: one JSON object per line.
            verbosity: -1 only what goes wrong, 0 changes, 1 and more expected ones too.
        """
        self._stream, self._json, self._verbosity = stream, json, verbosity

    def say(self, report: Report) -> None:
        """Tell one change."""
        if (report.detail and self._verbosity < 1) or (self._verbosity < 0 and report.event not in FAILURES):
            return
        self._write(msgspec.json.encode(report).decode() if self._json else line(report))

    def note(self, text: str) -> None:
        """Tell people how things stand; programs that read JSON ask `z2z status`."""
        if self._verbosity >= 0 and not self._json:
            self._write(printable(text))

    def text(self, text: str) -> None:
        """Print lines that were asked for."""
        for each in text.split("\n"):
            self._write(printable(each))

    def records(self, records: Iterable[msgspec.Struct]) -> None:
        """Print values as JSON lines."""
        for record in records:
            self._write(msgspec.json.encode(record).decode())

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under a head, columns aligned."""
        cells = [list(head), *[[printable(cell) for cell in row] for row in rows]]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for row in cells:
            self._write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Nobody reads any more, as after `| head`: the work goes on in silence, and exiting must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class _OneLine(logging.Formatter):
    """One line per record, whatever a peer put into it."""

    def format(self, record: logging.LogRecord) -> str:
        return f"z2z: {printable(record.getMessage())}"


def set_up_logging(verbosity: int) -> None:
    """Send the log to standard error: warnings, with -v also information, with -vv everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({-1: logging.WARNING, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
