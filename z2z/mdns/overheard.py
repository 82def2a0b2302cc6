"""Records that nobody has asked about, remembered for a moment."""

from collections import deque
from typing import Final

from z2z.mdns.messages import Data, Name, Record, fold

OVERHEARD_S: Final = 2.0
"A host may not repeat a record within a second (RFC 6762 section 6), nor answer at once: later, it can be asked."
OVERHEARD_MAX: Final = 512
"Records remembered: what the hosts of a large link announce in that time, apart from a flood."


class Overheard:
    """What hosts have said of themselves and their services just before these became of interest.

    A host that starts announces its addresses first, and an importer that defends a name shows what it serves. To ask
    for that when it is wanted would cost a second, as it has only just been sent.
    """

    def __init__(self) -> None:
        self._heard: deque[tuple[Name, Record, float]] = deque(maxlen=OVERHEARD_MAX)

    def hear(self, record: Record, now: float) -> None:
        """Remember a record."""
        self._heard.append((fold(record.name), record, now))

    def of(self, owner: Name, kinds: tuple[type[Data], ...], now: float) -> list[tuple[Record, float]]:
        """Return the records of some kinds of a folded name with the times when they were heard, in that order."""
        return [
            (record, at)
            for name, record, at in self._heard
            if name == owner and isinstance(record.data, kinds) and at > now - OVERHEARD_S
        ]
