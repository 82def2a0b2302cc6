"""Finding nodes, for programs: one call, or a finder that stays open, and changes as they come.

found = await find(Wanted(blocks=(parse_need("ffmpeg>=5"),), near=Location(40.71, -74.01)))
for node in found.found:
    print(node.record.node_id, node.record.ip_addresses, node.reasons)

async with open_finder(DhtSettings()) as finder, finder.watch(wanted) as changes:
    async for change in changes:
        ...
"""

import logging
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal

import msgspec
import trio

from mdht.signing import SigningKey
from netserv_discovery.dht_io import Dht, open_dht
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import DiscoveryError
from netserv_discovery.finder import AskPing, Done, FindEffect, FinderConfig, Get, Search, Value
from netserv_discovery.following import following
from netserv_discovery.ping_io import PingPort, open_pings
from netserv_discovery.ranking import Found
from netserv_discovery.want import Wanted

log = logging.getLogger(__name__)

GATHER_S: Final = 0.1
"After a change of the DHT: a node that comes or goes changes several keys at once."
LOOK_S: Final = 15.0
"Between two looks without a change: nodes that do not answer any more say nothing of it."
AFTER_EXPIRY_S: Final = 0.5
"A record counts until its last second is over."
CHANGES_MAX: Final = 256
"Changes on their way to a slow reader; then a search waits for him."


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something has changed of what is looked for."""

    kind: Literal["found", "changed", "lost"]
    node: Found
    "For `lost` as it was."


class Finder:
    """Searches; made by `open_finder`.

    Args:
        dht: where to look.
        config: settings of searches.
    """

    def __init__(self, dht: Dht, config: FinderConfig | None = None) -> None:
        self.dht = dht
        self._config = config

    async def find(self, wanted: Wanted, known: Iterable[bytes] = ()) -> Done:
        """Return the best nodes, best first.

        Args:
            wanted: what is looked for.
            known: signed records that have come another way.
        """
        return (await self._search(wanted, known)).result()

    @asynccontextmanager
    async def watch(self, wanted: Wanted) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Yield a channel of changes: first what is there, as `found`, then what comes, changes and goes."""
        async with following(CHANGES_MAX, partial(self._watch, wanted)) as changes:
            yield changes

    async def _watch(self, wanted: Wanted, send: trio.MemorySendChannel[Change]) -> None:
        found: tuple[Found, ...] = ()
        keys: frozenset[bytes] = frozenset()

        async def look() -> bool:
            """Search again, and tell; whether other keys have to be followed from now on."""
            nonlocal found, keys
            running = await self._search(wanted, ())
            for change in changes_between(found, running.result().found):
                await send.send(change)
            log.info("%d keys in %d rounds, %d pings", *_effort(running.result()))
            found, before = running.result().found, keys
            keys |= running.search.keys
            return keys != before

        await look()
        while True:
            # What is there already rings as well: so what has changed since the search is not missed.
            async with self.dht.watch(sorted(keys)) as rings:
                while True:
                    await self._next_ring(rings, found)
                    if await look():
                        break

    async def _next_ring(self, rings: trio.MemoryReceiveChannel[bytes], found: tuple[Found, ...]) -> None:
        wait_s = min((each.record.expires - time.time() + AFTER_EXPIRY_S for each in found), default=math.inf)
        with trio.move_on_after(max(AFTER_EXPIRY_S, min(LOOK_S, wait_s))):
            await rings.receive()
            await trio.sleep(GATHER_S)

    async def _search(self, wanted: Wanted, known: Iterable[bytes]) -> "_Running":
        search = Search(wanted, self._config)
        async with open_pings() as pings:
            running = _Running(search, self.dht, pings)
            await running.run(known)
        return running


class _Running:
    """One search at work."""

    def __init__(self, search: Search, dht: Dht, pings: PingPort) -> None:
        self.search, self._dht, self._pings = search, dht, pings
        self._nursery: trio.Nursery
        self._rung = trio.Event()

    def result(self) -> Done:
        """Of a search that has ended."""
        assert self.search.done is not None  # noqa: S101 - `run` returns when it is there
        return self.search.done

    async def run(self, known: Iterable[bytes]) -> None:
        """Search until it is done."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._measure)
            self._perform(self.search.start(trio.current_time(), time.time()))
            for data in known:
                self._perform(self.search.known(data, trio.current_time()))
            while self.search.done is None:
                self._rung = trio.Event()
                with trio.move_on_at(self.search.next_deadline()):
                    await self._rung.wait()
                self._perform(self.search.tick(trio.current_time()))
            self._nursery.cancel_scope.cancel()

    def _perform(self, effects: Iterable[FindEffect]) -> None:
        for effect in effects:
            match effect:
                case Get(key=key):
                    self._nursery.start_soon(self._get, key)
                case AskPing(target=target):
                    self._pings.ask(target)
                case Done():
                    pass  # `search.done` has it
        self._rung.set()

    async def _get(self, key: bytes) -> None:
        try:
            found = await self._dht.get(key)
        except DiscoveryError as error:
            log.info("key %s: %s", key.hex(), error)
            self._perform(self.search.failed(key, trio.current_time()))
            return
        values = [Value(each.writer, each.value) for each in found]
        self._perform(self.search.values(key, values, trio.current_time()))

    async def _measure(self) -> None:
        async for measured in self._pings.measured:
            self._perform(self.search.measured(measured, trio.current_time()))


def _effort(done: Done) -> tuple[int, int, int]:
    return done.gets, done.rounds, done.pings


def changes_between(before: Iterable[Found], after: Iterable[Found]) -> list[Change]:
    """What is to be said when one answer follows another; those that go come first."""
    old = {each.record.public_key: each for each in before}
    new = {each.record.public_key: each for each in after}
    changes = [Change(kind="lost", node=each) for key, each in old.items() if key not in new]
    for key, each in new.items():
        if key not in old:
            changes.append(Change(kind="found", node=each))
        elif _lasting(old[key]) != _lasting(each):
            changes.append(Change(kind="changed", node=each))
    return changes


def _lasting(found: Found) -> tuple[object, ...]:
    """What is worth a word when it changes: neither how long a record lives nor how a round trip wavers."""
    record = msgspec.structs.replace(found.record, issued=0, expires=1, more=None, load=0)
    return record, found.trust, found.load


@asynccontextmanager
async def open_finder(
    settings: DhtSettings | None = None, *, config: FinderConfig | None = None
) -> AsyncIterator[Finder]:
    """Be ready to search while the context lasts: by the running `mdht run`, else by a node of its own.

    Raises:
        DiscoveryError: the settings cannot be used here.
    """
    async with open_dht(settings or DhtSettings(), SigningKey.generate(), wait=True) as dht:
        yield Finder(dht, config)


async def find(wanted: Wanted, settings: DhtSettings | None = None) -> Done:
    """Search once.

    Args:
        wanted: what is looked for.
        settings: of the DHT.

    Raises:
        DiscoveryError: the settings cannot be used here.
    """
    async with open_finder(settings) as finder:
        return await finder.find(wanted)
