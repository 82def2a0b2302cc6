"""Who has sent a datagram: a host of a node that is known from now on, a client, or a stranger."""

from collections import Counter
from collections.abc import Callable

import msgspec

from dhtboot.ids import Address, NodeRef
from mdht.subnet.face_messages import NAMED_MAX, OverlayDatagram
from mdht.subnet.face_nodes import NodeTable, contact
from mdht.subnet.hostset import in_private
from mdht.subnet.hostset_handout import Own
from mdht.subnet.messages import Standing


class Sender(msgspec.Struct, frozen=True):
    """Who it is."""

    node: NodeRef
    client: bool
    "It is answered, and neither remembered nor named to anybody."


class Acquaintance:
    """One host's part.

    Args:
        nodes: those whose hosts are known.
        refute: is told of a node of which a host lives: another founding has no claim to it.
        overlay: its name.
        me: own node.
        own: what this host tells of itself, now.
        counters: of strangers, clients, and those who say that they are this node.
    """

    def __init__(
        self,
        nodes: NodeTable,
        refute: Callable[[Address], None],
        overlay: str,
        me: int,
        own: Callable[[], Own],
        counters: Counter[str],
    ) -> None:
        self._nodes = nodes
        self._refute = refute
        self._overlay = overlay
        self._me = me
        self._own = own
        self._counters = counters

    def learn(self, datagram: OverlayDatagram, source: Address, now: float) -> Sender | None:
        """Who has sent this; its hosts and those that it names are known from now on."""
        node_id = datagram.identity.node_id(self._overlay)
        sender = contact(node_id)
        if node_id == self._me:
            self._counters["own identifier" if datagram.tag == self._own().tag else "conflicts"] += 1
            return None
        if datagram.standing is Standing.CLIENT:
            return self._client(sender)
        nodes = self._nodes
        entry, private = datagram.entry, in_private(source)
        if entry is not None and entry.identity == datagram.identity and entry.tag == datagram.tag:
            nodes.learn(entry, now, firsthand=True, private=private)
        node = nodes.get(sender.address)
        unknown = not nodes.knows(sender) or (node is not None and node.tag != datagram.tag)
        rival = unknown and node is not None and bool(node.usable)  # which has to show that those are gone
        if rival or (unknown and datagram.standing is None):
            nodes.meet(datagram, source, now)
        elif unknown:
            return self._client(sender)
        node = nodes.get(sender.address)
        if node is None or not nodes.knows(sender) or node.tag != datagram.tag:
            self._counters["strangers"] += 1
            return None
        host = node.get(datagram.hid)
        if host is not None and host.address == source:
            node.answered(datagram.hid, now)
            self._refute(sender.address)
        for hearsay in datagram.named[:NAMED_MAX]:
            nodes.learn(hearsay, now, firsthand=False, private=private)
        return Sender(sender, client=False)

    def _client(self, sender: NodeRef) -> Sender:
        self._counters["from_clients"] += 1
        return Sender(sender, client=True)
