"""Advertises one node: its facts go in, what is to be put, removed and announced comes out. A core without I/O.

Each place (link, DHT, sites) gets what the policy shows there. Records are put again when a third of their life has
passed, at once after a change, and taken back when the node stops; after a crash they expire.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final, TypeAlias

import msgspec

from mdht.signing import SigningKey
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.keys import Place, keys_of, list_key
from netserv_discovery.link_text import subtypes_of, txt_of
from netserv_discovery.location import Location
from netserv_discovery.policy import DEFAULT, Policy, Where, hidden_because, shown
from netserv_discovery.record import GIST_PORT, LIFE_MAX_S, Limits, NodeRecord, encode, split
from netserv_discovery.sites import site_name, site_value
from netserv_discovery.versions import Offer
from z2z.cover import PLAIN, Cover

NAME_BYTES: Final = 16
"Of the sub-name in the DHT: the first of the node's key, so that one writer can put the records of several nodes."
RETRY_FIRST_S: Final = 2.0
RETRY_MAX_S: Final = 30.0
"A put that failed is tried again after 2, 4 ... 30 s: the DHT is a network that comes back by itself."


class AdvertisingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an advertiser.

    Raises:
        LocalProtocolError: a value is out of bounds.
    """

    lease_s: int = 300
    "Life of a record: so long a node that crashed is still found in the DHT."
    refresh_part: float = 1 / 3
    "Of the lease: two refreshes may be lost."
    refresh_spread: float = 0.1
    "Nodes that were started together do not stay in step."
    settle_s: float = 1.0
    "Changes that follow another one sooner are put together: a module that starts is several of them."
    load_step: int = 2
    "Tenths by which the load must differ to be put before the next refresh."
    load_settle_s: float = 10.0
    "And not more often than that, however it swings."

    def __post_init__(self) -> None:
        if not 10 <= self.lease_s <= LIFE_MAX_S:
            raise LocalProtocolError(f"a lease of {self.lease_s} s: say 10 s to 7 days ({LIFE_MAX_S} s)")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the node now; the meaning of each is that of `NodeRecord`."""

    node_id: str
    addresses: tuple[bytes, ...]
    gist_port: int = GIST_PORT
    ping_port: int = 0
    blocks: tuple[Offer, ...] = ()
    modules: tuple[Offer, ...] = ()
    limits: Limits = Limits()
    load: int = 0
    location: Location | None = None
    within_km: int = 1
    operator: str = ""


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: put a value; `put_done` is called with the outcome."""

    key: bytes
    name: bytes
    value: bytes
    lease_s: int
    text: str
    "What it is the key of, for people."
    for_sites: bool = False
    "Written as importers of z2z want it: by the node's own key, or by what its secret makes of it."


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: take a value back."""

    key: bytes
    name: bytes
    text: str
    for_sites: bool = False


class Announce(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: show the node on the link, or what has changed of it."""

    instance: str
    port: int
    addresses: tuple[bytes, ...]
    txt: tuple[bytes, ...]
    subtypes: tuple[str, ...]


class Withdraw(msgspec.Struct, frozen=True):
    """Effect: show it no more."""


AdvertisingEffect: TypeAlias = Put | Remove | Announce | Withdraw
Slot: TypeAlias = tuple[bytes, bytes]
"Key and sub-name."


class State(Enum):
    """Of an advertiser."""

    SILENT = auto()
    "Nothing is known of the node yet."
    SHOWN = auto()
    CHANGED = auto()
    "Something else will be shown soon."
    STOPPED = auto()


class Input(Enum):
    """What happens to it."""

    FACTS = auto()
    "Others than are shown."
    PUBLISHED = auto()
    STOP = auto()


TRANSITIONS: Final = {
    (State.SILENT, Input.FACTS): State.CHANGED,
    (State.SILENT, Input.STOP): State.STOPPED,
    (State.SHOWN, Input.FACTS): State.CHANGED,
    (State.SHOWN, Input.PUBLISHED): State.SHOWN,  # a refresh
    (State.SHOWN, Input.STOP): State.STOPPED,
    (State.CHANGED, Input.FACTS): State.CHANGED,
    (State.CHANGED, Input.PUBLISHED): State.SHOWN,
    (State.CHANGED, Input.STOP): State.STOPPED,
}


@dataclass(slots=True)
class _Placed:
    put: Put
    stored: bool = False
    failures: int = 0
    retry_at: float = math.inf


class Advertiser:
    """Advertises one node.

    Args:
        key: the node's.
        rng: of the spread of refreshes.
        config: settings.
        policy: what is shown where.
        cover: what hides the node from the DHT as it is shown to sites.
    """

    def __init__(
        self,
        key: SigningKey,
        rng: Random,
        config: AdvertisingConfig | None = None,
        policy: Policy = DEFAULT,
        cover: Cover = PLAIN,
    ) -> None:
        self._key, self._rng, self._cover = key, rng, cover
        self._config = config or AdvertisingConfig()
        self._policy = policy
        self._facts: Facts | None = None
        self._shown: Facts | None = None
        self._placed: dict[Slot, _Placed] = {}
        self._announced: Announce | None = None
        self._record: NodeRecord | None = None
        self._issued = 0
        self._published_at = -math.inf
        self._publish_at = math.inf
        self.state = State.SILENT
        self.counters: Counter[str] = Counter()

    # ---- what is known -------------------------------------------------------------------------------------------

    def set_facts(self, facts: Facts, now: float, unix_now: float) -> list[AdvertisingEffect]:
        """Take in what is true of the node now.

        Raises:
            LocalProtocolError: no record can say that; what was shown before stays.
        """
        self._check_running()
        record = self._whole(facts, int(unix_now))
        split(record)  # refuses what not even a list has room for, before anything is changed
        self._facts = facts
        if facts != self._shown:
            self._changed(now + self._wait_s(facts, now))
        return self.tick(now, unix_now)

    def set_policy(self, policy: Policy, now: float, unix_now: float) -> list[AdvertisingEffect]:
        """Take in another policy."""
        self._check_running()
        self._policy = policy
        if self._facts is not None:
            self._changed(now)
        return self.tick(now, unix_now)

    def record_for(self, where: Where) -> NodeRecord | None:
        """The node as it is shown in a place now, whole; None if it is not."""
        return None if self._record is None else shown(self._record, where, self._policy)

    def hidden(self) -> dict[Where, str]:
        """Where the node is not shown, and why."""
        if self._record is None:
            return {}
        reasons = {where: hidden_because(self._record, where, self._policy) for where in Where}
        return {where: reason for where, reason in reasons.items() if reason}

    @property
    def stored(self) -> int:
        """Values that the DHT has."""
        return sum(placed.stored for placed in self._placed.values())

    @property
    def wanted(self) -> int:
        """Values that it should have."""
        return len(self._placed)

    # ---- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float, unix_now: float) -> list[AdvertisingEffect]:
        """Put what is due.

        Args:
            now: seconds of the clock that all calls go by.
            unix_now: seconds of the one by which records expire.
        """
        if self.state is State.STOPPED:
            return []
        if now >= self._publish_at and self._facts is not None:
            return self._publish(self._facts, now, unix_now)
        due = [placed for placed in self._placed.values() if now >= placed.retry_at]
        for placed in due:
            placed.retry_at = math.inf
        return [placed.put for placed in due]

    def next_deadline(self) -> float:
        """When to tick; `math.inf` for never."""
        if self.state is State.STOPPED:
            return math.inf
        return min(self._publish_at, min((placed.retry_at for placed in self._placed.values()), default=math.inf))

    def put_done(self, put: Put, error: str | None, now: float) -> None:
        """Take in what came of a put.

        Args:
            put: the effect.
            error: why it failed; None if it is stored.
            now: seconds.
        """
        placed = self._placed.get((put.key, put.name))
        if placed is None or placed.put is not put:
            return  # another value has taken its place
        if error is None:
            placed.stored, placed.failures, placed.retry_at = True, 0, math.inf
            return
        self.counters["failed_puts"] += 1
        placed.retry_at = now + min(RETRY_FIRST_S * 2**placed.failures, RETRY_MAX_S)
        placed.failures = min(placed.failures + 1, 16)

    def stop(self) -> list[AdvertisingEffect]:
        """Take everything back."""
        if self.state is State.STOPPED:
            return []
        self._step(Input.STOP)
        effects: list[AdvertisingEffect] = [] if self._announced is None else [Withdraw()]
        effects += [_remove(placed.put) for placed in self._placed.values()]
        self._placed.clear()
        self._announced = None
        return effects

    # ---- inside --------------------------------------------------------------------------------------------------

    def _step(self, event: Input) -> None:
        self.state = TRANSITIONS[self.state, event]

    def _check_running(self) -> None:
        if self.state is State.STOPPED:
            raise LocalProtocolError("the advertiser has stopped; make a new one")

    def _changed(self, at: float) -> None:
        self._step(Input.FACTS)
        self._publish_at = min(self._publish_at, at)

    def _wait_s(self, facts: Facts, now: float) -> float:
        """Seconds until a change is shown."""
        shown_before = self._shown
        since_s = now - self._published_at
        if shown_before is None:
            return 0.0
        if msgspec.structs.replace(facts, load=shown_before.load) != shown_before:
            return max(0.0, self._config.settle_s - since_s)
        if abs(facts.load - shown_before.load) >= self._config.load_step:
            return max(0.0, self._config.load_settle_s - since_s)
        return math.inf  # with the next refresh

    def _whole(self, facts: Facts, issued: int) -> NodeRecord:
        return NodeRecord(
            public_key=self._key.public_key,
            issued=issued,
            expires=issued + self._config.lease_s,
            **{name: getattr(facts, name) for name in facts.__struct_fields__},
        )

    def _publish(self, facts: Facts, now: float, unix_now: float) -> list[AdvertisingEffect]:
        # Grows in any case: of two records the later one counts, even if the clock was set back.
        self._issued = max(int(unix_now), self._issued + 1)
        self._record = record = self._whole(facts, self._issued)
        effects = [*self._on_link(record), *self._in_dht(record, unix_now)]
        self._step(Input.PUBLISHED)
        self._shown, self._published_at = facts, now
        refresh_s = self._config.lease_s * self._config.refresh_part
        self._publish_at = now + refresh_s * (1.0 - self._config.refresh_spread * self._rng.random())
        self.counters["published"] += 1
        return effects

    def _on_link(self, whole: NodeRecord) -> list[AdvertisingEffect]:
        record = shown(whole, Where.LINK, self._policy)
        if record is None:
            had, self._announced = self._announced, None
            return [] if had is None else [Withdraw()]
        part, _ = split(record)
        self._announced = Announce(
            instance=record.node_id,
            port=record.gist_port,
            addresses=record.addresses,
            txt=txt_of(record, encode(part, self._key)),
            subtypes=subtypes_of(record),
        )
        return [self._announced]

    def _in_dht(self, whole: NodeRecord, unix_now: float) -> list[AdvertisingEffect]:
        puts = {(put.key, put.name): put for put in (*self._records(whole), *self._site_items(whole, unix_now))}
        gone = [_remove(placed.put) for slot, placed in self._placed.items() if slot not in puts]
        before = self._placed
        # What is there already stays so until its lease ends, whatever comes of the refresh.
        self._placed = {slot: _Placed(put, slot in before and before[slot].stored) for slot, put in puts.items()}
        return [*puts.values(), *gone]

    def _records(self, whole: NodeRecord) -> Iterator[Put]:
        record = shown(whole, Where.DHT, self._policy)
        if record is None:
            return
        encoded: dict[str | None, bytes] = {}
        lists: dict[bytes, bytes] = {}
        fits = split(record)[1] is None
        for place in keys_of(record):
            offer = None if fits else place.offer  # one and the same for all keys, if it has all offers
            if offer not in encoded:
                part, document = split(record, offer)
                encoded[offer] = encode(part, self._key)
                if part.more is not None and document is not None:
                    lists[part.more] = document
            yield self._put(place, encoded[offer])
        for digest, document in lists.items():
            yield self._put(Place(list_key(digest), "list of offers"), document)

    def _site_items(self, whole: NodeRecord, unix_now: float) -> Iterator[Put]:
        record = shown(whole, Where.SITES, self._policy)
        if record is None:
            return
        part, _ = split(record)
        seq, lease_s, cover = int(unix_now * 1000), self._config.lease_s, self._cover
        value = site_value(part, self._key, seq=seq, lease_s=lease_s, cover=cover)
        for word in self._policy.view(Where.SITES).keys:
            put = self._put(Place(cover.key(word), f"site {word}"), value)
            yield msgspec.structs.replace(put, name=site_name(record, cover), for_sites=True)

    def _put(self, place: Place, value: bytes) -> Put:
        name = self._key.public_key[:NAME_BYTES]
        return Put(key=place.key, name=name, value=value, lease_s=self._config.lease_s, text=place.text)


def _remove(put: Put) -> Remove:
    return Remove(key=put.key, name=put.name, text=put.text, for_sites=put.for_sites)
