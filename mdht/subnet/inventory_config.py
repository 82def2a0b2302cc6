"""Settings of the cache inventory (mDHT design, section 15)."""

from typing import Final

import msgspec

from mdht.subnet.bloom import KEYS_MAX

PARTS_MAX: Final = 255
"Of one generation: their number is one byte."


class InventoryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the defaults are the design's, where no other reason is given."""

    keep_s: float = 60.0
    "A copy is served for so long after it came from the overlay, as its writer may replace it meanwhile. It is the "
    "period in which a site refreshes its records, and that of the filters: what a filter names has ended when the "
    "next one comes, so nobody need be told what was dropped."
    keys_max: int = KEYS_MAX
    "What the filter holds at 1 % of errors."
    bytes_max: int = 8 * 1_048_576
    "As the records travel: all 800 keys with nine records of full size each, an eighth of what the record table takes."
    filter_s: float = 60.0
    changes_s: float = 1.0
    "Between two announcements of what has been added."
    settle_s: float = 2.0
    "What the overlay is asked so soon after a newer record was seen it may still answer from before, as not all nodes "
    "have that record yet."
    rto_s: float = 0.1
    "Patience with one sibling that has probably cached the key."
    siblings_max: int = 2
    "Asked one after the other: then the overlay, whose answer takes no longer than a third silent one."
    bulk_s: float = 1.0
    "Patience with a transfer in bulk: a full key of 1 MiB at 10 Mbit/s."
    inline_max: int = 900
    "Bytes of records that travel in a datagram, as in a lookup among siblings."
    gets_max: int = 1024
    "Gets that wait for siblings; more go to the overlay at once. As in a lookup among siblings."
    prefixes_max: int = 4096
    "Announced keys remembered: of five siblings whose caches are full. What is forgotten is still in the filters."

    def __post_init__(self) -> None:
        for name in ("keep_s", "filter_s", "changes_s", "rto_s", "bulk_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        for name in ("keys_max", "bytes_max", "siblings_max", "inline_max", "gets_max", "prefixes_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.keys_max > KEYS_MAX:
            raise ValueError(f"keys_max must be at most {KEYS_MAX}, what a filter holds")
        if self.filter_s / self.changes_s > PARTS_MAX:
            raise ValueError(f"filter_s must be at most {PARTS_MAX} times changes_s")
