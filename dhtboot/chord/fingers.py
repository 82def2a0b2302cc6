"""Fingers, and the next hop among all nodes that one knows (Chord section 4.2)."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence

from dhtboot.chord.ring import CIRCLE, clockwise
from dhtboot.ids import ID_BITS, NodeRef


class FingerTable:
    """The nodes responsible for `me + 2**i`, without the trivial ones, whose finger is the successor.

    The next hop is looked up in one list of all known nodes in the order of their identifiers, this one among them as
    None: it is made anew when fingers or successors have changed, which is rare beside the lookups.
    """

    __slots__ = ("_fingers", "_keys", "_me", "_nodes", "_stale", "revision")

    def __init__(self, me: int) -> None:
        self._me = me
        self._fingers: dict[int, NodeRef] = {}
        self._keys: list[int] = [me]
        self._nodes: list[NodeRef | None] = [None]
        self._stale = False
        self.revision = 0
        "Counts changes of the fingers."

    @property
    def nodes(self) -> list[NodeRef]:
        """The distinct fingers, clockwise."""
        distinct = {node.id: node for node in self._fingers.values()}
        return sorted(distinct.values(), key=lambda node: clockwise(self._me, node.id))

    def wanted(self, successor: NodeRef) -> range:
        """The `i` whose `me + 2**i` lies beyond the successor, about log2 of the number of nodes."""
        return range((clockwise(self._me, successor.id)).bit_length(), ID_BITS)

    def start(self, index: int) -> int:
        """The identifier `me + 2**index`."""
        return (self._me + (1 << index)) % CIRCLE

    def get(self, index: int) -> NodeRef | None:
        """The finger for `start(index)`."""
        return self._fingers.get(index)

    def set(self, index: int, node: NodeRef | None) -> bool:
        """Note who is responsible for `start(index)`, None for ourselves; True when that is news."""
        known = self._fingers.get(index)
        if known == node:
            return False
        if node is None:
            del self._fingers[index]
        else:
            self._fingers[index] = node
        self._note()
        return True

    def fill(self, successor: NodeRef, known: Collection[NodeRef]) -> None:
        """Take for each start the first of these that follows it: right if one knows all fingers of another host."""
        for index in self.wanted(successor):
            start = self.start(index)
            following = min(known, key=lambda node: clockwise(start, node.id), default=None)
            if following is not None and clockwise(start, following.id) <= clockwise(start, self._me):
                self.set(index, following)

    def trim(self, successor: NodeRef) -> None:
        """Remove the fingers that have become trivial."""
        first = self.wanted(successor).start
        trivial = [index for index in self._fingers if index < first]
        for index in trivial:
            del self._fingers[index]
        if trivial:
            self._note()

    def remove(self, identifier: int) -> bool:
        """Drop a dead node; True when it was a finger."""
        dead = [index for index, node in self._fingers.items() if node.id == identifier]
        for index in dead:
            del self._fingers[index]
        if dead:
            self._note()
        return bool(dead)

    def _note(self) -> None:
        self._stale = True
        self.revision += 1

    def changed(self) -> None:
        """The successors have changed: what `preceding` knows is out of date."""
        self._stale = True

    def preceding(self, target: int, successors: Iterable[NodeRef]) -> NodeRef | None:
        """The known node closest before `target`; None when that is this one, so that the successor is responsible."""
        if self._stale:
            self._refresh(successors)
        return self._nodes[bisect_left(self._keys, target) - 1]  # -1, below all of them, is the last: a circle

    def all_preceding(
        self, target: int, successors: Iterable[NodeRef], count: int, avoid: Collection[int] = ()
    ) -> tuple[NodeRef, ...]:
        """Up to `count` known nodes before `target`, closest first, without those of the identifiers `avoid`."""
        if self._stale:
            self._refresh(successors)
        found: list[NodeRef] = []
        nodes: Sequence[NodeRef | None] = self._nodes
        at = bisect_left(self._keys, target) - 1
        while len(found) < count:
            node = nodes[at]
            if node is None:
                break
            if node.id not in avoid:
                found.append(node)
            at -= 1
        return tuple(found)

    def _refresh(self, successors: Iterable[NodeRef]) -> None:
        known: dict[int, NodeRef | None] = {node.id: node for node in self._fingers.values()}
        for node in successors:
            known[node.id] = node
        known[self._me] = None
        self._keys = sorted(known)
        self._nodes = [known[key] for key in self._keys]
        self._stale = False
