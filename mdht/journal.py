"""Lines of a log: one per event, whatever a peer put into it; for the journal of systemd with their priority.

The journal knows the time and the program itself, so that lines for it have neither (sd-daemon(3)).
"""

import io
import logging
import os
from collections.abc import Mapping
from typing import Final, TextIO

_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"Of syslog(3), for levels from each on."


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream ends in the journal: `JOURNAL_STREAM` names it by device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def priority(level: int) -> str:
    """What stands before a line for the journal."""
    return next(f"<{number}>" for least, number in _PRIORITIES if level >= least)


def printable(text: str) -> str:
    r"""Return text that cannot steer a terminal: what is not printable becomes an escape such as `\x9b`."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class OneLine(logging.Formatter):
    """`z2z: what happened`, or `<4>what happened` for the journal.

    Args:
        program: its name.
        journal: whether the lines go there.
    """

    def __init__(self, program: str, *, journal: bool) -> None:
        super().__init__()
        self._program, self._journal = program, journal

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        head = priority(record.levelno) if self._journal else f"{self._program}: "
        return head + printable(record.getMessage())


def set_up_logging(program: str, stream: TextIO, level: int) -> None:
    """Send the log of this process to a stream, from a level on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine(program, journal=is_journal(stream, os.environ)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
