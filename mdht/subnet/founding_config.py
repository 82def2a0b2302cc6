"""Settings of how a host gets its subnet (mDHT design, section 6)."""

import msgspec


class FoundingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    window_s: float = 1.25
    "A host that starts listens so long; its hellos are out after 0.85 s."
    patience_s: float = 5.0
    "Others wait so long for a founder since they last heard that it is at work."
    patience_max_s: float = 30.0
    "And so long at most, however often it says so."
    fresh_s: float = 11.0
    "Who was heard within this time counts in an election: heartbeats come every 10 s at least, with jitter 11."
    ask_s: float = 1.0
    "Between two hellos to a sibling that has not told the identity."
    ask_old_s: float = 10.0
    "The same in a subnet that is not young, where there is time."
    ask_jitter_s: float = 0.5
    "Each host waits up to so long before it asks: the answer to one serves all."
    retry_min_s: float = 30.0
    "A ring of one looks for the overlay again, after twice the time each time."
    retry_max_s: float = 600.0
    policy: str = ""
    "Name of the replication policy of a subnet that this host founds; it is its hosts' from then on."
    hosts_max: int = 1024
    "Cold hosts that are remembered during an election."

    def __post_init__(self) -> None:
        for name in ("window_s", "patience_s", "fresh_s", "ask_s", "ask_old_s", "retry_min_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.patience_max_s < self.patience_s or self.retry_max_s < self.retry_min_s:
            raise ValueError("patience_max_s and retry_max_s must not be below patience_s and retry_min_s")
        if self.hosts_max < 1 or self.ask_jitter_s < 0:
            raise ValueError("hosts_max must be at least 1, ask_jitter_s at least 0")
