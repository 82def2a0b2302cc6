"""A node on its links: announced and found by DNS-SD as `_netserv._udp`, beside Avahi (RFC 6762, RFC 6763).

async with open_links(("eth0",)) as links:
    async with links.announcing(announcement):
        ...
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

import msgspec
import trio

from mdht import netifaces_io
from mdht.errors import LocalProtocolError as GoneError
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.following import following
from netserv_discovery.link_text import SERVICE_TYPE, pack_txt
from z2z.errors import LinkError, Z2zError
from z2z.mdns.link_io import MdnsLink, open_link
from z2z.mdns.messages import (
    Conflict,
    Lost,
    Registered,
    Registration,
    ServiceChanged,
    ServiceFound,
    ServiceLost,
    ServiceRefused,
    StandingBy,
)
from z2z.service_item import ADDRESSES_MAX, LABEL_MAX, ServiceItem

log = logging.getLogger(__name__)

LINKS_MAX: Final = 16
"A router with more interfaces names those that matter with --interface: each costs sockets and a task."
NAMES_MAX: Final = 10
"Tried on a link, as `node (2)`; a link with more nodes of one name has a mistake in its set-up."
ADDRESSES_LOOK_S: Final = 5.0
"Between two looks at a link's addresses, which may change while the node runs."
CHANGES_MAX: Final = 256
"Changes on their way to a reader; behind them each link merges those of one instance."


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself on its links."""

    instance: str
    "Name that people see; another one is taken where it is used already."
    host_label: bytes
    "First label of its host name on the link."
    port: int
    txt: tuple[bytes, ...] = ()
    "Strings of the TXT record, `name=value`."
    subtypes: tuple[str, ...] = ()
    "Labels, `_ffmpeg` of `_ffmpeg._sub._netserv._udp`."
    ttl_s: int
    "Of all records: a node that is killed is gone after that."


class LinkChange(msgspec.Struct, frozen=True, kw_only=True):
    """Something has happened to a node on a link."""

    kind: Literal["found", "changed", "lost"]
    interface: str
    instance: str
    item: ServiceItem | None = None
    "None where it is lost."


def usable_interfaces(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the interfaces of the links to be on.

    Args:
        wanted: as named by the user; none: all that are up and have an address, but for loopback.

    Raises:
        LocalProtocolError: there are none, or more than `LINKS_MAX`.
    """
    found = tuple(dict.fromkeys(wanted)) or tuple(
        name for name in netifaces_io.interfaces() if netifaces_io.is_up(name) and link_addresses(name)
    )
    if not found:
        raise LocalProtocolError(
            "no interface but loopback is up and has an address; connect one, name it with --interface, or do without "
            "the link: --no-link"
        )
    if len(found) > LINKS_MAX:
        raise LocalProtocolError(
            f"{len(found)} interfaces, at most {LINKS_MAX} can be used: name them with --interface"
        )
    return found


def link_addresses(interface: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Addresses at which hosts of a link reach this one: link-local ones only where there is no other."""
    try:
        every = [each.ip for each in netifaces_io.interface_addresses(interface)]
    except GoneError:  # it went while we looked
        return ()
    every = [each for each in every if not each.is_loopback and not each.is_multicast]
    wide = [each for each in every if not each.is_link_local]
    chosen = sorted(set(wide or every), key=lambda each: (each.version, int(each)))
    return tuple(chosen[:ADDRESSES_MAX])


def service_item(
    announcement: Announcement, addresses: tuple[IPv4Address | IPv6Address, ...], *, number: int = 1
) -> ServiceItem:
    """Return the announcement as a service instance at these addresses.

    Args:
        announcement: what to say.
        addresses: of this host, as others reach it.
        number: of the name, where lower ones are taken: `node (2)`.
    """
    tail = "" if number == 1 else f" ({number})"
    stem = announcement.instance.encode()[: LABEL_MAX - len(tail)].decode(errors="ignore")
    return ServiceItem(
        instance=(stem + tail).encode(),
        service_type=SERVICE_TYPE,
        subtypes=announcement.subtypes,
        host=announcement.host_label,
        port=announcement.port,
        txt=pack_txt(announcement.txt),
        addresses=addresses,
    )


class _OnLink:
    """The announcement on one link."""

    def __init__(self, link: MdnsLink, counters: Counter[str]) -> None:
        self._link, self._counters = link, counters
        self._said: Announcement | None = None
        self._number = 1
        self._shown: ServiceItem | None = None
        self._registered = False
        self._generation = 0

    def say(self, announcement: Announcement | None) -> None:
        """Announce it in the place of what was said before; None: say goodbye."""
        before, self._said = self._said, announcement
        if announcement is None:
            self._link.withdraw(self._generation)
            self._shown, self._registered, self._number = None, False, 1
        elif before is None or self._fixed(before) != self._fixed(announcement):
            self._register()
        else:
            self.look()

    def look(self) -> None:
        """Announce what has changed: data, or the link's addresses."""
        if self._said is None:
            return
        item = self._item(self._said)
        if item == self._shown or not item.addresses:  # without any the interface is down
            return
        if not self._registered:
            self._register()
            return
        try:
            self._link.update(self._generation, item)
        except Z2zError as error:
            log.warning("on %s: %s", self._link.interface, error)
            return
        self._shown = item

    async def follow(self) -> None:
        """Take another name where the wanted one is taken, until cancelled."""
        async for event in self._link.events:
            if event.id != self._generation or self._said is None:
                continue
            match event:
                case Registered(instance=instance):
                    self._registered = True
                    log.info("announced on %s as %s", self._link.interface, instance.decode(errors="replace"))
                case StandingBy(source=source):
                    log.info("on %s the same is announced by %s", self._link.interface, source)
                case Conflict(reason=reason, source=source) | Lost(reason=reason, source=source):
                    self._yield(f"{reason.value} ({source})")

    def _yield(self, reason: str) -> None:
        self._counters["name_conflicts"] += 1
        self._registered, self._shown = False, None
        if self._number >= NAMES_MAX:
            log.warning("not announced on %s: %s, and so are %d others", self._link.interface, reason, NAMES_MAX - 1)
            return
        self._number += 1
        log.warning("on %s: %s; trying another name", self._link.interface, reason)
        self._register()

    def _register(self) -> None:
        if self._said is None:
            return
        self._link.withdraw(self._generation)
        self._generation += 1
        item = self._item(self._said)
        self._registered, self._shown = False, item
        if not item.addresses:
            return
        registration = Registration(
            id=self._generation, item=item, host_label=self._said.host_label, ttl_s=self._said.ttl_s
        )
        try:
            self._link.register(registration)
        except Z2zError as error:
            log.warning("on %s: %s", self._link.interface, error)
            return
        self._registered = True

    def _item(self, announcement: Announcement) -> ServiceItem:
        return service_item(announcement, link_addresses(self._link.interface), number=self._number)

    def _fixed(self, announcement: Announcement) -> tuple[str, bytes, int]:
        """What an update cannot change."""
        return announcement.instance, announcement.host_label, announcement.ttl_s


class Links:
    """The links of this host; made by `open_links`."""

    def __init__(self, links: Sequence[MdnsLink]) -> None:
        self._links = tuple(links)
        self.counters: Counter[str] = Counter()
        self._on = [_OnLink(link, self.counters) for link in links]

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Of the links."""
        return tuple(link.interface for link in self._links)

    def say(self, announcement: Announcement | None) -> None:
        """Announce on every link in the place of what was said before; None: take it back with goodbyes."""
        for each in self._on:
            each.say(announcement)

    async def run(self) -> None:
        """Keep the announcement as it should be until cancelled."""
        async with trio.open_nursery() as nursery:
            for each in self._on:
                nursery.start_soon(each.follow)
            while True:
                await trio.sleep(ADDRESSES_LOOK_S)
                for each in self._on:
                    each.look()

    @asynccontextmanager
    async def browse(self) -> AsyncIterator[trio.MemoryReceiveChannel[LinkChange]]:
        """Yield a channel of what happens to nodes on the links; what is known already comes first."""
        async with following(CHANGES_MAX, *(partial(self._browse, link) for link in self._links)) as changes:
            yield changes

    async def _browse(self, link: MdnsLink, send: trio.MemorySendChannel[LinkChange]) -> None:
        async with link.browse(SERVICE_TYPE) as events:
            async for event in events:
                match event:
                    case ServiceFound(item=item):
                        change = _change("found", link, item.instance, item)
                    case ServiceChanged(item=item):
                        change = _change("changed", link, item.instance, item)
                    case ServiceLost(instance=instance):
                        change = _change("lost", link, instance, None)
                    case ServiceRefused(instance=instance, reason=reason):
                        self.counters["refused"] += 1
                        log.info("on %s: %r is left out: %s", link.interface, instance, reason)
                        continue
                await send.send(change)


def _change(
    kind: Literal["found", "changed", "lost"], link: MdnsLink, instance: bytes, item: ServiceItem | None
) -> LinkChange:
    return LinkChange(kind=kind, interface=link.interface, instance=instance.decode(errors="replace"), item=item)


@asynccontextmanager
async def open_links(interfaces: Sequence[str]) -> AsyncIterator[Links]:
    """Be on these links while the context lasts; what is announced is taken back at its end.

    Raises:
        LocalProtocolError: an interface cannot be used.
    """
    async with AsyncExitStack() as stack:
        try:
            links = [await stack.enter_async_context(open_link(name)) for name in interfaces]
        except LinkError as error:
            raise LocalProtocolError(str(error)) from error
        yield Links(links)
