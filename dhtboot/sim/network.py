"""The network model of thesis section 2.3: delays and losses, drawn beforehand."""

from random import Random
from typing import Final

from dhtboot.sim.engine import DELAYS, TICKS_PER_S

LOSS_TABLE: Final = 65_521
"A prime, so that losses and delays fall together in another way each time round."


def draw_delays(rng: Random, mean_s: float, deviation_s: float) -> list[int]:
    """`DELAYS` delays in ticks: normal, never negative [thesis 2.3: 50 ms and 5 ms]."""
    return [max(0, round(rng.gauss(mean_s, deviation_s) * TICKS_PER_S)) for _ in range(DELAYS)]


def draw_losses(rng: Random, probability: float) -> bytes:
    """`LOSS_TABLE` times 1 for a lost packet or 0; empty when none is lost."""
    if not probability:
        return b""
    return bytes([rng.random() < probability for _ in range(LOSS_TABLE)])
