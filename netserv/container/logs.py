"""Lines of modules, kept in a bounded ring: what a module writes reaches no terminal as it is. No I/O."""

from collections import deque
from typing import Final

import msgspec

LINES_MAX: Final = 500
"Of each module; what is older is forgotten."
LINE_CHARACTERS_MAX: Final = 2_000
PARTIAL_BYTES_MAX: Final = 8_192
"Of a line that has not ended; then it is cut."


class Line(msgspec.Struct, frozen=True):
    """A line that a module has written."""

    number: int
    "Counted from 1, also those that are forgotten."
    at: float
    "Seconds since the epoch."
    level: str
    text: str
    "Printable characters; others are written as in a Python string."


class Ring:
    """The last lines of one module."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=LINES_MAX)
        self.total = 0

    def add(self, level: str, text: str, at: float) -> None:
        """Keep a line."""
        self.total += 1
        self._lines.append(Line(self.total, at, printable(level, 16), printable(text, LINE_CHARACTERS_MAX)))

    def lines(self, after: int = 0) -> list[Line]:
        """Those that are kept, and are younger than a number."""
        return [line for line in self._lines if line.number > after]


class Output:
    """What a container prints, cut into lines."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that have ended."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > PARTIAL_BYTES_MAX:
            whole.append(self._partial)
            self._partial = b""
        return [line.decode("utf-8", "backslashreplace") for line in whole]


def printable(text: str, most: int) -> str:
    """A text in one line, without characters that steer a terminal; cut to a length."""
    # Cut first: a megabyte that is to be thrown away is not looked at.
    cut = text[:most]
    if not cut.isprintable():
        cut = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in cut
        )[:most]
    return cut if len(text) <= most else f"{cut} ..."
