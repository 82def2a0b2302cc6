"""Groups of members in order of arrival, with the largest group always at hand."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Crowds(Generic[Member]):
    """Counts members per group; every step is O(1), as it runs for each stored record."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[Member, None]] = {}
        self._by_size: dict[int, dict[str, None]] = {}
        self._largest = 0

    def size(self, group: str) -> int:
        """Return how many members a group has."""
        return len(self._groups.get(group, ()))

    def add(self, group: str, member: Member) -> None:
        """Add a member as the newest of its group."""
        members = self._groups.setdefault(group, {})
        self._move(group, len(members), len(members) + 1)
        members[member] = None

    def discard(self, group: str, member: Member) -> None:
        """Take a member out of its group."""
        members = self._groups[group]
        self._move(group, len(members), len(members) - 1)
        del members[member]
        if not members:
            del self._groups[group]

    def newest_first(self) -> tuple[int, Iterator[Member]]:
        """Return the size of the largest group (0 when there is none) and its members from the newest on."""
        if not self._largest:
            return 0, iter(())
        group = next(iter(self._by_size[self._largest]))
        return self._largest, reversed(self._groups[group])

    def _move(self, group: str, old: int, new: int) -> None:
        if old:
            peers = self._by_size[old]
            del peers[group]
            if not peers:
                del self._by_size[old]
        if new:
            self._by_size.setdefault(new, {})[group] = None
        # Sizes change by one, so a largest group that shrank left its new size behind as the largest.
        if new > self._largest or (new < old == self._largest and old not in self._by_size):
            self._largest = new
