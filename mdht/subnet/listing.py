"""What a host tells of what it holds: digests of buckets, and keys by the page (mDHT design, section 10)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dhtboot.ids import ID_BYTES
from dhtboot.limits import TokenBuckets
from mdht.subnet.commons import Commons
from mdht.subnet.digest import common, fingerprint
from mdht.subnet.messages import HASH_BYTES, HID_BYTES, HOSTS_MAX, QID_BYTES
from mdht.subnet.policies import KeyStats
from mdht.subnet.sync_messages import (
    COMPARED_MAX,
    LAST_BUCKET,
    PAGE_BYTES,
    Compare,
    Differ,
    KeyEntry,
    KeyList,
    ListKeys,
    SyncMessage,
)

_ENTRY_BYTES: Final = 3 + 20 + 8 + 1
"Number and length of the field, key, fingerprint, wanted; holders come on top."
ASKERS_MAX: Final = 1_024
"Siblings whose rates are followed, as many as a subnet has members."


class Listing:
    """One host's answers; it remembers nothing of those who ask but their rates.

    Args:
        commons: what it holds, and who should hold a key.
    """

    def __init__(self, commons: Commons) -> None:
        self._commons, self._stock, self._policy = commons, commons.stock, commons.policy
        self._config, self._counters = commons.config, commons.counters
        rate = commons.config.pages_per_s
        self._askers = TokenBuckets(rate_per_s=rate, burst=rate, members_max=ASKERS_MAX)

    def answer(self, hid: bytes, message: Compare | ListKeys, now: float) -> Differ | KeyList | None:
        """What a sibling is told; None if it asks too often."""
        if self._askers.take(hid, now):
            self._counters["pages_over_rate"] += 1
            return None
        self._stock.expire(now)
        return self._differ(hid, message) if isinstance(message, Compare) else self._page(hid, message)

    def shared(self, key: bytes, other: bytes) -> bool:
        """Whether this host and another one both should hold a key."""
        targets = self._commons.targets(key, other)
        return self._commons.me in targets and other in targets

    def hashes(self, numbers: Iterable[int], shared_with: bytes | None) -> Iterator[bytes]:
        """Of these buckets, in order: of all records, or of those that somebody else should hold, too."""
        buckets = self._stock.digest.buckets if shared_with is None else b""
        for number in numbers:
            if shared_with is None:
                yield buckets[HASH_BYTES * number : HASH_BYTES * (number + 1)]
                continue
            total = 0
            for record in common(
                self._stock.records_in(number), self._commons.me, shared_with, self._holders(shared_with)
            ):
                total ^= fingerprint(record)
            yield total.to_bytes(HASH_BYTES, "big")

    def chunk(self, numbers: Iterable[int], *, free: bool) -> list[int]:
        """As many of these buckets as can be looked at in one go: all where that is free, else by their keys."""
        sizes = self._stock.bucket_sizes()
        chosen: list[int] = []
        left = self._config.slice_keys
        for number in numbers:
            if chosen and (len(chosen) >= COMPARED_MAX or (left < sizes[number] and not free)):
                break
            chosen.append(number)
            left -= sizes[number]
        return chosen

    def entry(self, key: bytes) -> KeyEntry:
        """What is told of a key."""
        stats = self._policy.stats(key)
        if stats is None:
            return KeyEntry(key, self._stock.hash(key))
        return KeyEntry(key, self._stock.hash(key), stats.wanted, stats.holders[:HOSTS_MAX])

    def _holders(self, other: bytes) -> Callable[[bytes], list[bytes]]:
        return lambda key: self._commons.targets(key, other)

    def _differ(self, hid: bytes, message: Compare) -> Differ:
        asked = [bucket.number for bucket in message.buckets]
        numbers = self.chunk(asked, free=not message.common)
        mine = self.hashes(numbers, hid if message.common else None)
        pairs = zip(message.buckets, mine, strict=False)
        different = bytes([bucket.number for bucket, own in pairs if bucket.hash != own])
        return Differ(qid=message.qid, compared=len(numbers), buckets=different)

    def _page(self, hid: bytes, message: ListKeys) -> KeyList:
        entries: list[KeyEntry] = []
        left, scans = PAGE_BYTES, self._config.slice_keys
        after = message.after
        for number in range(message.first, message.last + 1):
            for key in self._stock.in_bucket(number):
                if key <= after:
                    continue
                entry = self.entry(key)
                size = entry_bytes(entry)
                if left < size or scans <= 0:
                    return KeyList(qid=message.qid, entries=tuple(entries), first=number, after=after, more=True)
                scans -= 1
                after = key
                if not message.common or self.shared(key, hid):
                    left -= size
                    entries.append(entry)
            after = b""
        return KeyList(qid=message.qid, entries=tuple(entries))


def entry_bytes(entry: KeyEntry) -> int:
    """What an entry takes in a message."""
    return _ENTRY_BYTES + HID_BYTES * min(len(entry.holders), HOSTS_MAX)


def learnt(entry: KeyEntry) -> KeyStats | None:
    """What a sibling knows of a key beyond its rank."""
    return KeyStats(entry.wanted, entry.holders) if entry.wanted and entry.holders else None


def well_formed(message: SyncMessage) -> bool:
    """Whether all lengths and numbers are lawful; the codec checks that too, a caller without one may not."""
    if len(message.qid) != QID_BYTES:
        return False
    match message:
        case Compare(buckets=buckets):
            fit = all(0 <= one.number <= LAST_BUCKET and len(one.hash) == HASH_BYTES for one in buckets)
            return 0 < len(buckets) <= COMPARED_MAX and fit
        case Differ(compared=compared, buckets=numbers):
            return 0 < compared <= COMPARED_MAX and len(numbers) <= compared
        case ListKeys(first=first, last=last, after=after):
            return 0 <= first <= last <= LAST_BUCKET and len(after) in {0, ID_BYTES}
        case KeyList(entries=entries, first=first, after=after):
            fit = all(_lawful(entry) for entry in entries) and sum(map(entry_bytes, entries)) <= PAGE_BYTES
            return fit and 0 <= first <= LAST_BUCKET and len(after) in {0, ID_BYTES}


def _lawful(entry: KeyEntry) -> bool:
    holders = len(entry.holders) <= HOSTS_MAX and all(len(hid) == HID_BYTES for hid in entry.holders)
    return len(entry.key) == ID_BYTES and len(entry.hash) == HASH_BYTES and 0 <= entry.wanted < 256 and holders
