"""Settings of a Chord node."""

from typing import Literal

import msgspec

from dhtboot.rtt import TimeoutConfig

JoinMode = Literal["aggressive", "standard"]
"How a joiner enters: see `ChordConfig.join`."
LookupMode = Literal["iterative", "recursive"]
"Who asks the next hop: the asker itself, or each hop the one after it."


class ChordConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings; defaults are those of a live node.

    `ChordConfig.thesis()` gives the settings of the experiments (section 2.4.1).
    """

    join: JoinMode = "aggressive"
    """aggressive: the responder takes the joiner as predecessor at once and hints its old predecessor at it.
    standard: predecessors come from NOTIFY only [thesis 2.4.3]."""
    lookup: LookupMode = "iterative"
    successors: int = 8
    "Nodes in the successor list [thesis 2.4.1]."
    hop_choices: int = 3
    "Next hops in one answer: the second is tried when the first is dead; the thesis' experiments give 1."
    persistent: bool = True
    """A lookup goes around dead hops, and has the responsible node confirm; in the thesis' experiments a dead hop ends
    it, and the word of the node before the responsible one is enough."""
    stabilize_min_s: float = 5.0
    "Each period of STABILIZE is drawn uniformly between the two bounds [thesis 2.4.1: 5 s]."
    stabilize_max_s: float = 5.0
    fix_fingers_min_s: float = 10.0
    "Likewise for FIXFINGERS [thesis 2.4.1: 10 s]."
    fix_fingers_max_s: float = 10.0
    check_fingers: bool = True
    """FIXFINGERS asks a finger whether it is still responsible, and looks it up anew only if not: a fifth of the
    messages. The thesis' experiments with the standard join always look up: there nodes believe wrongly for an hour."""
    adaptive: bool = True
    "Periods double while nothing changes, and fall back at the first change [thesis 2.4.1 suggests it]."
    stabilize_quiet_s: float = 60.0
    "Longest period of STABILIZE in a quiet ring."
    fix_fingers_quiet_s: float = 120.0
    contact_check_s: float = 60.0
    """One entry point is asked so often, a quarter sooner or later, whom it takes for our successor, so that two rings
    become one; 0 for never, as in the thesis' experiments, where the standard join stays wrong for an hour."""
    contact_quiet_s: float = 900.0
    "Longest time between two such questions while the answers agree."
    join_retry_s: float = 5.0
    "A JOIN not answered within so long is sent again [thesis 2.4.1]."
    joins_per_contact: int = 2
    "Failed JOINs through one contact before another is asked for (the simulations that the thesis ran)."
    hops_max: int = 50
    "Steps of one lookup; log2 of 10^6 nodes is 20 (the simulations that the thesis ran have 50 too)."
    routed_timeout_s: float = 10.0
    "A recursive lookup not answered within so long has failed (the simulations that the thesis ran)."
    timeouts: TimeoutConfig = TimeoutConfig()
    attempts: int = 3
    "Transmissions of a request before its peer counts as dead."
    requests_per_s: float = 2000.0
    "Requests answered per source and second, 0 for no limit; beyond it they are dropped."
    requests_burst: float = 4000.0
    pending_max: int = 8192
    "Requests under way at once."

    def __post_init__(self) -> None:
        for name in ("successors", "hop_choices", "joins_per_contact", "hops_max", "attempts", "pending_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("stabilize", "fix_fingers"):
            low, high = getattr(self, f"{name}_min_s"), getattr(self, f"{name}_max_s")
            if not 0 < low <= high:
                raise ValueError(f"{name} periods must satisfy 0 < min <= max")
        for name in ("join_retry_s", "routed_timeout_s", "requests_burst"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        if self.requests_per_s < 0:
            raise ValueError("requests_per_s must be 0 (no limit) or more")
        if self.contact_check_s < 0:
            raise ValueError("contact_check_s must be 0 (never) or more")

    @classmethod
    def thesis(cls, join: JoinMode = "aggressive") -> "ChordConfig":
        """The experiments of section 2.4.1: fixed timeout of 1.5 s, one attempt, one next hop, fixed periods."""
        return cls(
            join=join,
            hop_choices=1,
            persistent=False,
            check_fingers=join == "aggressive",
            adaptive=False,
            contact_check_s=0.0,
            timeouts=TimeoutConfig(initial_s=1.5, min_s=1.5, max_s=1.5),
            attempts=1,
            requests_per_s=0.0,
        )
