"""Periods that grow while nothing changes (thesis section 2.4.1 suggests it)."""

from random import Random

from dhtboot.chord.config import ChordConfig


class Period:
    """Draws the time to the next round.

    Args:
        low_s, high_s: bounds of the period while things change.
        quiet_s: its longest, after many quiet rounds.
        config: says whether periods adapt at all.
        rng: source of chance.
    """

    __slots__ = ("_factor", "_low_s", "_quiet_s", "_rng", "longest_s")

    def __init__(self, low_s: float, high_s: float, quiet_s: float, config: ChordConfig, rng: Random) -> None:
        self._low_s = low_s
        self._quiet_s = quiet_s if config.adaptive else high_s
        self._rng = rng
        self._factor = 1.0
        self.longest_s = high_s
        "The longest period while things change."

    def next(self) -> float:
        """Seconds until the next round."""
        low, high = self._low_s, self.longest_s
        drawn = low if low == high else low + (high - low) * self._rng.random()
        return max(low, min(drawn * self._factor, self._quiet_s)) if self._factor > 1.0 else drawn

    def calm(self) -> None:
        """A round without any news: the next one may wait twice as long."""
        if self._factor * self.longest_s < self._quiet_s:
            self._factor *= 2.0

    def reset(self) -> None:
        """Something has changed."""
        self._factor = 1.0
