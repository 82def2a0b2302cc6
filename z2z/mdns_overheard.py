"""Addresses of hosts that nobody has asked about, remembered for a moment."""

from collections import deque
from typing import Final

from z2z.mdns_messages import Name, Record, fold

OVERHEARD_S: Final = 2.0
"A host may not repeat a record within a second (RFC 6762 section 6), nor answer at once: later, it can be asked."
OVERHEARD_MAX: Final = 256
"Records remembered: what the hosts of a large link announce in that time, apart from a flood."


class Overheard:
    """What hosts have said of themselves just before one of their services became of interest.

    A host that starts announces its addresses first. To ask for them when its services follow would cost a second,
    as it has only just sent them.
    """

    def __init__(self) -> None:
        self._heard: deque[tuple[Name, Record, float]] = deque(maxlen=OVERHEARD_MAX)

    def hear(self, record: Record, now: float) -> None:
        """Remember an address record."""
        self._heard.append((fold(record.name), record, now))

    def of(self, host: Name, now: float) -> list[tuple[Record, float]]:
        """Return the records of a host (its folded name) with the times when they were heard, in that order."""
        return [(record, at) for name, record, at in self._heard if name == host and at > now - OVERHEARD_S]
