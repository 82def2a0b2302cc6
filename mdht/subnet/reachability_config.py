"""Settings of how a host finds whether others reach it (`reachability`)."""

import msgspec


class ReachabilityConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    try_s: float = 0.5
    "A probe has so long to arrive, before another host is asked."
    tries: int = 3
    "Of a host that is probably not reached: it is seen at an address that it does not have."
    tries_listed: int = 8
    "Of any other: a node must not give up its place because packets were lost."
    first_s: float = 2.0
    "A host that has come in looks within so long."
    again_s: float = 120.0
    "Between two looks of a host that is reached."
    retry_min_s: float = 15.0
    "Until a host that is not reached looks again; twice as long after each time, up to the longest."
    retry_max_s: float = 240.0

    def __post_init__(self) -> None:
        if min(self.try_s, self.first_s, self.again_s, self.retry_min_s) <= 0 or self.retry_max_s < self.retry_min_s:
            raise ValueError("times must be above 0, and retry_max_s not below retry_min_s")
        if not 1 <= self.tries <= self.tries_listed:
            raise ValueError("tries must be within 1..tries_listed")
