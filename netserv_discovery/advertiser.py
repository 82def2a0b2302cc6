"""Advertises this machine's node: on its links, in the DHT, to sites of z2z, and by answering PINGs.

async with advertising(identity, facts, settings) as running:
    ...                # taken back at the end
"""

import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from random import SystemRandom
from typing import Final

import msgspec
import trio

from mdht import netifaces_io
from mdht.signing import SigningKey
from netserv_discovery.advertising import (
    Advertiser,
    AdvertisingConfig,
    AdvertisingEffect,
    Announce,
    Facts,
    Put,
    Remove,
    Withdraw,
)
from netserv_discovery.dht_io import Dht, Writer, open_dht, remove_all
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.link_io import Announcement, Links, open_links, usable_interfaces
from netserv_discovery.own_key import Identity
from netserv_discovery.ping import Responder
from netserv_discovery.ping_io import PingServer, open_ping_server
from netserv_discovery.policy import Policy, Where
from netserv_discovery.record import ADDRESSES_MAX, LOAD_MAX, NAME_DIGITS
from z2z.cover import PLAIN, Cover

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"Between two looks at the facts: addresses and load."

FactsSource = Callable[[], Facts]
"What is true of the node now; the port that answers PINGs is filled in here."


class AdvertiserSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How this machine's node is advertised."""

    policy: Policy
    "What is shown where; a place where nothing is shown is not even opened."
    cover: Cover = PLAIN
    "What hides the node from the DHT as it is shown to sites: a secret that they share."
    lease_s: int = 60
    "Gone after that if this machine crashes."
    interfaces: tuple[str, ...] = ()
    "Of links; none: all that are up."
    dht: DhtSettings = DhtSettings()
    joins: bool = False
    "Be in the DHT also where nothing is put there: something is looked for in it."
    ping: bool = True
    ping_port: int = 0
    "0: any."


class Running:
    """An advertiser at work; made by `advertising`."""

    def __init__(
        self,
        identity: Identity,
        source: FactsSource,
        settings: AdvertiserSettings,
        links: Links | None,
        pings: PingServer | None,
    ) -> None:
        config = AdvertisingConfig(lease_s=settings.lease_s)
        self._core = Advertiser(identity.key, SystemRandom(), config, settings.policy, settings.cover)
        self._identity, self._source, self._settings = identity, source, settings
        self._links, self._pings = links, pings
        self._writer = self._site_writer = Writer(self._put_done)
        if settings.cover.fingerprint:  # by a key of its own, which nobody may connect with the other
            self._site_writer = Writer(self._put_done)
        self._removes: list[Remove] = []
        self._rung = trio.Event()
        self._through: list[str] = []
        self.dht: Dht | None = None
        "What is put there in the node's name is read there, once it is joined."
        self.joined = trio.Event()
        shown_there = settings.policy.view(Where.DHT).show is not None
        self.in_dht = settings.joins or shown_there or (bool(site_keys(settings.policy)) and not self._hides)
        "In the node's name."

    @property
    def _hides(self) -> bool:
        """Whether sites are shown it by another writer than everybody."""
        return self._site_writer is not self._writer

    @property
    def hidden(self) -> dict[Where, str]:
        """Where the node is not shown, and why."""
        return self._core.hidden()

    @property
    def through(self) -> str:
        """By what the DHT is used, in words; empty while it is not."""
        return " and ".join(dict.fromkeys(self._through))

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Of the links it is announced on."""
        return () if self._links is None else self._links.interfaces

    @property
    def ping_port(self) -> int:
        """That answers; 0: none."""
        return 0 if self._pings is None else self._pings.port

    @property
    def settled(self) -> bool:
        """Whether the DHT has all that it should have."""
        return bool(self.through) and self._core.stored == self._core.wanted

    @property
    def stored(self) -> int:
        """Records that the DHT has of the node."""
        return self._core.stored

    def counters(self) -> Counter[str]:
        """What happened so far."""
        found = Counter(self._core.counters) + self._writer.counters
        if self._hides:
            found.update(self._site_writer.counters)
        for other in (self._links and self._links.counters, self._pings and self._pings.responder.counters):
            found.update(other or {})
        return found

    def look(self) -> None:
        """Take in what is true of the node now.

        Raises:
            LocalProtocolError: no record can say that; what was shown before stays.
        """
        facts = msgspec.structs.replace(self._source(), ping_port=self.ping_port)
        if self._pings is not None:
            self._pings.responder.load = facts.load
        self._perform(self._core.set_facts(facts, trio.current_time(), time.time()))

    def set_policy(self, policy: Policy) -> None:
        """Show what another policy says from now on; places that were not opened at the start stay closed."""
        self._perform(self._core.set_policy(policy, trio.current_time(), time.time()))

    async def run(self) -> None:
        """Keep it advertised until cancelled, then take it back."""
        try:
            async with trio.open_nursery() as nursery:
                if self._links is not None:
                    nursery.start_soon(self._links.run)
                nursery.start_soon(self._look_again)
                for keep in self._places_in_dht():
                    nursery.start_soon(keep)
                while True:
                    self._rung = trio.Event()
                    with trio.move_on_at(self._core.next_deadline()):
                        await self._rung.wait()
                    self._perform(self._core.tick(trio.current_time(), time.time()))
        finally:
            self._stop()

    async def _look_again(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            try:
                self.look()
            except LocalProtocolError as error:
                log.warning("%s; what was advertised before stays", error)

    def _places_in_dht(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """What has to run for the DHT to have all that the policy shows there."""
        policy, settings, key = self._settings.policy, self._settings.dht, self._identity.key
        # Importers of z2z believe only what the site itself has written: so a node of our own, with our key, writes.
        own = msgspec.structs.replace(settings, own_node=True)
        for_sites = bool(site_keys(policy))
        if for_sites and self._hides:
            apart = msgspec.structs.replace(own, port=None)
            yield partial(self._keep_in_dht, apart, self._settings.cover.writer(key), self._site_writer)
        if self.in_dht:
            yield partial(self._keep_in_dht, own if for_sites and not self._hides else settings, key, self._writer)

    async def _keep_in_dht(self, settings: DhtSettings, signer: SigningKey, writer: Writer) -> None:
        async with open_dht(settings, signer, wait=True) as dht:
            self._through.append(dht.through)
            if writer is self._writer:
                self.dht = dht
                self.joined.set()
            try:
                await writer.run(dht)
            finally:
                self._stop()
                await remove_all(dht, (each for each in self._removes if self._writer_of(each) is writer))

    def _writer_of(self, effect: Put | Remove) -> Writer:
        return self._site_writer if effect.for_sites else self._writer

    def _stop(self) -> None:
        """Say goodbye on the links at once, and remember what is to be removed; once."""
        self._perform(self._core.stop())

    def _put_done(self, put: Put, error: str | None) -> None:
        self._core.put_done(put, error, trio.current_time())
        self._rung.set()

    def _perform(self, effects: Iterable[AdvertisingEffect]) -> None:
        for effect in effects:
            match effect:
                case Put() | Remove():
                    self._writer_of(effect).take(effect)
                    if isinstance(effect, Remove):
                        self._removes.append(effect)
                case Announce():
                    self._say(self._announcement(effect))
                case Withdraw():
                    self._say(None)
        self._rung.set()

    def _say(self, announcement: Announcement | None) -> None:
        if self._links is not None:
            self._links.say(announcement)

    def _announcement(self, effect: Announce) -> Announcement:
        return Announcement(
            instance=effect.instance,
            # Of the key: nobody else's host is called so, while Avahi has the machine's own name.
            host_label=f"netserv-{self._identity.key.public_key.hex()[:NAME_DIGITS]}".encode(),
            port=effect.port,
            txt=effect.txt,
            subtypes=effect.subtypes,
            ttl_s=self._settings.lease_s,
        )


@asynccontextmanager
async def advertising(identity: Identity, source: FactsSource, settings: AdvertiserSettings) -> AsyncIterator[Running]:
    """Advertise a node while the context lasts; at its end all is taken back.

    Args:
        identity: the node's key.
        source: what is true of it.
        settings: how.

    Raises:
        DiscoveryError: a port, link or entry point cannot be used, or no record can say what is true.
    """
    _check_secret(settings)
    async with AsyncExitStack() as stack:
        pings = None
        if settings.ping:
            responder = Responder(identity.key, SystemRandom(), trio.current_time())
            pings = await stack.enter_async_context(open_ping_server(responder, settings.ping_port))
        links = None
        if settings.policy.view(Where.LINK).show is not None:
            links = await stack.enter_async_context(open_links(usable_interfaces(settings.interfaces)))
        running = Running(identity, source, settings, links, pings)
        running.look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.run)
            try:
                yield running
            finally:
                nursery.cancel_scope.cancel()


def _check_secret(settings: AdvertiserSettings) -> None:
    if not settings.cover.fingerprint:
        return
    if not site_keys(settings.policy):
        raise LocalProtocolError("a secret hides the node where sites are shown it, and none is named: say --sites KEY")
    if settings.policy.view(Where.DHT).show is not None:
        log.warning("beside that the node is in the DHT for everybody: --no-dht, or [dht] show = false in the policy")


def site_keys(policy: Policy) -> tuple[str, ...]:
    """Words under which sites of z2z are to find the node."""
    view = policy.view(Where.SITES)
    return () if view.show is None else view.keys


def own_addresses() -> tuple[bytes, ...]:
    """Addresses of this machine that a record has room for: IPv4 first, no link-local ones where there are others."""
    found: list[IPv4Address | IPv6Address] = [each for each in netifaces_io.host_addresses() if not each.is_loopback]
    ordered = sorted(dict.fromkeys(found), key=lambda each: each.version)  # stable: as the interfaces come
    return tuple(each.packed for each in ordered[:ADDRESSES_MAX])


def load_now() -> int:
    """Tenths of this machine's processors that are in use, on average over a minute."""
    return max(0, min(LOAD_MAX, round(LOAD_MAX * os.getloadavg()[0] / (os.cpu_count() or 1))))
