"""In which order nodes are shown, and why.

First what was seen of a node (does it answer, with its key, from where it can be), then distance, then the measured
round trip, then load. No network and no writer has more than half of the places while others wait.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from ipaddress import ip_address
from typing import Final

import msgspec

from mdht.throttle import source_group
from netserv_discovery.location import Location, distance_km
from netserv_discovery.record import NodeRecord
from z2z.addresses import Scope, classify

LIGHT_KM_PER_MS: Final = 299.792458
"In a vacuum: nothing is faster."
FIBRE_MS_PER_KM: Final = 0.01
"There and back: light in glass has two thirds of that speed."
SLOW_FACTOR: Final = 3.0
"A path is up to so much longer than the great circle (median of the internet 2 to 3)."
SLOW_MS: Final = 30.0
"What last miles and queues add at the far end."


EXPECTED_S: Final = 0.6
"Two round trips to the other side of the earth."


class Trust(IntEnum):
    """What was seen of a node, best first."""

    CONFIRMED = 0
    "It answers, with its key, and may be where it says."
    SLOW = 1
    "It answers, much later than from where it says."
    UNMEASURED = 2
    "Not asked: nobody wanted to, or it was not its turn."
    NO_PING = 3
    "It has no port for that."
    SILENT = 4
    FALSE_PLACE = 5
    "It answers sooner than light comes from where it says."
    WRONG_KEY = 6
    "Somebody else answers there."


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A verified record, and what was seen of its node."""

    record: NodeRecord
    writers: frozenset[bytes] = frozenset()
    "Who has put it in the DHT; empty for what came another way."
    trust: Trust = Trust.UNMEASURED
    "`CONFIRMED` if it answered with its key, before its place is looked at."
    rtt_s: float = math.inf
    load: int | None = None
    "Tenths; newer than that of the record."


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One of the nodes found."""

    record: NodeRecord
    trust: Trust
    distance_km: float | None
    "From the place that was asked for."
    rtt_s: float | None
    load: int
    "Tenths."
    crowded: bool
    "Its network or its writer has others before it."
    reasons: tuple[str, ...]
    "Why it stands where it stands, in words."


def network_of(record: NodeRecord) -> str:
    """The network (/24, /48) of a node's first address; its name if it has none."""
    return source_group(str(ip_address(record.addresses[0]))) if record.addresses else f"node {record.node_id}"


def far_km(record: NodeRecord, near: Location | None) -> float:
    """How far a node may be at the most; without a location farther than any."""
    if near is None:
        return 0.0
    return math.inf if record.location is None else distance_km(near, record.location) + record.within_km


def share_of(limit: int) -> int:
    """Places of one network or writer."""
    return (limit + 1) // 2


class Shares:
    """Counts places of networks and writers.

    Args:
        share: of each.
    """

    def __init__(self, share: int) -> None:
        self._share = share
        self._taken: Counter[str | bytes] = Counter()

    def take(self, one: Seen) -> bool:
        """Give a node its place; False if its network or its writer has its share already."""
        groups = self._groups(one)
        if any(self._taken[group] >= self._share for group in groups):
            return False
        self._taken.update(groups)
        return True

    def _groups(self, one: Seen) -> list[str | bytes]:
        if one.trust <= Trust.SLOW:
            # It is there, so who has put its record matters no more. With a private address it is of our own site.
            return [network_of(one.record)] if _public(one.record) else []
        # Anybody can put a record of others again; the writer that has fewest counts, so that it makes nobody crowded.
        writer = min(one.writers, key=lambda each: (self._taken[each], each), default=None)
        return [network_of(one.record)] if writer is None else [network_of(one.record), writer]


def rank(
    seen: Iterable[Seen], *, near: Location | None = None, here: Location | None = None, limit: int = 5
) -> list[Found]:
    """Return the best nodes, best first.

    Args:
        seen: one for each node.
        near: from where distances count.
        here: where the round trips were measured, if that is known.
        limit: so many.
    """
    ordered = sorted(judged(seen, here), key=lambda one: _order(one, near))
    crowded = _crowded(ordered, share_of(limit))
    # Behind the others of its kind: a crowd is no reason to stand behind those who do not answer.
    ordered.sort(key=lambda one: (one.trust, one.record.public_key in crowded))  # stable
    return [_found(one, near, here, one.record.public_key in crowded) for one in ordered[:limit]]


def expected_s(record: NodeRecord, here: Location | None) -> float:
    """Seconds within which a node answers a PING, with the exchange of a cookie before, if it is where it says."""
    if here is None or record.location is None:
        return EXPECTED_S
    return min(EXPECTED_S, 2.0 * _slowest_ms(record.location, record.within_km, here) / 1000.0)


def false_place(record: NodeRecord, rtt_s: float, here: Location | None) -> bool:
    """Whether an answer came sooner than light comes from where the node says it is."""
    if here is None or record.location is None:
        return False
    least_km = distance_km(here, record.location) - record.within_km - 1.0  # our own place is rounded as well
    return rtt_s * 1000.0 < 2.0 * least_km / LIGHT_KM_PER_MS


def sound(seen: Iterable[Seen], *, near: Location | None, here: Location | None, limit: int) -> list[Seen]:
    """Those that answer from where they say, nearest first, of one network no more than its share."""
    confirmed = [one for one in judged(seen, here) if one.trust is Trust.CONFIRMED]
    confirmed.sort(key=lambda one: _order(one, near))
    crowded = _crowded(confirmed, share_of(limit))
    return [one for one in confirmed if one.record.public_key not in crowded]


def judged(seen: Iterable[Seen], here: Location | None) -> list[Seen]:
    """What their round trips say of their places."""
    seen = list(seen)
    trips_ms = [one.rtt_s * 1000.0 for one in seen if one.trust is Trust.CONFIRMED]
    # What the quickest needs is at most our own last mile and queue: it says nothing of the others' places.
    own_ms = min(trips_ms, default=0.0)
    return [msgspec.structs.replace(one, trust=_judge(one, here, own_ms)) for one in seen]


def _judge(one: Seen, here: Location | None, own_ms: float) -> Trust:
    place = one.record.location
    if one.trust is not Trust.CONFIRMED or here is None or place is None:
        return one.trust
    if false_place(one.record, one.rtt_s, here):
        return Trust.FALSE_PLACE
    return (
        Trust.SLOW if one.rtt_s * 1000.0 > own_ms + _slowest_ms(place, one.record.within_km, here) else Trust.CONFIRMED
    )


def _slowest_ms(place: Location, within_km: float, here: Location) -> float:
    return SLOW_MS + SLOW_FACTOR * FIBRE_MS_PER_KM * (distance_km(here, place) + within_km)


def _order(one: Seen, near: Location | None) -> tuple[int, float, float, int, str, bytes]:
    # Whole kilometres and milliseconds: what differs by less does not differ, and the next rule decides.
    km = far_km(one.record, near)
    rtt = one.rtt_s * 1000.0
    return (
        one.trust,
        km if math.isinf(km) else round(km),
        rtt if math.isinf(rtt) else round(rtt),
        _load(one),
        one.record.node_id,
        one.record.public_key,
    )


def _load(one: Seen) -> int:
    return one.record.load if one.load is None else one.load


def _crowded(ordered: Sequence[Seen], share: int) -> set[bytes]:
    """Those whose network or writer has its share already."""
    shares = Shares(share)
    return {one.record.public_key for one in ordered if not shares.take(one)}


def _public(record: NodeRecord) -> bool:
    return bool(record.addresses) and classify(ip_address(record.addresses[0])) is Scope.PUBLIC


def _found(one: Seen, near: Location | None, here: Location | None, crowded: bool) -> Found:
    record = one.record
    km = None if near is None or record.location is None else distance_km(near, record.location)
    return Found(
        record=record,
        trust=one.trust,
        distance_km=km,
        rtt_s=None if math.isinf(one.rtt_s) else one.rtt_s,
        load=_load(one),
        crowded=crowded,
        reasons=tuple(_reasons(one, km, near, here, crowded)),
    )


def _reasons(one: Seen, km: float | None, near: Location | None, here: Location | None, crowded: bool) -> Iterable[str]:
    if km is not None:
        within = one.record.within_km
        yield f"{km:,.0f} km away" + (f", give or take {within:,} km" if within > 1 else "")
    elif near is not None:
        yield "says not where it is"
    yield _answer(one, here)
    yield f"load {_load(one)} of 10"
    if crowded:
        yield "its network or its writer has others before it"


def _answer(one: Seen, here: Location | None) -> str:
    place, trip = one.record.location, f"{one.rtt_s * 1000.0:.1f} ms"
    match one.trust:
        case Trust.CONFIRMED:
            return f"answers in {trip}"
        case Trust.UNMEASURED:
            return "was not asked by PING"
        case Trust.SLOW:
            return f"answers in {trip}, which is slow for where it says it is"
        case Trust.NO_PING:
            return "answers no PING by its own word"
        case Trust.SILENT:
            return "does not answer"
        case Trust.FALSE_PLACE if here is not None and place is not None:
            least_ms = 2.0 * distance_km(here, place) / LIGHT_KM_PER_MS
            return f"answers in {trip}, but light needs {least_ms:.1f} ms to where it says it is"
        case _:
            return "somebody else answers there"
