"""What one run simulates: a checked value, and the whole of its input."""

import math
from typing import Literal

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.kademlia.config import KademliaConfig

ProtocolName = Literal["chord", "kademlia"]


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes live so long, then vanish without a word; a fresh one joins in their place."""

    median_s: float
    "Median life time in seconds."
    distribution: Literal["exponential", "pareto"] = "exponential"
    shape: float = 2.0
    "Of the Pareto distribution; below 1 it would have no mean."
    start_s: float = 0.0
    "Nobody dies before."

    def __post_init__(self) -> None:
        if not (self.median_s > 0 and self.shape > 1 and self.start_s >= 0):
            raise ValueError("churn needs a median above 0 s, a shape above 1 and a start of 0 s or later")


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """From `start_s` until `end_s` no packet passes between a random share of the nodes and the rest."""

    start_s: float
    end_s: float
    share: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s and 0 < self.share < 1):
            raise ValueError("a partition needs 0 <= start_s < end_s and a share between 0 and 1")


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """At `at_s` a random share of the nodes stops; each starts again, with nothing remembered, `restart_s` later."""

    at_s: float
    share: float
    restart_s: float | None = None
    "None: it stays away."

    def __post_init__(self) -> None:
        if not (self.at_s >= 0 and 0 < self.share <= 1 and (self.restart_s is None or self.restart_s > 0)):
            raise ValueError("a crash needs at_s >= 0, a share within (0, 1] and restart_s above 0")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment of thesis section 2.3; all times are virtual, counted from the first arrival.

    `nodes` counts all of them, the one that stands on the bootstrap server's list from the start among them.
    """

    protocol: ProtocolName = "chord"
    nodes: int = 10_000
    rate_per_s: float = 1000.0
    "Arrivals a second, on average."
    seed: int = 1
    duration_s: float = 50.0
    until_converged: bool = False
    "End with the first interval whose delivery rate reaches `converged_share`."
    chord: ChordConfig = ChordConfig.thesis()
    kademlia: KademliaConfig = KademliaConfig.thesis()
    delay_s: float = 0.050
    "Mean delay of a packet [thesis 2.3]."
    delay_deviation_s: float = 0.005
    "Its standard deviation: normal, never below 0."
    loss: float = 0.0
    "Probability that a packet is lost."
    query_interval_s: float = 1.0
    "A node sends a test query so often once it has begun to join; standard deviation a tenth of it [thesis 2.3]."
    interval_s: float = 5.0
    "The delivery rate is counted over intervals of this length [thesis 2.3]."
    converged_share: float = 0.95
    converged_when: Literal["delivered", "right"] = "delivered"
    "Which rate counts: what reached a node that believes itself responsible, or what reached the responsible one."
    churn: Churn | None = None
    partitions: tuple[Partition, ...] = ()
    crashes: tuple[Crash, ...] = ()
    snapshots_s: tuple[float, ...] = ()
    "Times at which the topology is recorded (Chord)."
    lease_s: float = 100_000.0
    "An entry of the server's list lives so long after its last report; in the thesis the list never shrinks."
    encode: bool = False
    "Encode and decode each message on its way, as sockets do; slow, for tests."

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"{self.nodes} nodes form no overlay; 1 to 1,000,000 are possible")
        positive = ("rate_per_s", "duration_s", "delay_s", "query_interval_s", "interval_s", "lease_s")
        for name in positive:
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, it is {value:g}")
        if not (0 <= self.loss < 1 and 0 < self.converged_share <= 1 and self.delay_deviation_s >= 0):
            raise ValueError("loss is within [0, 1), converged_share within (0, 1], delay_deviation_s 0 or more")
