"""Structural changes, the thing that a subnet as one node is to spare its overlay (mDHT design, section 4).

One is a change of a node's identifier in the predecessor, a successor, or a finger of a host. That other hosts stand
behind the same identifiers is none.
"""

from collections.abc import Iterable

from dhtboot.ids import id_from


class StructuralChanges:
    """Counts them at one host.

    Attributes:
        made: found by this host itself. Over all hosts these are the changes of the node.
        told: taken over from siblings, who have counted them as their own.
    """

    __slots__ = ("_known", "made", "told")

    def __init__(self) -> None:
        self._known: dict[str, frozenset[int]] = {}
        self.made = 0
        self.told = 0

    def note(self, role: str, node_ids: Iterable[bytes], *, told: bool = False) -> int:
        """Count what has changed in a role, as the successors.

        One that comes in the place of another is one change, and so is one that is merely added or gone; that others
        move up is none. What fills a role for the first time has changed nothing.

        Args:
            role: which.
            node_ids: those that it has now.
            told: whether a sibling has found it.

        Returns:
            How many changes.
        """
        now = frozenset(map(id_from, node_ids))
        before = self._known.get(role)
        self._known[role] = now
        if before is None:
            return 0
        count = max(len(now - before), len(before - now))
        if told:
            self.told += count
        else:
            self.made += count
        return count
