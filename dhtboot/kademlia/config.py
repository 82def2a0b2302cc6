"""Settings of a Kademlia node."""

import msgspec

from dhtboot.kademlia.bucket import CONTACTS_MAX
from dhtboot.rtt import TimeoutConfig


class KademliaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings; defaults are those of a live node.

    `KademliaConfig.thesis()` gives the settings of the experiments (section 2.4.1).
    """

    k: int = 16
    "Contacts in a bucket [thesis 2.4.1]."
    alpha: int = 3
    "Requests under way in one lookup; the thesis' experiments use 1."
    b: int = 1
    "Bits of a digit: each step of a lookup resolves at least so many [thesis 2.4.1]."
    siblings: int = 16
    """Closest nodes kept whatever the buckets say; twice the replicas of a record, the thesis has 8. Lookups for
    upkeep, of oneself and of buckets, end when so many have answered."""
    join_width: int = 16
    "Closest contacts that must have answered before a node counts as joined; the other siblings are looked for then."
    refresh_width: int = 16
    "Closest contacts that must have answered when a lookup refreshes a bucket."
    settle_s: float = 5.0
    """A joined node looks itself up again after so long, and a few times more, each pause twice as long as the last.
    Two that join side by side, each through nodes whose buckets had no room for the other, meet no sooner."""
    reply_nodes: int = 8
    "Contacts in one reply: 8 of IPv6 leave 800 bytes of a datagram to the answer that rides along."
    replacements_max: int = 8
    "Contacts that wait for a place in a full bucket."
    timeouts: TimeoutConfig = TimeoutConfig()
    attempts: int = 3
    """Transmissions of a request before its peer counts as dead. With 2, as the DHT rules have it, 26 of 240 lookups
    missed a node at 20 % loss, with 3 it was 3 of 240; a lookup goes on to others meanwhile."""
    verify_contacts: bool = True
    "A stranger enters the table only after it has answered from its address; large answers need a cookie."
    refresh_interval_s: float = 1000.0
    "A bucket not looked into for so long is refreshed (the value of the simulations that the thesis ran)."
    sibling_check_s: float = 10.0
    "The sibling silent for longest is pinged so often, so that a dead neighbour is noticed in minutes at most."
    contact_check_s: float = 30.0
    "One absent entry point or lost sibling is pinged so often, so that parts grow together after a cut."
    bucket_check_s: float = 10.0
    "A full bucket pings its least recently seen contact for a newcomer's sake at most so often."
    join_retry_s: float = 5.0
    "Pause after a failed join [thesis 2.4.1]."
    requests_per_s: float = 2000.0
    "Requests answered per source and second, 0 for no limit; beyond it the answer is `Busy`."
    requests_burst: float = 4000.0
    pending_max: int = 8192
    "Requests under way at once; more than any workload of one node has, less than 10 MB."
    verifications_max: int = 64
    "Strangers being pinged at once before they enter the table; a flood of senders causes no more traffic than that."
    cookie_rotation_s: float = 3600.0
    "Cookies live one to two rotations."

    def __post_init__(self) -> None:
        positive = ("k", "alpha", "siblings", "join_width", "refresh_width", "reply_nodes", "attempts", "pending_max")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.k > CONTACTS_MAX:
            raise ValueError(f"k must be at most {CONTACTS_MAX}")
        if not 1 <= self.b <= 8:
            raise ValueError("b must be within 1..8")

    @classmethod
    def thesis(cls) -> "KademliaConfig":
        """The experiments of section 2.4.1: k=16, alpha=1, b=1, siblings 8, fixed timeout, contacts by hearsay."""
        return cls(
            alpha=1,
            siblings=8,
            join_width=1,
            refresh_width=4,
            timeouts=TimeoutConfig(initial_s=1.5, min_s=1.5, max_s=1.5),
            attempts=1,
            verify_contacts=False,
            requests_per_s=0.0,
        )
