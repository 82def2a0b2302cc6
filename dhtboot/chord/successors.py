"""The successor list: the nodes that follow on the circle, nearest first (Chord section 5.3)."""

from collections.abc import Iterable

from dhtboot.chord.ring import clockwise
from dhtboot.ids import NodeRef


class SuccessorList:
    """Up to `size` nodes in clockwise order from `me`.

    Attributes:
        nodes: the list itself, a tuple since it travels in messages as it is.
    """

    __slots__ = ("_me", "_size", "nodes")

    def __init__(self, me: int, size: int) -> None:
        self._me = me
        self._size = size
        self.nodes: tuple[NodeRef, ...] = ()

    @property
    def first(self) -> NodeRef | None:
        """The successor, None for a node that knows no other."""
        return self.nodes[0] if self.nodes else None

    def add(self, node: NodeRef) -> bool:
        """Take in one node; True when the list changed."""
        return self._set((node, *self.nodes))

    def replace(self, first: NodeRef, others: Iterable[NodeRef]) -> bool:
        """Make the list what `first`, the successor, says: itself and its own list; True when it changed."""
        return self._set((first, *others))

    def remove(self, identifier: int) -> bool:
        """Drop a node; True when it was there."""
        nodes = tuple(node for node in self.nodes if node.id != identifier)
        changed = len(nodes) != len(self.nodes)
        self.nodes = nodes
        return changed

    def clear(self) -> None:
        """Forget all."""
        self.nodes = ()

    def _set(self, nodes: tuple[NodeRef, ...]) -> bool:
        me = self._me
        by_distance: dict[int, NodeRef] = {}
        for node in nodes:  # the first to name an identifier counts: what we heard ourselves before what we were told
            if node.id != me:
                by_distance.setdefault(clockwise(me, node.id), node)
        ordered = tuple([by_distance[distance] for distance in sorted(by_distance)[: self._size]])
        changed = ordered != self.nodes
        if changed:
            self.nodes = ordered
        return changed
