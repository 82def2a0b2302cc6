"""A host that runs: its core with what carries it, as the Python API and its status need it."""

from collections import Counter
from typing import Final, Literal

import trio

from dhtboot.ids import Address, NodeRef
from mdht.keeping.keeper import Keeper
from mdht.link_driver import LinkDriver
from mdht.link_io import UdpLink
from mdht.outside_words import role_of, why
from mdht.port_mapping import PortMapping
from mdht.record_table import RecordTable, TableConfig
from mdht.subnet.durations import Durations
from mdht.subnet.host import SubnetHost
from mdht.subnet.messages import State

GLANCE_S: Final = 0.02
"Between two looks whether a host that starts is READY."
LOOK_S: Final = 0.25
"Between two looks whether a host has come to another subnet, while something is under way."
NO_LINK: Final = "no link"
NO_RECORDS: Final = RecordTable(TableConfig(), lambda _record: False)


class RunningHost:
    """One host.

    Args:
        core: of the host.
        driver: carries it.
        link: its sockets.
        network: name of the overlay.
        counters: of what carries records that are too large for datagrams.
        ports: has the router forward its port; None where it is not to.

    Attributes:
        ports: the same.
        counters: the same, and what the layer above has found.
    """

    def __init__(
        self,
        core: SubnetHost,
        driver: LinkDriver,
        link: UdpLink,
        network: str,
        counters: Counter[str] | None = None,
        ports: PortMapping | None = None,
    ) -> None:
        self.core = core
        self.network = network
        self.ports = ports
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._driver = driver
        self._link = link

    async def keeper(self) -> Keeper:
        """What keeps the records, as soon as this host answers for its node."""
        while True:
            keeper = self.core.keeper
            if isinstance(keeper, Keeper) and self.core.membership.state in {State.READY, State.LEAVING}:
                return keeper
            await trio.sleep(GLANCE_S)

    async def while_kept(self, keeper: Keeper, done: trio.Event) -> None:
        """Wait until something is done, or cannot be any more, since this host is in another subnet."""
        while not done.is_set() and self.core.keeper is keeper:
            with trio.move_on_after(LOOK_S):
                await done.wait()

    def flush(self) -> None:
        """Send what operations want sent."""
        self._driver.perform(self.core.collect(trio.current_time()))

    # ---- how it stands -------------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """`new`, `joining` or `joined`."""
        if self.core.part is None:
            return "new"
        return "joined" if self.core.membership.state is State.READY else "joining"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this host."""
        return self._link.addresses

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Those in use now."""
        return self._link.interfaces

    @property
    def link_mode(self) -> str:
        """How what is for all gets to the other hosts."""
        return self.core.membership.reach.mode.mode.value if self._link.interfaces else NO_LINK

    @property
    def members(self) -> list[Address]:
        """One address of each other host of the subnet."""
        return [member.addresses[0] for member in self.core.membership.view.live if member.addresses]

    @property
    def role(self) -> Literal["node", "client"]:
        """Whether the subnet has a place in the overlay, or only asks."""
        return role_of(self.core.part)

    @property
    def why(self) -> str:
        """Why others do not reach the subnet, or this host."""
        port = self.addresses[0][1] if self.addresses else 0
        return why(self.core.part, port, asks_router=self.ports is not None)

    @property
    def contacts(self) -> int:
        """Other nodes in this host's tables."""
        keeper = self.core.keeper
        return len(keeper.others.known) if isinstance(keeper, Keeper) else 0

    @property
    def neighbours(self) -> list[NodeRef]:
        """The nodes next to this one."""
        part = self.core.part
        return [] if part is None else [node for node in part.step.neighbours() if node.id != part.face.core.id]

    @property
    def table(self) -> RecordTable:
        """The records that this host holds."""
        keeper = self.core.keeper
        return keeper.store.stock.table if isinstance(keeper, Keeper) else NO_RECORDS

    @property
    def lookups(self) -> Durations:
        """How long this host's lookups among the siblings took."""
        keeper = self.core.keeper
        return keeper.store.resolver.took if isinstance(keeper, Keeper) else Durations()

    @property
    def cached(self) -> tuple[int, int]:
        """Keys of other nodes that this host has cached, and the bytes of their records as they travel."""
        keeper = self.core.keeper
        if not isinstance(keeper, Keeper):
            return 0, 0
        cache = keeper.inventory.cache
        return len(cache.keys(trio.current_time())), cache.bytes_kept

    @property
    def policy(self) -> str:
        """The replication policy in force, that is, the subnet's; empty while this host is in none."""
        keeper = self.core.keeper
        return keeper.policy if isinstance(keeper, Keeper) else ""

    @property
    def policy_adopted(self) -> bool:
        """Whether this host was given another one."""
        keeper = self.core.keeper
        return isinstance(keeper, Keeper) and keeper.policy_adopted

    def address_of(self, node: NodeRef) -> Address | None:
        """Of one host of a node, None where none is known."""
        part = self.core.part
        remote = None if part is None else part.face.nodes.get(node.address)
        usable = [] if remote is None else remote.usable
        return usable[0].address if usable else None

    def rtt_s(self, node: NodeRef) -> float | None:
        """Smoothed round trip to a host of a node, None when never measured."""
        part, address = self.core.part, self.address_of(node)
        return None if part is None or address is None else part.face.nodes.rtt.mean_s(address)

    def totals(self) -> dict[str, int]:
        """All that is counted."""
        found = Counter(self._driver.totals()) + self.counters
        part, keeper = self.core.part, self.core.keeper
        if self.ports is not None:
            found += self.ports.counters
        if part is not None:
            found += part.face.counters + part.face.nodes.counters
        if isinstance(keeper, Keeper):
            found += keeper.counters + keeper.store.counters + keeper.store.resolver.counters
            found += Counter({f"cache_{name}": count for name, count in keeper.inventory.counters.items()})
        return {name.replace(" ", "_"): count for name, count in sorted(found.items())}
