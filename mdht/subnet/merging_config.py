"""Settings of how two subnets on one link become one (mDHT design, section 11)."""

import msgspec


class MergingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    heard_s: float = 30.0
    "Another subnet must have been heard for so long: what passes by is no reason to move records."
    steady_s: float = 10.0
    "So long must it have been clear that this one gives way: by then the other side knows who has come and gone, too."
    told_s: float = 5.0
    "Of the members that hosts see the largest number counts that was told within this time."
    fresh_s: float = 11.0
    "Who was not heard for longer is gone: heartbeats come every 10 s at least, with jitter 11."
    look_s: float = 0.5
    "Between two looks, while another subnet is heard."
    spread_s: float = 3.0
    "Hosts go one after another within this time: what they say and fetch then does not come at once."
    last_s: float = 15.0
    "The one that is to go last waits so long for the others."
    others_max: int = 8
    "Other subnets that are known at once."
    hosts_max: int = 1024
    "Hosts of each that are known by name."

    def __post_init__(self) -> None:
        for name in ("heard_s", "steady_s", "told_s", "fresh_s", "look_s", "last_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.spread_s < 0 or self.others_max < 1 or self.hosts_max < 1:
            raise ValueError("spread_s must be at least 0, others_max and hosts_max at least 1")
