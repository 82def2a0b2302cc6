"""Runs an importer between stores and a link."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from z2z.addresses import Interface
from z2z.cover import PLAIN, Cover
from z2z.errors import LocalProtocolError, StoreError
from z2z.importer import Importer
from z2z.policy_rules import Rules
from z2z.presence import ImportEffect, Register, Remember, Update, Withdraw
from z2z.reports import Report
from z2z.sides import PATIENCE_S, TICK_MIN_S, Alarm, Link, Say
from z2z.stores.base import Store
from z2z.trust import Known

log = logging.getLogger(__name__)

SAFETY_POLLS: Final = 3
"A store that pushes is asked once in so many poll intervals, in case a push was lost."
LISTEN_AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One key of one store."""

    label: str
    "What the user calls it: `office`; no two sources of a program have the same."
    store: Store
    key: bytes
    cover: Cover = PLAIN


class Sites(Protocol):
    """What keeps the sites that are known; `known_sites.KnownSites` does."""

    def changed(self) -> Iterable[Known] | None:
        """All of them, if they are others than when last asked."""
        ...

    def add(self, known: Known) -> None:
        """Keep one more."""
        ...


class ImportSide:
    """One importer at work."""

    def __init__(
        self,
        importer: Importer,
        link: Link,
        say: Say,
        own_prefixes: Callable[[], Iterable[Interface]],
        sites: Sites | None = None,
    ) -> None:
        """Make it.

        Args:
            importer: the core.
            link: where imports appear.
            say: tells the user.
            own_prefixes: reads the addresses of this host; they change while the program runs.
            sites: keeps those that are known; other programs change them too.
        """
        self.importer = importer
        self._link, self._say, self._own_prefixes, self._sites = link, say, own_prefixes, sites
        self._alarm = Alarm()
        self._nursery: trio.Nursery | None = None
        self._sources: tuple[Source, ...] = ()

    async def run(self, sources: Iterable[Source], poll_s: float) -> None:
        """Import from these sources until cancelled."""
        self._sources = tuple(sources)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.importer.set_own_prefixes(self._own_prefixes())
            nursery.start_soon(self._follow_link)
            nursery.start_soon(self._follow_prefixes, poll_s)
            for source in self._sources:
                if source.store.pushes:
                    nursery.start_soon(self._listen, source)
                nursery.start_soon(self._poll, source, poll_s)
            while True:
                self._perform(self.importer.tick(trio.current_time()))
                await trio.sleep(TICK_MIN_S)
                await self._alarm.sleep_until(self.importer.next_deadline())

    async def look(self, source: Source) -> None:
        """Ask a source once.

        Raises:
            StoreError: it did not answer.
        """
        try:
            with trio.fail_after(PATIENCE_S):
                values = await source.store.get(source.key)
        except trio.TooSlowError as error:
            raise StoreError(f"the store did not answer within {PATIENCE_S:.0f} s") from error
        self._perform(self.importer.snapshot(source.label, values, trio.current_time(), source.cover))

    def set_rules(self, rules: Rules) -> None:
        """Obey other rules from now on, and look at once for what they allow."""
        self._perform(self.importer.set_rules(rules))
        if self._nursery is not None:
            for source in self._sources:
                self._nursery.start_soon(self._look_again, source)

    async def close(self, reason: str) -> None:
        """Leave the link, to other importers if there are any; to be called after `run` was cancelled."""
        self._nursery = None
        await self._link.say_goodbye()
        self._perform(self.importer.shutdown(reason))

    async def _poll(self, source: Source, poll_s: float) -> None:
        interval_s = poll_s * SAFETY_POLLS if source.store.pushes else poll_s
        failing = False
        while True:
            if source.store.pushes:  # what is there already comes by the subscription
                await trio.sleep(interval_s)
            try:
                await self.look(source)
                failing = False
            except StoreError as error:
                if not failing:
                    log.warning("looking for %s: %s; trying again every %.0f s", source.label, error, interval_s)
                failing = True
            if not source.store.pushes:
                await trio.sleep(interval_s)

    async def _look_again(self, source: Source) -> None:
        try:
            await self.look(source)
        except StoreError as error:
            log.warning("looking for %s: %s; what is newly allowed comes later", source.label, error)

    async def _listen(self, source: Source) -> None:
        while True:
            try:
                async with source.store.listen(source.key) as changes:
                    async for change in changes:
                        now = trio.current_time()
                        if change.kind == "removed":
                            self._perform(self.importer.removed(source.label, change.stored))
                        else:
                            self._perform(self.importer.seen(source.label, change.stored, now, source.cover))
            except StoreError as error:
                log.warning("listening for %s: %s; trying again in %.0f s", source.label, error, LISTEN_AGAIN_S)
            await trio.sleep(LISTEN_AGAIN_S)

    async def _follow_link(self) -> None:
        async for event in self._link.events:
            self._perform(self.importer.link_event(event, trio.current_time()))

    async def _follow_prefixes(self, poll_s: float) -> None:
        while True:
            await trio.sleep(poll_s)
            self.importer.set_own_prefixes(self._own_prefixes())
            self._follow_sites()

    def _follow_sites(self) -> None:
        known = None if self._sites is None else self._sites.changed()
        if known is not None:
            self._perform(self.importer.known(known))

    def _perform(self, effects: Iterable[ImportEffect]) -> None:
        for effect in effects:
            match effect:
                case Register() | Update():
                    self._publish(effect)
                case Withdraw(id=registration_id):
                    self._link.withdraw(registration_id)
                case Remember(site=site) if self._sites is not None:
                    self._sites.add(site)
                case Report():
                    self._say(effect)
        self._alarm.ring()

    def _publish(self, effect: Register | Update) -> None:
        try:
            match effect:
                case Register(registration=registration):
                    self._link.register(registration)
                case Update(id=registration_id, item=item):
                    self._link.update(registration_id, item)
        except LocalProtocolError as error:
            number = effect.registration.id if isinstance(effect, Register) else effect.id
            self._perform(self.importer.unfit(number, str(error), trio.current_time()))
