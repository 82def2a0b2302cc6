"""One k-bucket: its contacts, which it names by their distance to any target, and those that wait for a place."""

from array import array
from typing import Final

from dhtboot.ids import PREFIX_SHIFT, NodeRef

CONTACTS_MAX: Final = 128
"Contacts in a bucket at most: then the number of a contact or a fork fits into a byte."
_CONTACT: Final = CONTACTS_MAX
"What marks the number of a contact among those of forks."


class Bucket:
    """Contacts of one range of distances, and those that wait for a place.

    The identifiers form a binary tree, whose forks are the bits in which two of them differ. A walk that takes at each
    fork the side of the target first meets the contacts in the order of their distance to it: nothing has to be sorted
    for a request, and no distance to be worked out. The forks stand in a string of three bytes each (the bit, counted
    from the lowest one; what follows where it is 0; what follows where it is 1): it is made anew for each new contact,
    which is rare beside the requests, and it is one thing to fetch from memory where objects would be fifteen.

    Attributes:
        contacts: in the order in which they came.
        seen_at: when each of them was last seen: cheaper than to keep them in that order.
        replacements: those that wait, least recently seen first.
        looked_at: when a lookup last went through this range.
        checked_at: when its least recently seen contact was last pinged for a newcomer's sake.
    """

    __slots__ = ("_forks", "_root", "checked_at", "contacts", "looked_at", "replacements", "seen_at")

    def __init__(self, now: float) -> None:
        self.contacts: list[NodeRef] = []
        self.seen_at = array("d")  # a list would hold an object for each
        self.replacements: list[NodeRef] = []
        self.looked_at = now
        self.checked_at = now
        self._forks = b""
        self._root = _CONTACT

    def place_of(self, identifier: int, prefix: int) -> int:
        """Where the contact of an identifier stands in `contacts`, -1 when it is not among them."""
        if not self.contacts:
            return -1
        place = self._place_near(identifier, prefix)
        known = self.contacts[place]
        return place if known.prefix == prefix and known.id == identifier else -1

    def _place_near(self, identifier: int, prefix: int) -> int:
        """The only contact that an identifier may be the one of."""
        forks = self._forks
        at = self._root
        while at < _CONTACT:
            at = forks[3 * at + 1 + bit_of(identifier, prefix, forks[3 * at])]
        return at - _CONTACT

    def add(self, node: NodeRef, now: float) -> None:
        """Take in a contact that is not there yet."""
        if self.contacts:
            self._fork(node, self.contacts[self._place_near(node.id, node.prefix)], _CONTACT + len(self.contacts))
        self.contacts.append(node)
        self.seen_at.append(now)

    def _fork(self, node: NodeRef, nearest: NodeRef, new: int) -> None:
        """Let the way to `node` part from that to the contact that it has most bits in common with."""
        bit = (node.id ^ nearest.id).bit_length() - 1
        forks = self._forks
        came_by = -1
        at = self._root
        while at < _CONTACT and forks[3 * at] > bit:
            came_by = 3 * at + 1 + bit_of(node.id, node.prefix, forks[3 * at])
            at = forks[came_by]
        fork = len(forks) // 3
        if came_by < 0:
            self._root = fork
        else:
            forks = forks[:came_by] + bytes((fork,)) + forks[came_by + 1 :]
        self._forks = forks + bytes((bit, at, new) if node.id >> bit & 1 else (bit, new, at))

    def remove(self, identifier: int) -> NodeRef | None:
        """Drop a contact and return it; None when it is not there."""
        place = self.place_of(identifier, identifier >> PREFIX_SHIFT)
        if place < 0:
            return None
        gone = self.contacts[place]
        kept = [(node, at) for node, at in zip(self.contacts, self.seen_at, strict=True) if node is not gone]
        self.contacts, self.seen_at, self._forks, self._root = [], array("d"), b"", _CONTACT
        for node, seen_at in kept:
            self.add(node, seen_at)
        return gone

    def closest(self, target: int, prefix: int, count: int, found: list[NodeRef]) -> None:
        """Append to `found` the contacts closest to a target, closest first, until it has `count` of them."""
        if self.contacts:
            self._collect(self._root, target, prefix, count, found)

    def _collect(self, at: int, target: int, prefix: int, count: int, found: list[NodeRef]) -> None:
        forks = self._forks
        while at < _CONTACT:
            bit = bit_of(target, prefix, forks[3 * at])
            self._collect(forks[3 * at + 1 + bit], target, prefix, count, found)
            if len(found) == count:
                return
            at = forks[3 * at + 2 - bit]
        found.append(self.contacts[at - _CONTACT])

    def wait(self, node: NodeRef, replacements_max: int) -> None:
        """Let a contact wait, as the one seen most recently."""
        waiting = self.replacements
        self.give_up(node)
        waiting.append(node)
        if len(waiting) > replacements_max:
            del waiting[0]

    def give_up(self, node: NodeRef) -> None:
        """Let nobody of this identifier wait any more."""
        place = _place_among(self.replacements, node)
        if place >= 0:
            del self.replacements[place]


def bit_of(identifier: int, prefix: int, bit: int) -> int:
    """One bit, counted from the lowest, of an identifier or distance whose upper bits `prefix` are."""
    if bit >= PREFIX_SHIFT:
        return prefix >> (bit - PREFIX_SHIFT) & 1
    return identifier >> bit & 1


def _place_among(nodes: list[NodeRef], node: NodeRef) -> int:
    """Where a list names the identifier of a contact, -1 when nowhere."""
    for place, known in enumerate(nodes):
        if known is node or (known.prefix == node.prefix and known.id == node.id):
            return place
    return -1
