"""One face for both protocols: what the layers that do not care need of an overlay node."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import Packet as ChordPacket
from dhtboot.chord.node import ChordNode
from dhtboot.chord.outcome import Outcome
from dhtboot.chord.ring import clockwise
from dhtboot.ids import Contacts, NodeRef
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Packet as KademliaPacket
from dhtboot.kademlia.node import KademliaNode
from dhtboot.kademlia.search import OnAnswer
from dhtboot.lookup import LookupResult, Step

OverlayNode = ChordNode | KademliaNode
OverlayConfig = ChordConfig | KademliaConfig

OnOwner = Callable[[NodeRef | None, int, float], None]
"Called with the responsible node (None: the asker itself), the hops to it and the time."


class Located(msgspec.Struct, frozen=True):
    """The nodes that a key belongs to."""

    nodes: tuple[NodeRef, ...]
    """Nearest first, the asker among them, with address ('', 0), where it is as near; a client only where it has found
    nobody else. Empty when the lookup failed."""
    requests: int
    steps: tuple[Step, ...] = ()
    "What became of each node on the way, where the protocol asks several at a time."


OnLocated = Callable[[Located, float], None]
"Called with the nodes and the time."


def make_node(
    identifier: int,
    config: OverlayConfig,
    rng: Random,
    now: float,
    application: Any,
    contacts: Contacts | None = None,
) -> OverlayNode:
    """A node of the protocol that the settings are for."""
    if isinstance(config, ChordConfig):
        return ChordNode(identifier, config, rng, now, application)
    return KademliaNode(identifier, config, rng, now, application, contacts)


def packet_type(config: OverlayConfig, note: Any, question: Any = None, answer: Any = None) -> Any:
    """The wire union of the protocol whose layer above sends such notes, and, by Kademlia, asks such questions."""
    if isinstance(config, ChordConfig):
        return ChordPacket[note]
    return KademliaPacket[question, answer, note]


def find_owner(node: OverlayNode, key: int, now: float, on_owner: OnOwner) -> None:
    """Look for the node responsible for a key; `on_owner` is called once, or never when the lookup fails."""
    if isinstance(node, ChordNode):
        node.lookup(key, now, on_done=_ChordQuery(on_owner).on_done)
    else:
        node.lookup(key, now, on_done=_KademliaQuery(on_owner, node, key).on_done, width=1)


def locate(
    node: OverlayNode,
    key: int,
    width: int,
    now: float,
    on_located: OnLocated,
    question: Any = None,
    on_answer: OnAnswer | None = None,
) -> None:
    """Look for the nodes nearest to a key; `on_located` is called once, perhaps at once.

    Args:
        node: asks.
        key: identifier.
        width: nodes that must have answered, where the protocol asks several.
        now: the time.
        on_located: gets what was found: with Chord the responsible node and its successors.
        question: for all who are asked on the way, where the protocol can carry one: Kademlia.
        on_answer: gets their answers.
    """
    if isinstance(node, ChordNode):
        node.lookup(key, now, on_done=_ChordLocation(node, on_located).on_done)
    else:
        on_done = _KademliaLocation(node, key, on_located).on_done
        node.lookup(key, now, on_done=on_done, width=width, question=question, on_answer=on_answer, patient=False)


def nearness(node: OverlayNode, key: int) -> Callable[[int], int]:
    """How far an identifier is from a key, as the protocol has it: the nodes that it belongs to are the nearest."""
    if isinstance(node, ChordNode):
        return lambda identifier: clockwise(key, identifier)
    return key.__xor__


class _ChordLocation:
    __slots__ = ("_me", "_on_located")

    def __init__(self, node: ChordNode, on_located: OnLocated) -> None:
        self._me = NodeRef(node.id, ("", 0))
        self._on_located = on_located

    def on_done(self, outcome: Outcome, now: float) -> None:
        found = (self._me, *outcome.closest) if outcome.mine else outcome.closest
        # Its successors may name the asker itself, and in a small ring all nodes twice.
        nodes = {node.id: self._me if node.id == self._me.id else node for node in found}
        self._on_located(Located(() if outcome.failed else tuple(nodes.values()), outcome.hops), now)


class _KademliaLocation:
    __slots__ = ("_asker", "_key", "_on_located")

    def __init__(self, asker: KademliaNode, key: int, on_located: OnLocated) -> None:
        self._asker = asker
        self._key = key
        self._on_located = on_located

    def on_done(self, result: LookupResult, now: float) -> None:
        elsewhere = self._asker.client and result.closest
        me = () if elsewhere else (NodeRef(self._asker.id, ("", 0)),)
        nodes = sorted((*me, *result.closest), key=lambda node: node.id ^ self._key)
        self._on_located(Located(tuple(nodes), result.requests, result.steps), now)


class _ChordQuery:
    __slots__ = ("_on_owner",)

    def __init__(self, on_owner: OnOwner) -> None:
        self._on_owner = on_owner

    def on_done(self, outcome: Outcome, now: float) -> None:
        if not outcome.failed:
            self._on_owner(None if outcome.mine else outcome.closest[0], outcome.hops, now)


class _KademliaQuery:
    __slots__ = ("_asker", "_key", "_on_owner")

    def __init__(self, on_owner: OnOwner, asker: KademliaNode, key: int) -> None:
        self._on_owner = on_owner
        self._asker = asker
        self._key = key

    def on_done(self, result: LookupResult, now: float) -> None:
        first = result.first
        mine = not self._asker.client and first is not None and self._asker.id ^ self._key < first.node.id ^ self._key
        if first is None or mine:
            self._on_owner(None, 0, now)
        else:
            self._on_owner(first.node, first.hops, now)
