"""Finding nodes on the link: what announces itself there, verified, asked by PING and ranked as anywhere else."""

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import trio

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError
from netserv_discovery.find import Change, changes_between
from netserv_discovery.finder import Done
from netserv_discovery.following import following
from netserv_discovery.link_io import LinkChange, Links, open_links, usable_interfaces
from netserv_discovery.link_text import record_of_txt, unpack_txt
from netserv_discovery.location import Location, distance_km
from netserv_discovery.ping import Measured, Outcome, Target
from netserv_discovery.ping_io import open_pings
from netserv_discovery.ranking import Found, Seen, Trust, rank
from netserv_discovery.record import NodeRecord
from netserv_discovery.want import LIMIT_MAX, Wanted
from z2z.service_item import ServiceItem

log = logging.getLogger(__name__)

LOOK_S: Final = 1.3
"A look: two rounds of questions (RFC 6762 section 5.2) and the delays of their answers (section 6)."
GATHER_S: Final = 0.1
"After a change: a node on two links changes on both."
AGAIN_S: Final = 15.0
"Between two rounds of PING without a change."
INSTANCES_MAX: Final = 1_000
"Announcements that are kept: more nodes on one link are a flood."

_TRUST: Final = {
    Outcome.ANSWERED: Trust.CONFIRMED,
    Outcome.SILENT: Trust.SILENT,
    Outcome.WRONG_KEY: Trust.WRONG_KEY,
}


class LinkWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for on the link."""

    wanted: Wanted | None = None
    "None: any node."
    here: Location | None = None
    limit: int = 5
    ping: bool = True


class LinkFinder:
    """Looks at links; made by `open_link_finder`."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def find(self, wanted: LinkWanted) -> Done:
        """Return the best nodes of the link, best first."""
        seen = _Link()
        async with self._links.browse() as changes:
            with trio.move_on_after(LOOK_S):
                await seen.gather(changes, LOOK_S, LOOK_S)
        return await seen.answer(wanted)

    @asynccontextmanager
    async def watch(self, wanted: LinkWanted) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Yield a channel of changes: first what is there, as `found`, then what comes, changes and goes."""
        async with following(LIMIT_MAX, partial(self._watch, wanted)) as changes:
            yield changes

    async def _watch(self, wanted: LinkWanted, send: trio.MemorySendChannel[Change]) -> None:
        seen = _Link()
        before: Sequence[Found] = ()
        async with self._links.browse() as changes:
            while True:
                await seen.gather(changes, AGAIN_S, GATHER_S)
                found = (await seen.answer(wanted)).found
                for change in changes_between(before, found):
                    await send.send(change)
                before = found


class _Link:
    """What announces itself now."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], ServiceItem] = {}
        self._counters: Counter[str] = Counter()

    async def gather(self, changes: trio.MemoryReceiveChannel[LinkChange], first_s: float, next_s: float) -> None:
        """Take changes in until there is none for a while.

        Args:
            changes: of the links.
            first_s: longest wait for the first.
            next_s: for each further one.
        """
        wait_s = first_s
        while True:
            with trio.move_on_after(wait_s):
                self._take(await changes.receive())
                wait_s = next_s
                continue
            return

    def _take(self, change: LinkChange) -> None:
        key = change.interface, change.instance
        if change.item is None:
            self._items.pop(key, None)
        elif key in self._items or len(self._items) < INSTANCES_MAX:
            self._items[key] = change.item
        else:
            self._counters["too_many"] += 1

    async def answer(self, wanted: LinkWanted) -> Done:
        """The best of them, best first."""
        counters = Counter(self._counters)
        places = self._verified(counters)
        fit = {place: each for place, each in places.items() if _fits(each, wanted.wanted)}
        measured = await _ping(_nearest(fit, wanted)) if wanted.ping else {}
        seen = [_seen(record, measured.get(place), pinged=wanted.ping) for place, record in fit.items()]
        near = None if wanted.wanted is None else wanted.wanted.near
        counters.update(each.outcome for each in measured.values() if each.outcome is not Outcome.ANSWERED)
        return Done(
            found=tuple(rank(seen, near=near, here=wanted.here, limit=wanted.limit)),
            certain=True,
            gets=0,
            rounds=1,
            pings=len(measured),
            counters=dict(counters),
        )

    def _verified(self, counters: Counter[str]) -> dict[Target, NodeRecord]:
        """The latest record of each node, by where it is reached on the link."""
        found: dict[bytes, tuple[NodeRecord, Target]] = {}
        for item in self._items.values():
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


def _nearest(places: dict[Target, NodeRecord], wanted: LinkWanted) -> list[Target]:
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


@asynccontextmanager
async def open_link_finder(interfaces: Sequence[str]) -> AsyncIterator[LinkFinder]:
    """Be ready to look while the context lasts.

    Args:
        interfaces: of the links; none: all that are up.

    Raises:
        LocalProtocolError: one cannot be used.
    """
    async with open_links(usable_interfaces(interfaces)) as links:
        yield LinkFinder(links)
