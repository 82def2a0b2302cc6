"""A made-up world for searches: nodes with keys and places, a store in memory, and PINGs that take the time of light in
glass. Virtual time; everything from one seed."""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import msgspec

from mdht.signing import SigningKey
from netserv_discovery.finder import AskPing, Done, FinderConfig, Get, Search, Value
from netserv_discovery.keys import Place, keys_of, list_key
from netserv_discovery.location import Location, distance_km
from netserv_discovery.ping import Measured, Outcome
from netserv_discovery.ranking import FIBRE_MS_PER_KM
from netserv_discovery.record import NodeRecord, encode, made_name, split
from netserv_discovery.versions import Offer
from netserv_discovery.want import Wanted

UNIX = 1_750_000_000
GET_S = 0.015
SILENT_S = 1.0
BLOCKS = ("ffmpeg", "http", "sip", "geoip", "stun")
HERE = Location(40.71, -74.01)
CITIES = [(40.7, -74.0), (51.5, -0.1), (35.7, 139.7), (-33.9, 151.2), (-23.5, -46.6), (52.5, 13.4), (1.3, 103.8)]


def place(rng: Random) -> Location:
    """Half of them around cities, half anywhere on the sphere."""
    if rng.random() < 0.5:
        latitude, longitude = rng.choice(CITIES)
        return Location(latitude + rng.gauss(0, 2), (longitude + rng.gauss(0, 2) + 180) % 360 - 180)
    return anywhere(rng)


def anywhere(rng: Random) -> Location:
    return Location(math.degrees(math.asin(rng.uniform(-1, 1))), rng.uniform(-180, 180))


def address(rng: Random) -> bytes:
    return bytes([rng.choice((80, 90, 130, 195)), *rng.randbytes(2), rng.randrange(1, 255)])


def node(rng: Random, key: SigningKey, **changes) -> NodeRecord:
    fields = {
        "public_key": key.public_key,
        "node_id": made_name(key.public_key),
        "addresses": (address(rng),),
        "ping_port": 4_270,
        "blocks": tuple(Offer(name, f"{rng.randrange(3, 8)}.{rng.randrange(3)}") for name in rng.sample(BLOCKS, 2)),
        "location": place(rng),
        "operator": "Columbia",
        "load": rng.randrange(11),
        "issued": UNIX - 10,
        "expires": UNIX + 290,
    }
    return NodeRecord(**{**fields, **changes})


@dataclass
class World:
    rng: Random
    here: Location = HERE
    "Of the asker: round trips are measured from there."
    nodes: dict[bytes, NodeRecord] = field(default_factory=dict)
    truth: dict[tuple[bytes, bytes, int], Location] = field(default_factory=dict)
    "Key, address and port of those that answer: where they really are."
    store: dict[bytes, list[Value]] = field(default_factory=lambda: defaultdict(list))
    get_s: Callable[[bytes], float] = lambda key: GET_S
    gone: set[bytes] = field(default_factory=set)
    "Keys that cannot be had."

    def key(self) -> SigningKey:
        return SigningKey.from_seed(self.rng.randbytes(32))

    def advertise(self, record: NodeRecord, key: SigningKey, writer: bytes | None = None) -> None:
        for where in keys_of(record):
            part, offers = split(record, where.offer)
            self.put([where], encode(part, key), writer or key.public_key)
            if offers is not None and part.more is not None:
                self.store[list_key(part.more)] = [Value(key.public_key, offers)]

    def put(self, places: Iterable[Place], data: bytes, writer: bytes) -> None:
        for where in places:
            self.store[where.key].append(Value(writer, data))

    def answers(self, record: NodeRecord, really: Location | None = None) -> None:
        at = really or record.location or self.here
        self.truth[record.public_key, record.addresses[0], record.ping_port] = at

    def populate(self, count: int) -> None:
        for _ in range(count):
            key = self.key()
            record = node(self.rng, key)
            self.nodes[key.public_key] = record
            self.advertise(record, key)
            self.answers(record)

    def nearest(self, wanted: Wanted) -> list[NodeRecord]:
        """By looking at all of them."""
        fit = [each for each in self.nodes.values() if wanted.met_by(each.blocks, each.modules)]
        return sorted(fit, key=lambda each: distance_km(wanted.near, each.location))

    def search(self, wanted: Wanted, config: FinderConfig | None = None, now: float = 100.0) -> tuple[Done, float]:
        """Run a search to its end; what it found, and the seconds that it took."""
        return run(self, Search(wanted, config), now)


def run(world: World, search: Search, now: float) -> tuple[Done, float]:
    started, queue, number = now, [], itertools.count()
    effects = search.start(now, UNIX)
    for _ in range(20_000):
        for effect in effects:
            if isinstance(effect, Done):
                return effect, now - started
            at, what = _outcome(world, effect)
            heapq.heappush(queue, (now + at, next(number), effect, what))
        if queue and queue[0][0] <= search.next_deadline():
            now, _, effect, what = heapq.heappop(queue)
            effects = _tell(search, effect, what, now)
        else:
            assert search.next_deadline() > now or not queue, "it asks for a tick at a moment that has been"
            now = search.next_deadline()
            assert now < math.inf, "it waits for nothing"
            effects = search.tick(now)
    raise AssertionError("it never ends")


def _outcome(world: World, effect):
    if isinstance(effect, Get):
        return world.get_s(effect.key), None if effect.key in world.gone else list(world.store.get(effect.key, ()))
    target = effect.target
    host = bytes(map(int, target.address[0].split(".")))
    at = world.truth.get((target.public_key, host, target.address[1]))
    if at is not None:
        rtt_s = 0.002 + distance_km(world.here, at) * FIBRE_MS_PER_KM * 1.5 / 1000
        return 2 * rtt_s, Measured(target=target, outcome=Outcome.ANSWERED, rtt_s=rtt_s, load=3)
    if (host, target.address[1]) in {(there, port) for _, there, port in world.truth}:
        return 0.05, Measured(target=target, outcome=Outcome.WRONG_KEY)
    return SILENT_S, Measured(target=target, outcome=Outcome.SILENT)


def _tell(search: Search, effect, what, now: float):
    if isinstance(effect, AskPing):
        return search.measured(what, now)
    return search.failed(effect.key, now) if what is None else search.values(effect.key, what, now)


def resigned(record: NodeRecord, key: SigningKey, **changes) -> bytes:
    return encode(msgspec.structs.replace(record, **changes), key)
