"""Settings of the records that nodes keep for each other."""

import msgspec

from mdht.errors import LocalProtocolError
from mdht.record_table import TableConfig
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.policies import policy_from
from mdht.subnet.store_config import StoreConfig


class KeepingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    replicas: int = 8
    """Nodes nearest to a key that hold its records. Many are single hosts; half of the nodes may die at once while
    99.6 % of the records survive. Inside a node its policy makes further copies."""
    acks: int = 2
    "Nodes that hold a record before its put is acknowledged."
    locate_width: int = 3
    "Nearest nodes that must answer before the list of the `replicas` nearest is trusted."
    read_quorum: int = 3
    "Holders that agree before a get is complete; while they differ, all `replicas` are asked."
    listen_lease_s: float = 60.0
    "Life of a subscription; renewed at half time."
    listen_open_s: float = 20.0
    """A host that others do not reach unasked renews its subscriptions so often: routers that translate addresses
    forget who was talked to after 30 s at the earliest, as do those that count packets of one direction only."""
    listen_retry_s: float = 5.0
    "Pause before the next attempt when nobody took a subscription."
    subscribers_per_key_max: int = 256
    subscriptions_max: int = 8192
    "At one node, about 150 B each."
    introduced_max: int = 256
    "Subscriptions of which a sibling that has come is told; the others become known when they are renewed."
    republish_max_s: float = 3600.0
    "A holder offers its keys to the nearest nodes once per half lease, or per hour if that is shorter."
    republish_min_s: float = 30.0
    "Records of shorter half lease are the writer's alone to refresh."
    hand_over_delay_s: float = 0.25
    "Newcomers of so long are served in one pass over the keys."
    keys_per_s: int = 2000
    """Keys looked at for newcomers and losses per second, 2 to 3 % of a core: after a mass restart everybody is a
    newcomer to everybody, and repair must not keep the nodes from answering."""
    keys_per_slice: int = 256
    "Keys looked at between two events, about 3 ms."
    offers_under_way_max: int = 8
    "With more, answers to users queue up behind repair at every neighbour."
    leave_s: float = 2.0
    "For handing over at the end: a user who pressed Ctrl-C waits no longer."
    questions_per_s: float = 500.0
    "Of one host of another node; above it he is told to come again."
    questions_burst: float = 5000.0
    "A neighbour hands over all it holds for us at once after a restart: some thousand records."
    policy: str = "fixed:3"
    """How many copies the hosts of a subnet that this host founds make among themselves; see
    `mdht.subnet.policies.policy_from`. Where another host has founded it, its choice holds."""
    cache: InventoryConfig | None = InventoryConfig()
    "What this host caches of other nodes' records, and for how long; None caches nothing, nor asks siblings for that."
    siblings: StoreConfig = StoreConfig()
    table: TableConfig = TableConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.acks <= self.replicas:
            raise ValueError("acks must be within 1..replicas")
        if min(self.listen_lease_s, self.hand_over_delay_s, self.leave_s, self.keys_per_s, self.questions_per_s) <= 0:
            raise ValueError("times and rates must be above 0")
        try:
            policy_from(self.policy)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
