"""Finding nodes by sites of z2z: what is under their keys in the DHT, hidden by a secret or not."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import trio

from netserv_discovery.dht_io import Dht, StoredValue
from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError, UnreachableError
from netserv_discovery.find import Change, changes_between
from netserv_discovery.finder import Done
from netserv_discovery.following import following
from netserv_discovery.items_find import AGAIN_S, GATHER_S, ITEMS_MAX, ItemsWanted, best_of
from netserv_discovery.policy import SITE_KEYS_MAX
from netserv_discovery.ranking import Found
from netserv_discovery.sites import site_item
from netserv_discovery.want import LIMIT_MAX
from z2z.cover import Cover
from z2z.service_item import ServiceItem

log = logging.getLogger(__name__)

_Answer: TypeAlias = tuple[Cover, list[StoredValue]]


class SiteFinder:
    """Looks under keys of z2z.

    Args:
        dht: where to look.
        words: the keys, as people say them.
        covers: of what is there; one for each secret, or `PLAIN`.

    Raises:
        LocalProtocolError: that are too many keys.
    """

    def __init__(self, dht: Dht, words: Sequence[str], covers: Sequence[Cover]) -> None:
        if len(words) > SITE_KEYS_MAX:
            raise LocalProtocolError(f"{len(words)} keys of z2z; at most {SITE_KEYS_MAX} are looked under")
        self._dht = dht
        self._keys = [(cover.key(word), cover) for word in words for cover in covers]

    async def find(self, wanted: ItemsWanted) -> Done:
        """Return the best nodes of the sites, best first.

        Raises:
            UnreachableError: the DHT says nothing of any of the keys.
        """
        answers: list[_Answer] = []
        failures: list[UnreachableError] = []
        async with trio.open_nursery() as nursery:
            for key, cover in self._keys:
                nursery.start_soon(self._ask, key, cover, answers, failures)
        if not answers:
            raise failures[0]
        counters: Counter[str] = Counter()
        items = [item for cover, values in answers for item in _items(values, cover, counters)]
        return await best_of(items, wanted, counters, certain=not failures, gets=len(self._keys))

    @asynccontextmanager
    async def watch(self, wanted: ItemsWanted) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Yield a channel of changes: first what is there, as `found`, then what comes, changes and goes."""
        async with following(LIMIT_MAX, partial(self._watch, wanted)) as changes:
            yield changes

    async def _watch(self, wanted: ItemsWanted, send: trio.MemorySendChannel[Change]) -> None:
        before: Sequence[Found] = ()
        async with self._dht.watch([key for key, _ in self._keys]) as rings:
            while True:
                found = (await self.find(wanted)).found
                for change in changes_between(before, found):
                    await send.send(change)
                before = found
                with trio.move_on_after(AGAIN_S):
                    await rings.receive()
                    await trio.sleep(GATHER_S)

    async def _ask(self, key: bytes, cover: Cover, answers: list[_Answer], failures: list[UnreachableError]) -> None:
        try:
            answers.append((cover, await self._dht.get(key)))
        except UnreachableError as error:
            failures.append(error)


def _items(values: Sequence[StoredValue], cover: Cover, counters: Counter[str]) -> list[ServiceItem]:
    """Nodes among what is under a key; other services are no fault."""
    found = []
    for stored in values[:ITEMS_MAX]:
        try:
            item = site_item(stored.value, stored.writer, cover)
        except RemoteProtocolError as error:
            counters[error.code] += 1
            log.info("left out: %s", error)
            continue
        if item is not None:
            found.append(item)
    if len(values) > ITEMS_MAX:
        counters["too_many"] += 1
    return found
