"""The other nodes that a host knows hosts of, under the addresses that the overlay's core has for them."""

import functools
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from random import Random
from typing import Final

from dhtboot.ids import Address, NodeRef
from dhtboot.rtt import RttEstimator
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.hostset import Learnt, RemoteNode, in_private
from mdht.subnet.messages import HostRef, NodeEntry
from mdht.subnet.push import Peer

CONTACTS_REMEMBERED_MAX: Final = 4096
"As many as the nodes whose hosts are kept; each of them is named in many packets."


def pseudo_address(node_id: int) -> Address:
    """What stands for the hosts of a node in the overlay's core.

    It looks like an address of IPv6, because Kademlia packs the one of whoever pings it; by its port 0 nothing is ever
    sent to it, and nobody takes it for an address that a witness has seen. It has the first 128 bits of the identifier:
    whoever finds two identities that share them gains two nodes of which others know but one.
    """
    return (node_id >> 32).to_bytes(16, "big").hex(":", 2), 0


@functools.lru_cache(maxsize=CONTACTS_REMEMBERED_MAX)
def contact(node_id: int) -> NodeRef:
    """A node as the overlay's core knows it; mostly the same object for the same node."""
    return NodeRef(node_id, pseudo_address(node_id))


_OTHER_FOUNDING: Final = "other founding"
CLAIMS_MAX: Final = 8


class NodeTable:
    """A bounded table; of too many nodes the one that was of no use for longest is forgotten.

    Args:
        me: own node.
        overlay: its name, with which identifiers are derived.
        config: limits.
        rng: chooses among hosts that are equally fit to be left out.
        kept: gives the addresses of nodes that must stay, since the core has them in its tables or requests.

    Attributes:
        rtt: round trips of hosts.
        counters: of what was refused.
    """

    def __init__(
        self,
        me: int,
        overlay: str,
        config: FaceConfig,
        rng: Random,
        kept: Callable[[], Collection[Address]],
    ) -> None:
        self._me = me
        self._overlay = overlay
        self._config = config
        self._rng = rng
        self._kept = kept
        self._nodes: OrderedDict[Address, tuple[int, RemoteNode]] = OrderedDict()
        self.rtt = RttEstimator(config.timeouts)
        self.claims: list[NodeEntry] = []
        "Entries refused because hosts of another founding of the node are known, for whoever asks these; a few."
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, address: object) -> bool:
        return address in self._nodes

    def get(self, address: Address) -> RemoteNode | None:
        """The node behind a pseudo-address; it has been of use now."""
        found = self._nodes.get(address)
        if found is None:
            return None
        self._nodes.move_to_end(address)
        return found[1]

    def id_of(self, address: Address) -> int | None:
        """The identifier of that node."""
        found = self._nodes.get(address)
        return None if found is None else found[0]

    def knows(self, node: NodeRef) -> bool:
        """Whether a contact is this node, or one of those here."""
        return node.id == self._me or self.id_of(node.address) == node.id

    def learn(self, entry: NodeEntry, now: float, *, firsthand: bool, private: bool = False) -> NodeRef | None:
        """Take in what is told of a node; None where nothing is believed. See `RemoteNode.learn`."""
        node_id = entry.identity.node_id(self._overlay)
        if node_id == self._me:
            self.counters["entries_of_this_node"] += 1
            return None
        found = contact(node_id)
        why = self._take(found.address, node_id, entry, now, firsthand=firsthand, private=private)
        if why is None:
            return found
        if why == _OTHER_FOUNDING and len(self.claims) < CLAIMS_MAX:
            self.claims.append(entry)
        self.counters["entries_refused"] += 1
        self.counters[f"entries_refused: {why}"] += 1
        return None

    def hosts_of(self, node_id: int) -> list[Peer]:
        """Hosts of a node that are worth to be told something."""
        remote = self.get(contact(node_id).address)
        return [] if remote is None else [Peer(node_id, host.hid, host.address) for host in remote.usable]

    def hosts(self) -> list[tuple[Address, Peer]]:
        """All hosts that are worth asking something, each with its node's pseudo-address."""
        return [
            (address, Peer(node_id, host.hid, host.address))
            for address, (node_id, node) in self._nodes.items()
            for host in node.usable
        ]

    def usable(self) -> list[NodeRef]:
        """Nodes of which a host is worth asking."""
        return [NodeRef(node_id, address) for address, (node_id, node) in self._nodes.items() if node.usable]

    def believe(self, entry: NodeEntry, now: float, *, firsthand: bool, private: bool = False) -> NodeRef | None:
        """Take in what has been seen to be so, in place of what is known of another founding."""
        address = contact(entry.identity.node_id(self._overlay)).address
        known = self._nodes.get(address)
        if known is not None and known[1].tag != entry.tag:
            del self._nodes[address]
        return self.learn(entry, now, firsthand=firsthand, private=private)

    def meet(self, datagram: OverlayDatagram, source: Address, now: float) -> None:
        """Take in the sender of a datagram which tells nothing else of its node: it is a host of it."""
        self.learn(speaker(datagram, source), now, firsthand=False, private=in_private(source))

    def _take(
        self, address: Address, node_id: int, entry: NodeEntry, now: float, *, firsthand: bool, private: bool
    ) -> str | None:
        """None, or why it is refused."""
        known = self._nodes.get(address)
        if known is not None and known[0] != node_id:
            return "same pseudo-address"
        if known is not None and self._learn(known[1], entry, now, firsthand=firsthand, private=private):
            self._nodes.move_to_end(address)
            return None
        if known is not None and known[1].usable:
            return _OTHER_FOUNDING
        fresh = RemoteNode(entry, self._config.hosts)
        self._learn(fresh, entry, now, firsthand=firsthand, private=private)
        if not len(fresh):
            return "no host"
        self._nodes[address] = (node_id, fresh)
        self._nodes.move_to_end(address)
        self._make_room(address)
        return None if address in self._nodes else "no room"

    def _learn(self, node: RemoteNode, entry: NodeEntry, now: float, *, firsthand: bool, private: bool) -> bool:
        learnt = node.learn(entry, now, self._rng, firsthand=firsthand, private=private)
        return learnt is not Learnt.OTHER_FOUNDING

    def _make_room(self, newest: Address) -> None:
        if len(self._nodes) <= self._config.nodes_max:
            return
        kept = self._kept()
        # Some at a time, for it takes a look at all that the core knows.
        surplus = len(self._nodes) - self._config.nodes_max + self._config.nodes_max // 16
        for address in [address for address in self._nodes if address not in kept and address != newest][:surplus]:
            del self._nodes[address]
        if len(self._nodes) > self._config.nodes_max:
            del self._nodes[newest]


def speaker(datagram: OverlayDatagram, source: Address) -> NodeEntry:
    """The node of a sender, with no host but him."""
    host = HostRef(hid=datagram.hid, address=source, age_s=0)
    return NodeEntry(
        identity=datagram.identity, tag=datagram.tag, view_epoch=datagram.view_epoch, size=1, hosts=(host,)
    )
