"""Settings of host sets (mDHT design, section 5)."""

import msgspec


class HostSetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds. Timeouts of single hosts follow their round trips: `dhtboot.rtt.TimeoutConfig`."""

    age_max_s: float = 600.0
    "A host of which nobody has heard for longer is neither believed nor told."
    fails_max: int = 2
    "A host that was silent so often in a row is asked no more: one loss on the way must not cost a host."
    tries_max: int = 3
    "Copies of one request to the hosts of one node before the node counts as unanswered."
    last_chance_s: float = 0.5
    "The last host of a node has so long at least: taken for dead it costs a structural change."
    batch_s: float = 1.0
    "Changes of the members are told to other nodes together."
    repeat_s: float = 3.0
    "Where no push was seen, the next member's turn comes so much later."
    spacing_s: float = 2.0
    "Between two pushes, of whichever member, to one peer."
    askers_max: int = 32
    "Hosts that have asked lately and are told of changes beside the neighbours."
    asker_age_max_s: float = 600.0
    "Who has not asked for longer is told no more: its set has aged out anyway."
    push: bool = True
    "Tell other nodes that members have come or gone; off only to see what that is good for (experiment 6)."
    pull: bool = True
    """Bring askers a newer set than theirs with an answer, and ask the neighbours of a silent node; off likewise. Who
    holds no set of a node gets one all the same."""
    allow_private: bool = False
    "Tell and believe private addresses too: in a laboratory, where all subnets reach each other by them."

    def __post_init__(self) -> None:
        for name in ("age_max_s", "batch_s", "repeat_s", "spacing_s", "asker_age_max_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.fails_max < 1 or self.tries_max < 1 or self.askers_max < 0 or self.last_chance_s < 0:
            raise ValueError("fails_max and tries_max must be at least 1, askers_max and last_chance_s at least 0")
