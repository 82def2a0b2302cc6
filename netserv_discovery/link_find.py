"""Finding nodes on the link: what announces itself there, verified, asked by PING and ranked as anywhere else."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from netserv_discovery.find import Change, changes_between
from netserv_discovery.finder import Done
from netserv_discovery.following import following
from netserv_discovery.items_find import AGAIN_S, GATHER_S, ITEMS_MAX, ItemsWanted, best_of
from netserv_discovery.link_io import LinkChange, Links, open_links, usable_interfaces
from netserv_discovery.ranking import Found
from netserv_discovery.want import LIMIT_MAX
from z2z.service_item import ServiceItem

LOOK_S: Final = 1.3
"A look: two rounds of questions (RFC 6762 section 5.2) and the delays of their answers (section 6)."


class LinkFinder:
    """Looks at links; made by `open_link_finder`."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def find(self, wanted: ItemsWanted) -> Done:
        """Return the best nodes of the link, best first."""
        seen = _Link()
        async with self._links.browse() as changes:
            with trio.move_on_after(LOOK_S):
                await seen.gather(changes, LOOK_S, LOOK_S)
        return await seen.answer(wanted)

    @asynccontextmanager
    async def watch(self, wanted: ItemsWanted) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Yield a channel of changes: first what is there, as `found`, then what comes, changes and goes."""
        async with following(LIMIT_MAX, partial(self._watch, wanted)) as changes:
            yield changes

    async def _watch(self, wanted: ItemsWanted, send: trio.MemorySendChannel[Change]) -> None:
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
        elif key in self._items or len(self._items) < ITEMS_MAX:
            self._items[key] = change.item
        else:
            self._counters["too_many"] += 1

    async def answer(self, wanted: ItemsWanted) -> Done:
        """The best of them, best first."""
        return await best_of(self._items.values(), wanted, self._counters)


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
