"""Whether a router has lost its state since it was last heard, by its epoch (RFC 6887 section 8.5).

NAT-PMP's own rule (RFC 6886 section 3.6) is nearly the same; one rule for both lets an announcement by either protocol
tell of a mapping that was made by the other one.
"""

from typing import Final

BACKWARDS_S: Final = 1.0
"So much are packets out of order."
SLACK_S: Final = 2.0
DRIFT: Final = 1 / 16
"Of clocks, and of rounding."


class Epoch:
    """Of one router."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def note(self, epoch_s: int, now: float) -> bool:
        """Take one that was heard; whether it is what was to be expected."""
        last, self._last = self._last, (now, epoch_s)
        if last is None:
            return True
        here_s, there_s = now - last[0], epoch_s - last[1]
        if there_s < -BACKWARDS_S:
            return False
        return here_s + SLACK_S >= there_s * (1 - DRIFT) and there_s + SLACK_S >= here_s * (1 - DRIFT)
