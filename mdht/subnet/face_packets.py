"""What a face must know of the packets of the overlays, and of the tables of their cores."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from dhtboot.chord import messages as chord
from dhtboot.chord.node import ChordNode
from dhtboot.chord.ring import clockwise
from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia import messages as kademlia
from dhtboot.kademlia.node import KademliaNode
from dhtboot.overlay import OverlayNode


class Kind(Enum):
    """What becomes of a packet."""

    ASKS = "asks"
    "Any host of the node may answer it; under the same number."
    PASSES_ON = "passes on"
    "Any host of the node may take it; somebody else answers it."
    ANSWERS = "answers"
    "It is for the very host that has asked."
    TELLS = "tells"
    "Sent once, to any host."


KINDS: Final[Mapping[type, Kind]] = {
    kademlia.Ping: Kind.ASKS,
    kademlia.FindNode: Kind.ASKS,
    kademlia.Pong: Kind.ANSWERS,
    kademlia.Nodes: Kind.ANSWERS,
    kademlia.Busy: Kind.ANSWERS,
    kademlia.Tell: Kind.TELLS,
    kademlia.Leaving: Kind.TELLS,
    chord.Ping: Kind.ASKS,
    chord.FindSuccessor: Kind.ASKS,
    chord.Stabilize: Kind.ASKS,
    chord.Notify: Kind.ASKS,
    chord.Pong: Kind.ANSWERS,
    chord.Successors: Kind.ANSWERS,
    chord.Predecessor: Kind.ANSWERS,
    chord.Notified: Kind.ANSWERS,
    chord.Refused: Kind.ANSWERS,
    chord.JoinReply: Kind.ANSWERS,
    chord.Route: Kind.PASSES_ON,
    chord.JoinRequest: Kind.PASSES_ON,
    chord.NewSuccessorHint: Kind.TELLS,
    chord.Leaving: Kind.TELLS,
    chord.Tell: Kind.TELLS,
}

_OF_CLIENTS: Final = frozenset({kademlia.Ping, kademlia.FindNode, chord.Ping, chord.FindSuccessor})
"What somebody may ask who has no place in the overlay: nobody takes him for a neighbour because of it."

_LISTS: Final[Mapping[type, str]] = {
    kademlia.Nodes: "nodes",
    chord.Successors: "nodes",
    chord.Notified: "successors",
    chord.JoinReply: "successors",
    chord.Leaving: "successors",
}
_MAY_LACK: Final[Mapping[type, str]] = {
    chord.Predecessor: "node",
    chord.JoinReply: "predecessor",
    chord.Leaving: "predecessor",
}
_MUST_HAVE: Final[Mapping[type, str]] = {
    chord.Route: "origin",
    chord.JoinRequest: "joiner",
    chord.NewSuccessorHint: "node",
}


def of_client(packet: Any) -> Any:
    """A packet of a node that is not to be listed, as the core is given it; None for what no such node may say.

    Kademlia has every sender in its tables but one without an identifier, which is a client.
    """
    kind = type(packet.message)
    if kind not in _OF_CLIENTS:
        return None
    return msgspec.structs.replace(packet, sender=b"") if isinstance(packet, kademlia.Packet) else packet


def named_in(message: Any) -> list[NodeRef]:
    """The contacts that a message names for the receiver to talk to: first a single one, then from near to far."""
    kind = type(message)
    single = _MUST_HAVE.get(kind) or _MAY_LACK.get(kind)
    first = getattr(message, single) if single else None
    others = getattr(message, _LISTS[kind]) if kind in _LISTS else ()
    return [*others] if first is None else [first, *others]


def reachable_part(packet: Any, knows: Callable[[NodeRef], bool]) -> Any:
    """The packet without contacts of which no host is known; None where it makes no sense without them."""
    message = packet.message
    kind = type(message)
    changes: dict[str, Any] = {}
    if kind in _MUST_HAVE:
        contact = getattr(message, _MUST_HAVE[kind])
        if contact is not None and not knows(contact):
            return None
    if kind in _MAY_LACK:
        contact = getattr(message, _MAY_LACK[kind])
        if contact is not None and not knows(contact):
            changes[_MAY_LACK[kind]] = None
    if kind in _LISTS:
        contacts = getattr(message, _LISTS[kind])
        known = tuple([contact for contact in contacts if knows(contact)])
        if len(known) < len(contacts):
            changes[_LISTS[kind]] = known
    if not changes:
        return packet
    return msgspec.structs.replace(packet, message=msgspec.structs.replace(message, **changes))


def without_answer(packet: Any) -> Any:
    """The packet without what rides on it."""
    return msgspec.structs.replace(packet, message=msgspec.structs.replace(packet.message, answer=None))


def waits_for_answer(message: Any) -> NodeRef | None:
    """Whom a packet that is passed on is for; None for its sender."""
    found: NodeRef | None = getattr(message, _MUST_HAVE[type(message)])
    return found


def around(core: OverlayNode, message: Any, most: int) -> list[NodeRef]:
    """Nodes in the core's tables that the answer to a request may name, those next to its target first."""
    kind = type(message)
    if kind is kademlia.FindNode and not isinstance(core, ChordNode):
        return core.closest(id_from(message.target), most)
    if kind is chord.FindSuccessor:
        return nearest(core, (), id_from(message.target))[:most]
    if kind is chord.Stabilize or kind is chord.Notify:
        return nearest(core, (), core.id)[:most]
    return []


def contacts_of(core: OverlayNode) -> list[NodeRef]:
    """Every node that the core has in its tables."""
    if isinstance(core, ChordNode):
        predecessor = core.neighbours.predecessor
        before = () if predecessor is None else (predecessor,)
        known = (*before, *core.neighbours.successors.nodes, *core.fingers.nodes)
        return list({node.id: node for node in known}.values())
    return core.contacts


def doubt(core: OverlayNode, node: NodeRef, now: float) -> None:
    """A node says that it has no place in the overlay: if it is in a table, it is asked there, and does not answer.

    It is not dropped at its word, which anybody could give. Chord asks all in its tables every few seconds.
    """
    if isinstance(core, KademliaNode) and core.table.find(node.id) is not None:
        core.ping(node, now)


def nearest(core: OverlayNode, known: Iterable[NodeRef], target: int) -> list[NodeRef]:
    """Those of some nodes, and of those in the core's tables, that are next to a target, nearest first, without it."""
    others = list({node.id: node for node in (*contacts_of(core), *known) if node.id not in (target, core.id)}.values())
    if isinstance(core, ChordNode):
        others.sort(key=lambda node: min(clockwise(node.id, target), clockwise(target, node.id)))
    else:
        others.sort(key=lambda node: node.id ^ target)
    return others
