"""What to tell the user of the multicast budget of a link, and when. A core without I/O."""

import math
from typing import Final

from z2z.mdns.outbox import Outbox

SAY_AGAIN_S: Final = 600.0
"A budget that is too small for its link is used up every few seconds."


class BudgetWatch:
    """Looks at an outbox from time to time.

    Args:
        interface: as the user calls the link.
        packets_per_minute: the budget.
    """

    def __init__(self, interface: str, packets_per_minute: int) -> None:
        self._interface, self._packets_per_minute = interface, packets_per_minute
        self._said_at = -math.inf
        self._drops = self._delays = 0

    def look(self, outbox: Outbox, now: float) -> str:
        """Return a line if there is something to tell, else nothing."""
        drops, delays = outbox.drops - self._drops, outbox.delays - self._delays
        if not (drops or delays) or now < self._said_at + SAY_AGAIN_S:
            return ""
        self._drops, self._delays, self._said_at = outbox.drops, outbox.delays, now
        return (
            f"link {self._interface}: the budget of {self._packets_per_minute} multicast packets a minute is used up: "
            f"{delays} waited for it, {drops} answers were left out, which are asked for again; imports appear later, "
            "none is lost (--multicast-max)"
        )
