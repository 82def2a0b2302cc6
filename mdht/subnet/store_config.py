"""Settings of the records that a host shares with its siblings (mDHT design, sections 6 and 8 to 10)."""

import msgspec

from mdht.subnet.resolve_config import ResolveConfig


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the defaults are the design's, where no other reason is given."""

    resolve: ResolveConfig = ResolveConfig()
    acks: int = 2
    "Hosts that hold a record before its put is acknowledged, where the policy wants so many and there are so many."
    puts_max: int = 256
    "Puts under way; at 5 s each at the longest, 50 a second even if no sibling answers."
    put_s: float = 5.0
    "A put ends after this: all tries of one transfer take 1.5 s, and there is a second round."
    rto_s: float = 0.1
    "Patience with an acknowledgement at first; it doubles with each try, and follows the link's round trip upwards."
    rto_max_s: float = 1.0
    retries: int = 3
    questions: int = 6
    "How often a page of a listing is asked for, which takes 3.5 s: of a fifth lost, one page in 500 stays out."
    again_s: float = 2.0
    "A transfer that has failed begins again after this, and after twice that; then comparing the digests brings it."
    agains: int = 2
    window: int = 32
    "Datagrams to one host that it has not answered: 38 KiB, less than the smallest default buffer of a socket."
    transfers_max: int = 8_192
    "Keys on their way to one host each; what hosts that come and go make necessary waits while there are half as many."
    bulk_bytes: int = 16_384
    "Records of one key that go over the bulk channel together, as a dozen datagrams would take longer."
    bulk_s: float = 30.0
    "A bulk transfer of which nothing is heard has failed after this: a full key of 1 MiB at 300 kbit/s."
    put_bytes: int = 1_130
    "A record that one datagram carries."
    transit_s: float = 0.05
    "A copy is sent with so much less life, so that it never outlives its original: how long a datagram may take."
    remembered_max: int = 4_096
    "Puts of siblings whose repetition is known, and questions that are counted as one lookup."
    slice_keys: int = 300
    "Keys judged in one go: some 3 ms among ten hosts."
    slice_every_s: float = 0.005
    events_max: int = 1_024
    "Hosts that have come or gone and for which keys are still to be judged: as many as a subnet has members."
    strays_max: int = 4_096
    "Keys that may not belong here, looked at again after a while."
    stray_s: float = 3.0
    "Until then: a view that differs from a sibling's is mended by two heartbeats."
    notes_s: tuple[float, ...] = (0.5, 2.0)
    "NOTE is said again after these times, as nobody acknowledges it."
    notes_max: int = 1_024
    "Announcements that will be said again."
    sync_s: float = 30.0
    "A newcomer is READY after this, whatever it has."
    sync_keys_max: int = 100_000
    "Keys that a newcomer is told of: as many as a table has records."
    sync_at_once: int = 8
    "Siblings that list what they hold at the same time."
    hand_over_s: float = 10.0
    compare_s: float = 60.0
    "Between two comparisons with a co-holder, where not everybody holds everything."
    compare_soon_s: float = 2.0
    "After a host has come, until it is compared with."
    differing_heartbeats: int = 2
    "In a row with another data root, before all is compared, where everybody holds everything."
    repair_bytes_per_s: float = 10_000_000.0
    repair_burst_bytes: float = 1_000_000.0
    pages_per_s: float = 500.0
    "Of listings, to one sibling: one that comes reads of 100,000 keys in 6 s; each costs some 0.3 ms here."

    def __post_init__(self) -> None:
        for name in ("rto_s", "again_s", "bulk_s", "slice_every_s", "sync_s", "hand_over_s", "compare_s", "put_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        caps = (
            "acks",
            "puts_max",
            "window",
            "questions",
            "transfers_max",
            "slice_keys",
            "remembered_max",
            "strays_max",
        )
        for name in caps:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.repair_bytes_per_s <= 0 or self.repair_burst_bytes < self.bulk_bytes:
            raise ValueError("repairs need a rate above 0 and a burst that covers a bulk transfer of bulk_bytes")
