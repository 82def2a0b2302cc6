"""What `z2z` prints: lines for people or JSON objects, and the log on standard error."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

import msgspec

from mdht import journal
from mdht.journal import printable
from z2z.reports import Report, line

FAILURES: Final = frozenset({"failed", "refused", "skipped"})
"Events that `-q` lets through."
_LEVELS: Final[dict[str, int]] = {"failed": logging.ERROR, "refused": logging.WARNING}
"Of events in the journal; what is skipped is by a rule, and so no warning."


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
        self._journal = journal.is_journal(stream, os.environ)

    def say(self, report: Report) -> None:
        """Tell one change."""
        if (report.detail and self._verbosity < 1) or (self._verbosity < 0 and report.event not in FAILURES):
            return
        text = msgspec.json.encode(report).decode() if self._json else line(report)
        # The journal takes the mark off again, so that a JSON line stays one.
        self._write(journal.priority(_LEVELS.get(report.event, logging.INFO)) + text if self._journal else text)

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


def set_up_logging(verbosity: int) -> None:
    """Send the log to standard error: warnings, with -v also information, with -vv everything."""
    level = {-1: logging.WARNING, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    journal.set_up_logging("z2z", sys.stderr, level)
