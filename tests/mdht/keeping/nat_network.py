"""Subnets that keep records, some of them behind routers that translate addresses, on virtual time."""

from typing import Any

from dhtboot.ids import Address
from mdht.experiments.internet import Internet
from mdht.experiments.sim_core import SERVER
from mdht.experiments.sim_host import SimHost
from mdht.keeping.config import KeepingConfig
from mdht.subnet.face_messages import OverlayDatagram, Probe
from mdht.subnet.node_part_config import NodePartConfig
from tests.mdht.keeping.records_network import RecordsNetwork

HELD_S = 30.0
"A router forgets so soon whom a host behind it has talked to."


class TranslatedInternet(Internet):
    """Hosts of some links are seen at an address of their router, which lets in only what answers.

    Attributes:
        behind: those links.
        forwarded: ports of routers that everybody reaches, with the host behind each.
        told: addresses that any datagram has named to a host of another subnet.
    """

    behind: frozenset[int] = frozenset()

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.forwarded: dict[Address, Address] = {}
        self.told: set[Address] = set()
        self._talked: dict[tuple[Address, Address], float] = {}

    def outer(self, host: SimHost) -> Address:
        """Where others see a host."""
        return (f"10.99.0.{host.link}", 40000 + host.number) if host.link in self.behind else host.address

    def _send_away(self, to: Address, packet: Any, source: Address) -> None:
        if isinstance(packet, OverlayDatagram):
            entries = [*packet.named, *([] if packet.entry is None else [packet.entry])]
            self.told |= {host.address for entry in entries for host in entry.hosts}
        sender = self._by_address.get(source)
        if sender is not None:
            source = self.outer(sender)
        if isinstance(packet, OverlayDatagram) and isinstance(packet.body, Probe):
            source = (source[0], 9)
        self._talked[source, to] = self.now
        inner = {self.outer(host): host.address for host in self.hosts.values() if host.link in self.behind}
        if to in self.forwarded:
            to = self.forwarded[to]
        elif to in inner:
            if self.now - self._talked.get((to, source), -HELD_S - 1.0) > HELD_S:
                return
            self._talked[to, source] = self.now
            to = inner[to]
        elif to != SERVER and to not in self._by_address:
            return
        elif (host := self._by_address.get(to)) is not None and host.link in self.behind:
            return  # nobody outside has a way to it
        super()._send_away(to, packet, source)


class TranslatedNetwork(RecordsNetwork):
    """So many links with so many hosts each, in one overlay; the last links are behind routers."""

    def __init__(self, sizes: list[int], *, behind: int, **settings: Any) -> None:
        self._behind = frozenset(range(len(sizes) - behind, len(sizes)))
        super().__init__(sizes, **settings)

    def _internet(self, seed: int, config: NodePartConfig, keeping: KeepingConfig) -> Internet:
        net = TranslatedInternet(seed, config, keeping=keeping, strict=False)
        net.behind = self._behind
        return net

    @property
    def internet(self) -> TranslatedInternet:
        assert isinstance(self.net, TranslatedInternet)
        return self.net

    def is_client(self, host: SimHost) -> bool:
        assert host.core is not None
        assert host.core.part is not None
        return host.core.part.step.client

    def listed(self, link: int) -> list[int]:
        """Numbers of the hosts elsewhere that have the node of a link in a table of the overlay."""
        node_id = self.net.node_id(link)
        others = [host for host in self.net.hosts.values() if host.link != link]
        return [host.number for host in others if node_id in {node.id for node in self.keeper(host).others.known}]
