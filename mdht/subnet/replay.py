"""Datagrams that were heard before: recorded and sent again by somebody, or brought by two networks of one link."""

from collections import OrderedDict
from enum import Enum
from typing import Final

WINDOW: Final = 64
"Numbers behind the largest one of a sender that may still come (mDHT design, section 14)."
SENDERS_MAX: Final = 2048
"Twice the members of a subnet; of more, the one unheard for longest is forgotten."
AHEAD_MAX: Final = 1 << 16
"""Numbers from a signed datagram on within which others may come: a host signs at least every 11 s, and does not send
5,000 a second. They take 8 KiB of a sender that uses them all."""
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


class _Proven:
    """Numbers of one host, counted from the largest that it has signed."""

    __slots__ = ("claimed", "incarnation", "lowest", "proved")

    def __init__(self, incarnation: int, seq: int) -> None:
        self.incarnation = incarnation
        self.lowest = max(0, seq - WINDOW + 1)
        "Nothing below may come any more."
        self.proved = 1 << (seq - self.lowest)
        "Bit i: whether `lowest + i` was heard, signed."
        self.claimed = 0
        "The same of what is not. Somebody else may have said that: it must not take the place of what is signed."

    def prove(self, seq: int) -> None:
        lowest = max(self.lowest, seq - WINDOW + 1)
        self.proved >>= lowest - self.lowest
        self.claimed >>= lowest - self.lowest
        self.lowest = lowest
        self.proved |= 1 << (seq - lowest)

    def look(self, bits: int, seq: int) -> Seen:
        if seq < self.lowest:
            return Seen.OLD
        return Seen.DUPLICATE if bits >> (seq - self.lowest) & 1 else Seen.FRESH


class ProvenWindows:
    """The same for hosts that sign (mDHT design, section 14, level 2): only what is signed moves a window.

    Who knows the shared key may send in another's name what is not signed. That neither begins an incarnation nor makes
    any number old; it only takes the place of one unsigned datagram.
    """

    def __init__(self) -> None:
        self._windows: OrderedDict[bytes, _Proven] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def look(self, hid: bytes, incarnation: int, seq: int) -> Seen:
        """Say what is known of a signed datagram, before its signature is verified; nothing is remembered."""
        window = self._windows.get(hid)
        if window is None or incarnation > window.incarnation:
            return Seen.FRESH
        return Seen.OLD if incarnation < window.incarnation else window.look(window.proved, seq)

    def prove(self, hid: bytes, incarnation: int, seq: int) -> None:
        """The signature of a fresh one holds."""
        window = self._windows.get(hid)
        if window is None or incarnation > window.incarnation:
            self._windows[hid] = _Proven(incarnation, seq)
        else:
            window.prove(seq)
        self._windows.move_to_end(hid)
        if len(self._windows) > SENDERS_MAX:
            self._windows.popitem(last=False)

    def claim(self, hid: bytes, incarnation: int, seq: int) -> Seen | None:
        """Say what is known of an unsigned datagram, and remember it.

        Returns:
            None for one of a host that has signed nothing by this start, or nothing for so long that it cannot be his.
        """
        window = self._windows.get(hid)
        if window is None or incarnation > window.incarnation or seq >= window.lowest + AHEAD_MAX:
            return None
        seen = Seen.OLD if incarnation < window.incarnation else window.look(window.claimed, seq)
        if seen is Seen.FRESH:
            window.claimed |= 1 << (seq - window.lowest)
        return seen
