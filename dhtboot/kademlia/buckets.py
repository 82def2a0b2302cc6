"""The routing table: k-buckets with replacement caches (Kademlia sections 2.2, 4.1), b bits a digit (section 4.2)."""

from collections.abc import Iterator

from dhtboot.ids import ID_BITS, Address, NodeRef


class Bucket:
    """Contacts of one range of distances, and those that wait for a place."""

    __slots__ = ("checked_at", "contacts", "looked_at", "replacements")

    def __init__(self, now: float) -> None:
        self.contacts: dict[int, NodeRef] = {}
        self.replacements: dict[int, NodeRef] = {}
        "Least recently seen first."
        self.looked_at = now
        "When a lookup last went through this range."
        self.checked_at = now
        "When its least recently seen contact was last pinged for a newcomer's sake."

    def closest(self, target: int, count: int, but: int, found: list[NodeRef]) -> None:
        """Append to `found` the contacts closest to a target, closest first, until it has `count` of them."""
        contacts = self.contacts
        for distance in sorted([identifier ^ target for identifier in contacts]):
            identifier = distance ^ target
            if identifier != but:
                found.append(contacts[identifier])
                if len(found) == count:
                    return


class Contact:
    """A contact in a bucket, and when it was last seen: cheaper than to keep each bucket in that order."""

    __slots__ = ("node", "seen_at")

    def __init__(self, node: NodeRef, now: float) -> None:
        self.node = node
        self.seen_at = now


class RoutingTable:
    """All contacts of one node: one per identifier and one per address.

    Args:
        me: this node's own identifier; it never enters its own table.
        k: contacts in a bucket.
        b: bits of a digit.
        replacements_max: contacts that wait for a place in a full bucket.
    """

    def __init__(self, me: int, *, k: int, b: int, replacements_max: int) -> None:
        self._me = me
        self._k = k
        self._b = b
        self._mask = (1 << b) - 1
        self._replacements_max = replacements_max
        self._buckets: dict[tuple[int, int], Bucket] = {}
        self._contacts: dict[Address, Contact] = {}
        self._order: list[tuple[int, int]] | None = []  # of the occupied buckets; None when it must be made anew

    def __len__(self) -> int:
        return len(self._contacts)

    def __iter__(self) -> Iterator[NodeRef]:
        for bucket in self._buckets.values():
            yield from bucket.contacts.values()

    def find(self, identifier: int) -> NodeRef | None:
        """The contact of that identifier, None when it is not in a bucket."""
        bucket = self._buckets.get(self._index(identifier))
        return None if bucket is None else bucket.contacts.get(identifier)

    def holds(self, node: NodeRef) -> bool:
        """Whether this very contact, address included, is in a bucket."""
        known = self._contacts.get(node.address)
        return known is not None and known.node.id == node.id

    def has_address(self, address: Address) -> bool:
        """Whether a contact of that address is in a bucket."""
        return address in self._contacts

    def has_room(self, node: NodeRef) -> bool:
        """Whether a stranger would enter a bucket (worth a ping) rather than a replacement cache."""
        if node.id == self._me or node.address in self._contacts:
            return False
        bucket = self._buckets.get(self._index(node.id))
        return bucket is None or (len(bucket.contacts) < self._k and node.id not in bucket.contacts)

    def touch(self, node: NodeRef, now: float) -> bool:
        """Mark a known contact as just seen; False when it is not known under this address."""
        known = self._contacts.get(node.address)
        if known is None or known.node.id != node.id:
            return False
        known.seen_at = now
        return True

    def add(self, node: NodeRef, now: float) -> bool:
        """Take in a contact that was seen; True when it is new in a bucket.

        A second identifier at a known address replaces the first (a host that lost its state); a known identifier at
        a second address waits in the replacement cache until the first fails, so nobody takes over a place by claim.
        """
        if node.id == self._me or self.touch(node, now):
            return False
        index = self._index(node.id)
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Bucket(now)
            self._order = None
        former = self._contacts.get(node.address)
        if node.id in bucket.contacts or (len(bucket.contacts) >= self._k and former is None):
            self._wait(bucket, node)
            return False
        if former is not None:
            self.remove(former.node.id)
            self._order = None
            bucket = self._buckets.setdefault(index, bucket)  # it may have been the only one in this very bucket
        if len(bucket.contacts) >= self._k:  # the former contact stood in another bucket
            self._wait(bucket, node)
            return False
        bucket.contacts[node.id] = node
        bucket.replacements.pop(node.id, None)
        self._contacts[node.address] = Contact(node, now)
        return True

    def _wait(self, bucket: Bucket, node: NodeRef) -> None:
        bucket.replacements.pop(node.id, None)
        bucket.replacements[node.id] = node
        if len(bucket.replacements) > self._replacements_max:
            del bucket.replacements[next(iter(bucket.replacements))]

    def remove(self, identifier: int) -> NodeRef | None:
        """Drop a contact; return the waiting one that should be tried in its place, most recently seen first."""
        index = self._index(identifier)
        bucket = self._buckets.get(index)
        if bucket is None:
            return None
        gone = bucket.contacts.pop(identifier, None)
        if gone is None:
            return None
        del self._contacts[gone.address]
        substitute = bucket.replacements.popitem()[1] if bucket.replacements else None
        if not bucket.contacts and not bucket.replacements:
            del self._buckets[index]
            self._order = None
        return substitute

    def closest(self, target: int, count: int, but: int = -1) -> list[NodeRef]:
        """The known contacts closest to a target, closest first, without the one of identifier `but`."""
        found: list[NodeRef] = []
        own = self._buckets.get(self._index(target))
        if own is not None:  # nobody is closer than those that share the target's bucket
            own.closest(target, count, but, found)
            if len(found) == count:
                return found
        for index in self._nearest_first(target):
            bucket = self._buckets[index]
            if bucket is not own:
                bucket.closest(target, count, but, found)
                if len(found) == count:
                    break
        return found

    def _nearest_first(self, target: int) -> list[tuple[int, int]]:
        """The occupied buckets by their distance to a target: disjoint ranges, since they share their upper bits."""
        if self._order is None:
            self._order = sorted(self._buckets)
        order = self._order
        distance = self._me ^ target
        b = self._b
        if b == 1:  # bucket i differs from us in bit i: nearer to the target where that differs from us in it, too
            nearer = [index for index in order if distance >> index[0] & 1]
            return nearer[::-1] + [index for index in order if not distance >> index[0] & 1]

        def nearest_of(index: tuple[int, int]) -> int:
            shift = index[0] * b
            return ((index[1] << shift) ^ distance) >> shift << shift

        return sorted(order, key=nearest_of)

    def to_check(self, identifier: int, now: float, *, pause_s: float) -> NodeRef | None:
        """The contact in the bucket of `identifier` that was silent for longest; None within `pause_s` of the last."""
        bucket = self._buckets.get(self._index(identifier))
        if bucket is None or not bucket.replacements or now < bucket.checked_at + pause_s:
            return None
        bucket.checked_at = now
        return min(bucket.contacts.values(), key=self._seen_at, default=None)

    def _seen_at(self, node: NodeRef) -> float:
        return self._contacts[node.address].seen_at

    def looked(self, target: int, now: float) -> None:
        """Note that a lookup goes through the range of `target`."""
        bucket = self._buckets.get(self._index(target))
        if bucket is not None:
            bucket.looked_at = now

    def stale(self, before: float) -> list[tuple[int, int]]:
        """Buckets not looked into since `before`."""
        return [index for index, bucket in self._buckets.items() if bucket.looked_at < before]

    def farther(self, identifier: int) -> list[tuple[int, int]]:
        """Indices of all buckets beyond that of an identifier, empty ones too, closest range first."""
        first = self._index(identifier)[0] + 1
        return [(group, digit) for group in range(first, -(-ID_BITS // self._b)) for digit in range(1, self._mask + 1)]

    def range_of(self, index: tuple[int, int]) -> tuple[int, int]:
        """Common bits and number of free low bits of a bucket: its identifiers are `base ^ x`, x below `1 << free`."""
        group, digit = index
        shift = group * self._b
        return (self._me >> shift << shift) ^ (digit << shift), shift

    def _index(self, identifier: int) -> tuple[int, int]:
        """(group, digit) of the first digit, from the top, in which the identifier differs from ours."""
        distance = self._me ^ identifier
        group = max(distance.bit_length() - 1, 0) // self._b  # our own identifier: a bucket that stays empty
        return group, (distance >> (group * self._b)) & self._mask
