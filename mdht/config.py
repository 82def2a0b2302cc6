"""Settings of a node of the record store."""

from pathlib import Path

import msgspec

from dhtboot.kademlia.config import KademliaConfig
from mdht.record_table import TableConfig


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Replication and subscriptions of the store core."""

    replicas: int = 8
    "Nodes closest to a key that hold its records; half the nodes may die at once and 99.6 % of records survive."
    acks: int = 2
    "Stores after which a put is acknowledged."
    locate_width: int = 3
    "Closest nodes that must answer before a put trusts the list of the `replicas` closest."
    read_quorum: int = 3
    "Holders that agree before a get is complete; while they differ, all `replicas` are asked."
    listen_lease_s: float = 60.0
    "Life of a subscription; renewed at half time."
    listen_retry_s: float = 5.0
    "Pause before the next attempt when nobody took a subscription."
    subscribers_per_key_max: int = 256
    subscriptions_max: int = 8192
    "At one node, about 150 B each."
    republish_max_s: float = 3600.0
    "A holder offers its keys to the closest nodes once per half lease, or per hour if that is shorter."
    republish_min_s: float = 30.0
    "Records of shorter half lease are the writer's alone to refresh."
    hand_over_delay_s: float = 0.25
    "Newcomers of so long are served in one pass over the keys."
    settle_s: float = 5.0
    "A node that has just started with records serves nobody before: to it everybody is a newcomer."
    keys_per_s: int = 2000
    """Keys looked at for newcomers and losses per second, 2 to 3 % of a core: after a mass restart everybody is a
    newcomer to everybody, and repair must not keep the nodes from answering."""
    keys_per_slice: int = 256
    "Keys looked at between two events, about 3 ms."
    offers_under_way_max: int = 8
    "With more, answers to users queue up behind repair at every neighbour."
    table: TableConfig = TableConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.acks <= self.replicas:
            raise ValueError("acks must be within 1..replicas")


class MdhtConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a running node."""

    network: str = "z2z"
    "Overlays of different names do not see each other."
    host: str = ""
    "Numeric address to bind; empty for all."
    port: int = 27183
    "UDP port; another one is taken when it is in use, unless `port_required`."
    port_required: bool = False
    bootstrap: tuple[str, ...] = ()
    "Entry points: `HOST:PORT`, `[v6]:PORT`, or a domain with SRV records `_mdht._udp`."
    interface: str | None = None
    "Interface of the link whose peers are sought by DNS-SD; the default route's if None."
    presence: bool = True
    "Announce the node on the link as `_mdht._udp` and join the peers found there."
    state_dir: Path | None = None
    "Where identity, contacts and records survive a restart; None keeps nothing."
    overlay: KademliaConfig = KademliaConfig()
    store: StoreConfig = StoreConfig()
