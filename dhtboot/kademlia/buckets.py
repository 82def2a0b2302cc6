"""The routing table: k-buckets with replacement caches (Kademlia sections 2.2, 4.1), b bits a digit (section 4.2)."""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from dhtboot.ids import ID_BITS, PREFIX_BITS, PREFIX_SHIFT, Address, NodeRef
from dhtboot.kademlia.bucket import Bucket, bit_of


class Heard(Enum):
    """What a sign of life has changed in the table."""

    AGAIN = "again"
    "Nothing but the time at which a known contact was last seen."
    FIRST = "first"
    "There is a contact where there was none."
    NEW = "new"
    "There is another contact."
    WAITS = "waits"
    "There is no place for it yet."


_AGAIN: Final = Heard.AGAIN
_FIRST: Final = Heard.FIRST
_NEW: Final = Heard.NEW
_WAITS: Final = Heard.WAITS
"Under names of their own: looking up a member costs as much as the rest of a step."


class RoutingTable:
    """All contacts of one node: one per identifier and one per address.

    Args:
        me: this node's own identifier; it never enters its own table.
        k: contacts in a bucket.
        b: bits of a digit.
        replacements_max: contacts that wait for a place in a full bucket.
    """

    __slots__ = (
        "_at_addresses",
        "_b",
        "_buckets",
        "_groups",
        "_k",
        "_made",
        "_mask",
        "_me",
        "_prefix",
        "_replacements_max",
    )

    def __init__(self, me: int, *, k: int, b: int, replacements_max: int) -> None:
        self._me = me
        self._prefix = me >> PREFIX_SHIFT
        self._k = k
        self._b = b
        self._groups = -(-ID_BITS // b)
        self._mask = (1 << b) - 1
        self._replacements_max = replacements_max
        self._buckets: list[Bucket | None] = []  # by number, the farthest range first; None for an empty one
        self._made: list[int] = []  # numbers of the occupied buckets, in the order in which they became that
        self._at_addresses: dict[Address, NodeRef] = {}

    def __len__(self) -> int:
        return len(self._at_addresses)

    def __iter__(self) -> Iterator[NodeRef]:
        for number in self._made:
            bucket = self._buckets[number]
            if bucket is not None:
                yield from bucket.contacts

    def find(self, identifier: int) -> NodeRef | None:
        """The contact of that identifier, None when it is not in a bucket."""
        prefix = identifier >> PREFIX_SHIFT
        bucket = self._bucket_of(identifier, prefix)
        if bucket is None:
            return None
        place = bucket.place_of(identifier, prefix)
        return None if place < 0 else bucket.contacts[place]

    def holds(self, node: NodeRef) -> bool:
        """Whether this very contact, address included, is in a bucket."""
        known = self.find(node.id)
        return known is not None and known.address == node.address

    def has_address(self, address: Address) -> bool:
        """Whether a contact of that address is in a bucket."""
        return address in self._at_addresses

    def has_room(self, node: NodeRef) -> bool:
        """Whether a stranger would enter a bucket (worth a ping) rather than a replacement cache."""
        if node.id == self._me or node.address in self._at_addresses:
            return False
        bucket = self._bucket_of(node.id, node.prefix)
        return bucket is None or (len(bucket.contacts) < self._k and bucket.place_of(node.id, node.prefix) < 0)

    def touch(self, node: NodeRef, now: float) -> bool:
        """Mark a known contact as just seen; False when it is not known under this address."""
        bucket = self._bucket_of(node.id, node.prefix)
        if bucket is None:
            return False
        place = bucket.place_of(node.id, node.prefix)
        if place < 0 or bucket.contacts[place].address != node.address:
            return False
        bucket.seen_at[place] = now
        return True

    def add(self, node: NodeRef, now: float) -> bool:
        """Take in a contact that was seen; True when it is new in a bucket.

        A second identifier at a known address replaces the first (a host that lost its state); a known identifier at
        a second address waits in the replacement cache until the first fails, so nobody takes over a place by claim.
        """
        heard = self.hear(node, now)
        return heard is _NEW or heard is _FIRST

    def hear(self, node: NodeRef, now: float) -> Heard:
        """The same, and `touch`, in one walk: it is done for each packet."""
        bucket = self._bucket_of(node.id, node.prefix)
        if bucket is None:
            if node.id == self._me:
                return _AGAIN
            return self._enter(node, self._make_bucket(node, now), now)
        place = bucket.place_of(node.id, node.prefix)
        if place < 0:
            return self._enter(node, bucket, now)
        known = bucket.contacts[place]
        if known is node or known.address == node.address:
            bucket.seen_at[place] = now
            return _AGAIN
        bucket.wait(node, self._replacements_max)
        return _WAITS

    def _enter(self, node: NodeRef, bucket: Bucket, now: float) -> Heard:
        """Give a new identifier a place in its bucket, or let it wait for one."""
        news = _NEW if self._at_addresses else _FIRST
        former = self._at_addresses.get(node.address)
        if former is not None:
            self.remove(former.id)  # it may have been the only one in this very bucket
            bucket = self._bucket_of(node.id, node.prefix) or self._make_bucket(node, now, bucket)
        if len(bucket.contacts) >= self._k:
            bucket.wait(node, self._replacements_max)
            return _WAITS
        bucket.add(node, now)
        bucket.give_up(node)
        self._at_addresses[node.address] = node
        return news

    def _make_bucket(self, node: NodeRef, now: float, bucket: Bucket | None = None) -> Bucket:
        """Occupy the bucket of a contact, with one that was there before where there is one."""
        bucket = bucket or Bucket(now)
        number = self._number(node.id, node.prefix)
        self._buckets += [None] * (number + 1 - len(self._buckets))
        self._buckets[number] = bucket
        self._made.append(number)
        return bucket

    def remove(self, identifier: int) -> NodeRef | None:
        """Drop a contact; return the waiting one that should be tried in its place, most recently seen first."""
        bucket = self._bucket_of(identifier, identifier >> PREFIX_SHIFT)
        gone = None if bucket is None else bucket.remove(identifier)
        if bucket is None or gone is None:
            return None
        del self._at_addresses[gone.address]
        substitute = bucket.replacements.pop() if bucket.replacements else None
        if not bucket.contacts and not bucket.replacements:
            number = self._number(identifier, identifier >> PREFIX_SHIFT)
            self._buckets[number] = None
            self._made.remove(number)
        return substitute

    def closest(self, target: int, count: int, but: int = -1) -> list[NodeRef]:
        """The known contacts closest to a target, closest first, without the one of identifier `but`."""
        found: list[NodeRef] = []
        prefix = target >> PREFIX_SHIFT
        if but < 0:
            self._collect(target, prefix, count, found)
            return found
        self._collect(target, prefix, count + 1, found)
        but_prefix = but >> PREFIX_SHIFT
        for place, node in enumerate(found):
            if node.prefix == but_prefix and node.id == but:
                del found[place]
                return found
        del found[count:]
        return found

    def _collect(self, target: int, prefix: int, count: int, found: list[NodeRef]) -> None:
        """Append the `count` closest: bucket after bucket, since each is a range of its own."""
        own = self._number(target, prefix)
        buckets = self._buckets
        if own < len(buckets) and self._take(own, target, prefix, count, found):
            return  # nobody is closer than those that share the target's bucket
        if self._b > 1:
            for number in self._by_distance(self._me ^ target):
                if number != own and self._take(number, target, prefix, count, found):
                    return
            return
        # A bucket differs from us in one bit: nearer to the target where that differs from us in it, too.
        near = self._prefix ^ prefix
        distance = near if len(buckets) <= PREFIX_BITS else self._me ^ target
        for number in range(own + 1, len(buckets)):
            if bit_of(distance, near, ID_BITS - 1 - number) and self._take(number, target, prefix, count, found):
                return
        for number in range(len(buckets) - 1, -1, -1):
            if not bit_of(distance, near, ID_BITS - 1 - number) and self._take(number, target, prefix, count, found):
                return

    def _take(self, number: int, target: int, prefix: int, count: int, found: list[NodeRef]) -> bool:
        """Append the closest of one bucket; True when that is enough."""
        bucket = self._buckets[number]
        if bucket is None:
            return False
        bucket.closest(target, prefix, count, found)
        return len(found) == count

    def _by_distance(self, distance: int) -> list[int]:
        """The occupied buckets by their distance to a target at `distance` from us."""
        ranges: list[tuple[int, int]] = []
        for number in self._made:
            group, digit = self._index(number)
            shift = group * self._b
            ranges.append((((digit << shift) ^ distance) >> shift << shift, number))
        return [number for _distance, number in sorted(ranges)]

    def to_check(self, node: NodeRef, now: float, *, pause_s: float) -> NodeRef | None:
        """The contact in the bucket of `node` that was silent for longest; None within `pause_s` of the last."""
        bucket = self._bucket_of(node.id, node.prefix)
        if bucket is None or not bucket.replacements or now < bucket.checked_at + pause_s:
            return None
        bucket.checked_at = now
        seen_at = bucket.seen_at
        return bucket.contacts[seen_at.index(min(seen_at))] if seen_at else None

    def looked(self, target: int, now: float) -> None:
        """Note that a lookup goes through the range of `target`."""
        bucket = self._bucket_of(target, target >> PREFIX_SHIFT)
        if bucket is not None:
            bucket.looked_at = now

    def stale(self, before: float) -> list[tuple[int, int]]:
        """Buckets not looked into since `before`."""
        made = [(number, self._buckets[number]) for number in self._made]
        return [self._index(number) for number, bucket in made if bucket is not None and bucket.looked_at < before]

    def farther(self, identifier: int) -> list[tuple[int, int]]:
        """Indices of all buckets beyond that of an identifier, empty ones too, closest range first."""
        first = self._group(self._me ^ identifier) + 1
        return [(group, digit) for group in range(first, self._groups) for digit in range(1, self._mask + 1)]

    def range_of(self, index: tuple[int, int]) -> tuple[int, int]:
        """Common bits and number of free low bits of a bucket: its identifiers are `base ^ x`, x below `1 << free`."""
        group, digit = index
        shift = group * self._b
        return (self._me >> shift << shift) ^ (digit << shift), shift

    # ---- numbers of buckets --------------------------------------------------------------------------------------

    def _bucket_of(self, identifier: int, prefix: int) -> Bucket | None:
        number = self._number(identifier, prefix)
        return self._buckets[number] if number < len(self._buckets) else None

    def _number(self, identifier: int, prefix: int) -> int:
        near = self._prefix ^ prefix
        if near and self._b == 1:
            return PREFIX_BITS - near.bit_length()
        distance = self._me ^ identifier
        group = self._group(distance)
        digit = (distance >> (group * self._b)) & self._mask  # 0 for our own identifier: a bucket that stays empty
        return (self._groups - group) * self._mask - digit

    def _group(self, distance: int) -> int:
        """Digits behind the first, from the top, in which an identifier at this distance differs from ours."""
        return max(distance.bit_length() - 1, 0) // self._b

    def _index(self, number: int) -> tuple[int, int]:
        """(group, digit) of a bucket, as the sections of the paper have it."""
        return self._groups - 1 - number // self._mask, self._mask - number % self._mask
