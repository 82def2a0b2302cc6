"""Hosts of a link that read records of other nodes: with shipped caches, and counted without any protocol."""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec

from mdht.experiments.cache_run import CacheHost, CacheLinkOf, MakeInventory
from mdht.experiments.internet import DELAY_S, JITTER_S
from mdht.records import Copy, Record
from mdht.subnet.holdings import Holdings
from mdht.subnet.inventory import Inventory
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.membership import Membership
from mdht.subnet.query import Outcome, Resolved
from mdht.subnet.wire import Header

KEYS: Final = 1_000
ZIPF: Final = 0.8
NODES_LOG2: Final = 10
"Of a thousand nodes; a lookup over Chord takes as many hops as a number of ten bits has ones."
VALUE_BYTES: Final = (50, 600)
LEASE_S: Final = 300
REFRESH_S: Final = 60.0
"A site refreshes its records that often, so that what is fetched has at least 240 s to live."
END_S: Final = 30.0
"After the last request all are answered by then."
OWN, SIBLING, OVERLAY = "own", "sibling", "overlay"
UNDER_WAY, UNHEARD = "under way", "unheard"


class Request(msgspec.Struct, frozen=True):
    """A host wants a record."""

    at: float
    "Seconds after the link has come to rest."
    host: int
    key: int
    overlay_s: float
    "How long the overlay would take."
    remaining_s: float
    "To live, as the overlay would have it."


class Content:
    """The records of the overlay, the most wanted first.

    Args:
        rng: of keys and sizes.
    """

    def __init__(self, rng: Random) -> None:
        self.records = [_record(rng) for _ in range(KEYS)]
        self.sizes = [len(msgspec.msgpack.encode(Copy(record, 1.5))) for record in self.records]
        self._weights = list(itertools.accumulate((number + 1.0) ** -ZIPF for number in range(KEYS)))

    def choose(self, rng: Random) -> int:
        """A record, by Zipf's law."""
        return rng.choices(range(KEYS), cum_weights=self._weights)[0]


def _record(rng: Random) -> Record:
    value = rng.randbytes(rng.randint(*VALUE_BYTES))
    return Record(rng.randbytes(20), rng.randbytes(32), b"", 1, LEASE_S, False, value, bytes(64))


def overlay_s(rng: Random) -> float:
    """A lookup and the fetch at its end: a round trip for each hop, one at least."""
    hops = max(1, rng.getrandbits(NODES_LOG2).bit_count())
    return sum(DELAY_S + JITTER_S * rng.uniform(-1.0, 1.0) for _ in range(2 * hops))


def requests(content: Content, hosts: int, rate_per_s: float, duration_s: float, rng: Random) -> list[Request]:
    """What so many hosts want, each at random times with this rate."""
    found = []
    at = rng.expovariate(hosts * rate_per_s)
    while at < duration_s:
        remaining_s = LEASE_S - rng.uniform(0.0, REFRESH_S)
        found.append(Request(at, rng.randrange(hosts), content.choose(rng), overlay_s(rng), remaining_s))
        at += rng.expovariate(hosts * rate_per_s)
    return found


def fetches(wanted: Sequence[Request], keep_s: float, *, shared: bool) -> list[int]:
    """Keys that are fetched over the overlay by caches without limit, of one for each host or of one for all.

    Who wants what is on its way waits for it.
    """
    ends: dict[tuple[int, int], float] = {}
    found = []
    for request in wanted:
        place = (0 if shared else request.host, request.key)
        if ends.get(place, -math.inf) <= request.at:
            ends[place] = request.at + request.overlay_s + min(keep_s, request.remaining_s)
            found.append(request.key)
    return found


class Reader(CacheHost):
    """A host that reads: own cache, a sibling's, the overlay.

    Attributes:
        wanted: what it will want, at times of the link.
        fetched: keys that it has begun to fetch over the overlay.
        on_its_way: those it is fetching, with the times of the requests that wait for them.
        latency_s: of each read, by where the record was.
    """

    def __init__(self, number: int, membership: Membership, make_inventory: MakeInventory, link: "Reading") -> None:
        super().__init__(number, membership, make_inventory)
        self.wanted: deque[Request] = deque()
        self.fetched: list[int] = []
        self.on_its_way: dict[int, list[float]] = {}
        self.latency_s: dict[str, list[float]] = {OWN: [], SIBLING: [], OVERLAY: []}
        self._arrivals: list[tuple[float, int, float]] = []
        self._link = link

    def tick(self, now: float) -> Sequence[object]:
        """Act on the time."""
        effects = list(super().tick(now))
        while self._arrivals and self._arrivals[0][0] <= now:
            _, key, remaining_s = heapq.heappop(self._arrivals)
            record = self._link.content.records[key]
            data = [msgspec.msgpack.encode(Copy(record, remaining_s))]
            effects += self.inventory.put(record.key, data, now, asked_at=now)
            self.latency_s[OVERLAY] += [now - asked_at for asked_at in self.on_its_way.pop(key)]
        while self.wanted and self.wanted[0].at <= now:
            effects += self._read(self.wanted.popleft(), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest."""
        wanted_at = self.wanted[0].at if self.wanted else math.inf
        arrival_at = self._arrivals[0][0] if self._arrivals else math.inf
        return min(super().next_deadline(), wanted_at, arrival_at)

    def _read(self, request: Request, asked_at: float) -> Sequence[object]:
        key = request.key

        def on_done(result: Resolved) -> None:
            now = self._link.now
            if result.outcome is Outcome.FOUND:
                self.latency_s[OWN if now == asked_at else SIBLING].append(now - asked_at)
            elif key in self.on_its_way:
                self.on_its_way[key].append(asked_at)
            else:
                self._link.note(self, key)
                self.fetched.append(key)
                self.on_its_way[key] = [asked_at]
                heapq.heappush(self._arrivals, (now + request.overlay_s, key, request.remaining_s))

        if key in self.on_its_way:
            self.on_its_way[key].append(asked_at)
            return []
        return self.inventory.get(self._link.content.records[key].key, asked_at, on_done)


class Reading(CacheLinkOf[Reader]):
    """A link of readers.

    Args:
        count: of hosts.
        keep_s: how long their caches keep a copy.
        content: what there is.
        seed: of all chance.

    Attributes:
        content: the same.
        needless: fetches over the overlay of what a sibling was fetching, or had cached, when they began.
    """

    def __init__(self, count: int, keep_s: float, content: Content, seed: int) -> None:
        super().__init__(seed)
        self.content = content
        self.needless: Counter[str] = Counter()
        self._settings = InventoryConfig(keep_s=keep_s)
        self.started(count)

    def make(self, number: int, membership: Membership) -> Reader:
        """One of them."""
        rng = Random(f"{self.seed} inventory {number}")

        def inventory(of: Membership, holdings: Holdings) -> Inventory:
            return Inventory(of, holdings, self._settings, rng, self.now)

        return Reader(number, membership, inventory, self)

    def note(self, reader: Reader, key: int) -> None:
        """One begins to fetch: could it have had it on the link?"""
        others = [host for host in self.hosts if host is not reader]
        if any(host.inventory.cache.version(self.content.records[key].key, self.now) for host in others):
            self.needless[UNHEARD] += 1
        elif any(key in host.on_its_way for host in others):
            self.needless[UNDER_WAY] += 1

    def read(self, wanted: Sequence[Request], duration_s: float) -> None:
        """Let the hosts read what they want in that time."""
        for host in self.hosts:
            host.sent.clear()
            host.wanted.extend(
                msgspec.structs.replace(each, at=self.now + each.at) for each in wanted if each.host == host.number
            )
            self.perform(host, [])  # it has another deadline
        self.run(duration_s + END_S)

    def sent(self, *kinds: type) -> tuple[int, int]:
        """Messages of these kinds since the reading began, and their bytes."""
        found = [message for host in self.hosts for _, message in host.sent if isinstance(message, kinds)]
        header = Header(subnet_tag=bytes(8), hid=bytes(8), incarnation=1, seq=1)
        return len(found), sum(len(self.codec.encode(header, message)) for message in found)
