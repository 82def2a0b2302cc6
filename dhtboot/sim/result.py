"""What one run found."""

from typing import Literal

import msgspec

from dhtboot.sim.config import Scenario


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one interval of the scenario's `interval_s` (thesis section 2.3)."""

    start_s: float
    sent: int
    "Test queries sent."
    delivered: int
    "Test messages that reached a node which believes itself responsible (what the thesis' simulator counts)."
    right: int
    "Test messages that reached the node which is responsible, seen from above."
    hops: int
    "Sum of the hops of the delivered ones."
    alive: int
    "Nodes that have begun to join and not died, at the end of the interval."
    joined: int
    "Those of them that have joined."

    @property
    def delivery_rate(self) -> float:
        """Delivered per sent; above 1 where messages of the former interval arrive; 0 when none was sent."""
        return self.delivered / self.sent if self.sent else 0.0

    @property
    def right_rate(self) -> float:
        """Rightly delivered per sent."""
        return self.right / self.sent if self.sent else 0.0

    @property
    def mean_hops(self) -> float:
        """Hops of a delivered message, 0 when none was delivered."""
        return self.hops / self.delivered if self.delivered else 0.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The successor pointers at one moment; nodes are numbered in the order of their arrival."""

    at_s: float
    numbers: tuple[int, ...]
    "Nodes that have joined, in the order of their identifiers: the ring as it should be."
    successors: tuple[int, ...]
    "Number of the node that each of `numbers` takes for its successor."
    ring: int
    "Nodes on the cycle that holds most of them."


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a scenario; written to disk as it is."""

    scenario: Scenario
    ended: Literal["duration", "converged", "interrupted"]
    virtual_s: float
    "Virtual time reached."
    intervals: tuple[Interval, ...]
    convergence_s: float | None
    "End of the first interval whose delivery rate reached the scenario's share; None when none did."
    convergence_right_s: float | None
    "The same for rightly delivered ones."
    all_joined_s: float | None
    "When the last node had joined."
    mean_hops: float
    "Of the messages delivered in the last complete interval."
    messages: int
    events: int
    "Messages delivered and timers run."
    digest: str
    "SHA-256 over the stream of (time, from, to, kind) of all messages, in hexadecimal."
    wall_s: float
    cpu_s: float
    peak_bytes: int
    "Largest resident memory of the process so far."
    snapshots: tuple[Snapshot, ...] = ()
    counters: dict[str, int] = {}
