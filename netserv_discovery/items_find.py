"""Nodes that have come as items of DNS-SD: verified, asked by PING, and ranked as anywhere else."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError
from netserv_discovery.finder import Done
from netserv_discovery.link_text import record_of_txt, unpack_txt
from netserv_discovery.location import Location, distance_km
from netserv_discovery.ping import Measured, Outcome, Target
from netserv_discovery.ping_io import open_pings
from netserv_discovery.ranking import Seen, Trust, rank
from netserv_discovery.record import NodeRecord
from netserv_discovery.want import LIMIT_MAX, Wanted
from z2z.service_item import ServiceItem

log = logging.getLogger(__name__)

GATHER_S: Final = 0.1
"After a change: a node that is in two places changes in both."
AGAIN_S: Final = 15.0
"Between two rounds of PING without a change."
ITEMS_MAX: Final = 1_000
"That are kept: more nodes on one link, or under one key of z2z, are a flood."

_TRUST: Final = {
    Outcome.ANSWERED: Trust.CONFIRMED,
    Outcome.SILENT: Trust.SILENT,
    Outcome.WRONG_KEY: Trust.WRONG_KEY,
}


class ItemsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for."""

    wanted: Wanted | None = None
    "None: any node."
    here: Location | None = None
    limit: int = 5
    ping: bool = True


async def best_of(
    items: Iterable[ServiceItem],
    wanted: ItemsWanted,
    counters: Mapping[str, int],
    *,
    certain: bool = True,
    gets: int = 0,
) -> Done:
    """Return the best of some nodes, best first.

    Args:
        items: the nodes, and whatever else calls itself one.
        wanted: what is looked for.
        counters: what was left out already.
        certain: these are all that there are.
        gets: keys that were asked for them.
    """
    left_out = Counter(counters)
    places = _verified(items, left_out)
    fit = {place: each for place, each in places.items() if _fits(each, wanted.wanted)}
    measured = await _ping(_nearest(fit, wanted)) if wanted.ping else {}
    seen = [_seen(record, measured.get(place), pinged=wanted.ping) for place, record in fit.items()]
    near = None if wanted.wanted is None else wanted.wanted.near
    left_out.update(each.outcome for each in measured.values() if each.outcome is not Outcome.ANSWERED)
    return Done(
        found=tuple(rank(seen, near=near, here=wanted.here, limit=wanted.limit)),
        certain=certain,
        gets=gets,
        rounds=1,
        pings=len(measured),
        counters=dict(left_out),
    )


def _verified(items: Iterable[ServiceItem], counters: Counter[str]) -> dict[Target, NodeRecord]:
    """The latest record of each node, by where it is reached."""
    found: dict[bytes, tuple[NodeRecord, Target]] = {}
    for item in items:
        try:
            record = record_of_txt(unpack_txt(item.txt), time.time())
        except (RemoteProtocolError, LocalProtocolError) as error:
            counters[getattr(error, "code", "malformed")] += 1
            log.info("%s is left out: %s", item.display_name, error)
            continue
        old = found.get(record.public_key)
        if old is None or old[0].issued < record.issued:
            # Where it announces itself, which may be another address than those for all the world.
            found[record.public_key] = record, Target(record.public_key, (str(item.addresses[0]), record.ping_port))
    return {target: record for record, target in found.values()}


def _fits(record: NodeRecord, wanted: Wanted | None) -> bool:
    if wanted is None:
        return True
    if wanted.excludes(record) or not wanted.met_by(record.blocks, record.modules):
        return False
    if wanted.radius_km is None or wanted.near is None:
        return True
    return record.location is not None and distance_km(wanted.near, record.location) <= wanted.radius_km


def _nearest(places: dict[Target, NodeRecord], wanted: ItemsWanted) -> list[Target]:
    """Whom to ask: those that the answer may have, of those with a port for it."""
    near = None if wanted.wanted is None else wanted.wanted.near

    def far(target: Target) -> float:
        location = places[target].location
        return 0.0 if near is None or location is None else distance_km(near, location)

    return sorted((each for each in places if places[each].ping_port), key=far)[:LIMIT_MAX]


async def _ping(targets: Iterable[Target]) -> dict[Target, Measured]:
    async with open_pings() as pings:
        return await pings.measure(targets)


def _seen(record: NodeRecord, measured: Measured | None, *, pinged: bool) -> Seen:
    if measured is None:
        trust = Trust.NO_PING if pinged and not record.ping_port else Trust.UNMEASURED
        return Seen(record=record, trust=trust)
    return Seen(record=record, trust=_TRUST[measured.outcome], rtt_s=measured.rtt_s, load=measured.load)
