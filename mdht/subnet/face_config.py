"""Settings of a host's face towards other subnets, and what the overlay's core behind it must be set to."""

import msgspec

from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig
from dhtboot.rtt import TimeoutConfig
from mdht.subnet.hostset_choice import One, Way
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.reachability_config import ReachabilityConfig


class FaceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    way: Way = One()
    "How many hosts of a node are asked at once."
    hosts: HostSetConfig = HostSetConfig()
    reach: ReachabilityConfig = ReachabilityConfig()
    timeouts: TimeoutConfig = TimeoutConfig(max_s=1.0)
    "Of single hosts. Together they make up the time after which a node is given up, so they are shorter than a core's."
    nodes_max: int = 4096
    "Other nodes whose hosts are kept: a table of Kademlia among 10^6 nodes has 300, a lookup at most 256 at a time."
    calls_max: int = 8192
    "Requests under way; as many as a core may have."
    asked_max: int = 4096
    "Requests of others of which it is known which host has asked."
    held_max: int = 4096
    "Hosts of which it is known what they hold of this node."
    claim_s: float = 1.0
    "Hosts of a node's former founding have so long to show that they are there, before another one is believed."
    datagram_max: int = 1200
    verify: bool = True
    "Listen to hosts of other subnets only when they have shown that they receive at their address."
    named_hosts: int = 3
    "Hosts at most of each node that a packet names: the receiver gets the others with that node's first answer."
    pull_nodes: int = 3
    "Neighbours of a silent node that are asked for its hosts."
    pull_hosts: int = 2
    "Hosts of each of them."
    pull_s: float = 1.0
    "How long their answers are waited for."
    pulls_max: int = 3
    "Times that neighbours are asked, each time nearer ones, before a node is given up."

    def __post_init__(self) -> None:
        counts = (
            "nodes_max",
            "calls_max",
            "asked_max",
            "held_max",
            "named_hosts",
            "pull_nodes",
            "pull_hosts",
            "pulls_max",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.pull_s <= 0 or self.claim_s <= 0 or self.datagram_max < 576:
            raise ValueError("pull_s and claim_s must be above 0, datagram_max at least 576")

    @property
    def patience_s(self) -> float:
        """After so long the hosts of a node have been tried, those that its neighbours name too.

        Every host gets `fails_max` requests in rounds to all of them, before the neighbours are asked and after each
        time; before that there are `tries_max` to single hosts, where a second one to the same host waits twice as
        long.
        """
        longest_s = max(self.timeouts.max_s, self.hosts.last_chance_s)
        rounds = 2 * self.hosts.tries_max - 1 + (1 + self.pulls_max) * self.hosts.fails_max
        return rounds * longest_s + self.pulls_max * self.pull_s


def face_config(overlay: OverlayConfig, face: FaceConfig) -> OverlayConfig:
    """The settings of a core that stands for a whole subnet.

    It waits as long as hosts of a node may be tried, and sends a request once, for the face repeats it. There are no
    address cookies: each host would have its own, and pseudo-addresses prove nothing. So a stranger enters the table
    on its word; that a host receives at its address is for the driver to verify (mDHT design, section 14).
    """
    patience_s = face.patience_s
    timeouts = TimeoutConfig(
        initial_s=patience_s, min_s=patience_s, max_s=patience_s, peers_max=overlay.timeouts.peers_max
    )
    if isinstance(overlay, KademliaConfig):
        return msgspec.structs.replace(overlay, timeouts=timeouts, attempts=1, verify_contacts=False)
    routed_s = max(overlay.routed_timeout_s, patience_s)
    return msgspec.structs.replace(overlay, timeouts=timeouts, attempts=1, routed_timeout_s=routed_s)
