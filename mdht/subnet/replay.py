"""Datagrams that were heard before: recorded and sent again by somebody, or brought by two networks of one link."""

from collections import OrderedDict
from enum import Enum
from typing import Final

WINDOW: Final = 64
"Numbers behind the largest one of a sender that may still come (mDHT design, section 14)."
SENDERS_MAX: Final = 2048
"Twice the members of a subnet; of more, the one unheard for longest is forgotten."
_MASK: Final = (1 << WINDOW) - 1


class Seen(Enum):
    """What is known of a datagram's number."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    "The very same was heard."
    OLD = "old"
    "Of a former incarnation, or so far behind that nobody knows whether it was heard."


class _Window:
    __slots__ = ("bits", "incarnation", "largest")

    def __init__(self, incarnation: int, seq: int) -> None:
        self.incarnation = incarnation
        self.largest = seq
        self.bits = 1
        "Bit i: whether `largest - i` was heard."

    def look(self, seq: int) -> Seen:
        behind = self.largest - seq
        if behind < 0:
            self.bits = ((self.bits << min(-behind, WINDOW)) | 1) & _MASK
            self.largest = seq
            return Seen.FRESH
        if behind >= WINDOW:
            return Seen.OLD
        bit = 1 << behind
        if self.bits & bit:
            return Seen.DUPLICATE
        self.bits |= bit
        return Seen.FRESH


class ReplayWindows:
    """The last numbers of every sender, of its newest incarnation.

    Look up a datagram only after it has proved the shared key, or whoever makes numbers up shuts out the true sender.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def look(self, hid: bytes, incarnation: int, seq: int) -> Seen:
        """Say what is known of a datagram, and remember it."""
        window = self._windows.get(hid)
        if window is not None and incarnation < window.incarnation:
            return Seen.OLD
        if window is None or incarnation > window.incarnation:
            self._windows[hid] = _Window(incarnation, seq)
            seen = Seen.FRESH
        else:
            seen = window.look(seq)
        self._windows.move_to_end(hid)
        if len(self._windows) > SENDERS_MAX:
            self._windows.popitem(last=False)
        return seen
