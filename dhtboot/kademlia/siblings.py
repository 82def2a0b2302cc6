"""The sibling list of S/Kademlia: the closest nodes to oneself, kept whatever the buckets say."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from dhtboot.ids import PREFIX_BITS, PREFIX_SHIFT, NodeRef

_ANY_PREFIX: Final = (1 << PREFIX_BITS) - 1


class SiblingList:
    """Up to `size` contacts, closest to `me` first."""

    __slots__ = ("_distances", "_me", "_prefix", "_prefix_max", "_size", "nodes")

    def __init__(self, me: int, size: int) -> None:
        self._me = me
        self._prefix = me >> PREFIX_SHIFT
        self._size = size
        self._prefix_max = _ANY_PREFIX
        "Upper bits of the greatest distance at which a node may become a sibling."
        self._distances: list[int] = []
        self.nodes: list[NodeRef] = []

    def add(self, node: NodeRef) -> bool:
        """Take in a live contact; True when it is a new sibling."""
        if node.prefix ^ self._prefix > self._prefix_max:
            return False  # as most are
        distance = self._me ^ node.id
        if distance == 0 or (len(self.nodes) >= self._size and distance > self._distances[-1]):
            return False
        at = bisect_left(self._distances, distance)
        if at < len(self._distances) and self._distances[at] == distance:
            return False  # known; a changed address waits until the known one fails
        self._distances.insert(at, distance)
        self.nodes.insert(at, node)
        if len(self.nodes) > self._size:
            self._distances.pop()
            self.nodes.pop()
        if len(self.nodes) == self._size:
            self._prefix_max = self.nodes[-1].prefix ^ self._prefix
        return True

    def follow(self, nodes: Sequence[NodeRef]) -> None:
        """Have these as the closest: another host that stands for the same node has found them, and none between."""
        farthest = max([self._me ^ node.id for node in nodes], default=-1)
        told = {node.id for node in nodes}
        for gone in [node for node in self.nodes if self._me ^ node.id <= farthest and node.id not in told]:
            self.remove(gone.id)
        for node in nodes:
            self.add(node)

    def has_room(self, node: NodeRef) -> bool:
        """Whether a stranger would become a sibling (worth a ping)."""
        if len(self.nodes) < self._size:
            return all(known.id != node.id for known in self.nodes)
        return self._me ^ node.id < self._distances[-1]

    def remove(self, identifier: int) -> bool:
        """Drop a contact; True when it was a sibling."""
        distance = self._me ^ identifier
        at = bisect_left(self._distances, distance)
        if at == len(self._distances) or self._distances[at] != distance:
            return False
        del self._distances[at]
        del self.nodes[at]
        self._prefix_max = _ANY_PREFIX
        return True


def merged(found: list[NodeRef], others: list[NodeRef], target: int, count: int, but: int) -> list[NodeRef]:
    """The closest to a target of two lists, closest first, without the node of identifier `but` in the second."""
    outside = [node for node in others if node.id != but]
    return sorted((*found, *outside), key=lambda node: node.id ^ target)[:count]
