"""Starts and stops a host: sockets, state directory, entry points, presence on the link.

async with open_mdht(MdhtConfig(), writer) as node:
    await node.put(key, b"value", ttl_s=300)
    found = await node.get(key)
"""

import hashlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Final, TypeAlias

import msgspec
import trio

from dhtboot.ids import Address, format_address, hash_id, id_bytes
from mdht import netifaces_io, rendezvous
from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.entry_points import EntryPoints
from mdht.errors import LocalProtocolError, UnreachableError
from mdht.link_bulk import BulkChannel
from mdht.link_config import GROUP_PORT, LinkConfig
from mdht.link_driver import Faults, LinkDriver
from mdht.link_host import AwayCodec, HostSettings, make_host
from mdht.link_io import UdpLink, open_link
from mdht.link_parts import Away
from mdht.link_running import RunningHost
from mdht.signing import SigningKey
from mdht.state import Saved, StateDirectory
from mdht.state_keeping import StateKeeping
from mdht.subnet.effects import Event, LinkMode, LinkModeChanged, MemberChanged, Merged, Settled
from mdht.subnet.identity import Identity, Interface, Subnet, derive, named
from mdht.subnet.kept import recalled
from mdht.subnet.messages import COPIES_MAX, HID_BYTES, State
from mdht.subnet.query import FetchBulk
from mdht.subnet.store_effects import BulkTo
from mdht.subnet.wire import LinkCodec
from mdht.zeroconf_io import open_presence

__all__ = ["Mdht", "MdhtConfig", "open_mdht"]

log = logging.getLogger(__name__)

OnEvent: TypeAlias = Callable[[Event], None]

LEAVE_S: Final = 3.0
"For handing records over; a user who pressed Ctrl-C waits no longer."
GOODBYE_S: Final = 0.5
"For saying goodbye twice, when that was not enough."
GLANCE_S: Final = 0.02
RESOLVE_RETRY_S: Final = 30.0
"Pause before an entry point's name is looked up again."
OVERLAY_LOOK_S: Final = 0.2
"Between two looks at how it stands with the overlay."


@asynccontextmanager
async def open_mdht(
    config: MdhtConfig, writer: SigningKey, *, on_event: OnEvent | None = None, faults: Faults | None = None
) -> AsyncIterator[Mdht]:
    """Be a host of the link's subnet while the context lasts; at its end it hands its records over and says goodbye.

    A lone host works; its subnet joins others as soon as an entry point answers. Records can be put and got at once:
    that waits until the host has come to its subnet.

    Args:
        config: settings.
        writer: signs what is put through this host.
        on_event: is told of members that come and go, of subnets that this host comes to, of those that become one, and
            of multicast that does not pass.
        faults: what goes wrong on purpose, for tests.

    Raises:
        LocalProtocolError: a port, directory, interface or entry point cannot be used; the text says what to change.
        UnreachableError: the bootstrap server's name has no address.
    """
    for text in config.bootstrap:
        rendezvous.parse(text)
    if config.subnet is not None:
        named(config.subnet)  # refuses one that is too long
    interfaces = _interfaces(config)
    server = None if config.server is None else (await rendezvous.resolve(config.server, random.SystemRandom()))[0]
    with ExitStack() as stack:
        state = None
        if config.state_dir is not None:
            state = stack.enter_context(StateDirectory.open(config.state_dir, time.time()))
        saved = None if state is None else state.load(time.time())
        link_config = LinkConfig(
            overlay=config.network,
            interfaces=interfaces,
            alone=not interfaces,
            host=config.host,
            port=config.port,
            fall_back=not config.port_required,
        )
        async with open_link(link_config) as link:
            running = _Running(config, server, writer, link, interfaces, state, saved, on_event, faults)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.drive, link_config.look_s)
                running.start()
                for text in config.bootstrap:
                    nursery.start_soon(running.follow_entry_point, text)
                nursery.start_soon(running.tell_of_overlay)
                for interface in interfaces:
                    nursery.start_soon(running.be_present, interface)
                if running.keeping is not None:
                    nursery.start_soon(running.keeping.run)
                try:
                    yield Mdht(running.host, writer)
                finally:
                    with trio.CancelScope(shield=True):
                        await running.leave()
                    running.carrier.cancel()
                    nursery.cancel_scope.cancel()


def _interfaces(config: MdhtConfig) -> tuple[str, ...]:
    """The interfaces whose link's subnet to be in."""
    if not config.presence:
        return ()
    for name in config.interfaces:
        netifaces_io.interface_addresses(name)  # refuses an unknown one
    if config.interfaces:
        return config.interfaces
    try:
        return (netifaces_io.default_interface(),)
    except LocalProtocolError as error:
        log.warning("no peers are sought on the link: %s", error)
        return ()


class _Running:
    """One host and the tasks beside its driver."""

    def __init__(
        self,
        config: MdhtConfig,
        server: Address | None,
        writer: SigningKey,
        link: UdpLink,
        interfaces: tuple[str, ...],
        state: StateDirectory | None,
        saved: Saved | None,
        on_event: OnEvent | None,
        faults: Faults | None,
    ) -> None:
        self._config = config
        self._told_of = on_event
        self._state = state
        self._rng = random.SystemRandom()
        self.carrier = trio.CancelScope(shield=True)
        "Ends the driver; shielded, because records are still handed over when all else is cancelled."
        self._entry_points = EntryPoints(() if saved is None else saved.contacts)
        fingerprint = link_fingerprint(interfaces)
        # What this process itself puts never makes room for others.
        table = msgspec.structs.replace(config.keeping.table, pinned=frozenset((writer.public_key,)))
        settings = HostSettings(
            network=config.network,
            protocol=config.overlay,
            server=server,
            allow_private=config.allow_private,
            public=config.public,
            alone=not interfaces,
            keeping=msgspec.structs.replace(config.keeping, table=table),
            merge=config.merge,
        )
        self._kept = None if saved is None else recalled(saved.kept, fingerprint)
        core = make_host(
            settings,
            _name(saved),
            1 if saved is None else saved.incarnation,
            lambda: link.addresses,
            lambda: self._derive(interfaces),
            self._rng,
            entry_points=lambda: self._entry_points.others([*link.addresses, *self._siblings()]),
            kept=self._kept,
            former=() if saved is None else saved.copies,
            now=trio.current_time(),
        )
        self._driver = LinkDriver(
            core,
            LinkCodec(config.network, config.keys),
            link,
            keyed=bool(config.keys),
            keep=self._keep_incarnation,
            on_event=self._on_event,
            away=Away(core, AwayCodec(settings, config.keys)),
            on_transfer=self._on_transfer,
            faults=faults,
        )
        self._bulk = BulkChannel(
            core, link, config.network, config.keys, draw=self._rng.randbytes, perform=self._driver.perform
        )
        self._link = link
        self._transfers: trio.Nursery | None = None
        self.host = RunningHost(core, self._driver, link, config.network, self._bulk.counters)
        self._core = core
        self.keeping = None
        if state is not None and saved is not None:
            self.keeping = StateKeeping(state, saved.kept, fingerprint, self.host)

    async def drive(self, look_s: float) -> None:
        """Carry packets until the very end, and look at the interfaces that often."""
        with self.carrier:
            async with trio.open_nursery() as nursery:
                self._transfers = nursery
                nursery.start_soon(trio.serve_listeners, self._bulk.serve, self._link.listeners)
                await self._driver.run(look_s)

    def _derive(self, interfaces: tuple[str, ...]) -> Identity:
        """The identity of the link's subnet, if this host founds it."""
        try:
            addresses = _on_link(interfaces)
        except LocalProtocolError:  # the interface has vanished for a while
            addresses = []
        return derive(addresses, self._rng, name=self._config.subnet)

    def _on_transfer(self, wanted: FetchBulk | BulkTo) -> None:
        if self._transfers is not None:
            self._transfers.start_soon(self._bulk.transfer, wanted)

    def start(self) -> None:
        """Say hello; entry points and peers that are given as numbers are known at once."""
        for text in self._config.bootstrap:
            entry = rendezvous.parse(text)
            if entry.numeric:
                address = entry.host, entry.port or rendezvous.DEFAULT_PORT
                self._entry_points.add(address)
                self._greet(address, lasting=True)
        for address in self._config.peers:
            if not self._link.reaches(address):
                where = format_address(address)
                log.warning("peer %s is no address of the link; hosts elsewhere are named with --bootstrap", where)
            self._greet(address, lasting=True)
        for address in () if self._kept is None else self._kept.hosts:
            self._greet(address)
        self._driver.perform(self._core.start(trio.current_time()))

    async def follow_entry_point(self, text: str) -> None:
        """Resolve a name, again while this node is alone."""
        if rendezvous.parse(text).numeric:
            return
        complaint = ""
        while True:
            try:
                if not self.host.contacts:
                    for address in await rendezvous.resolve(text, self._rng):
                        self._learn(address)
                complaint = ""
            except UnreachableError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("%s; trying again every %.0f s", error, RESOLVE_RETRY_S)
            await trio.sleep(RESOLVE_RETRY_S)

    async def be_present(self, interface: str) -> None:
        """Announce this host on the link by DNS-SD, and take whoever is announced there for an entry point.

        Hosts of the same subnet have found each other by then, where their group's datagrams pass; where only those of
        DNS-SD do they are at least of one overlay.
        """
        name = id_bytes(hash_id(self._core.hid))
        port = self.host.addresses[0][1] if self.host.addresses else self._config.port
        async with open_presence(interface=interface, node=name, port=port, network=self._config.network) as peers:
            async for peer in peers:
                if peer.kind == "found":
                    log.debug("DNS-SD on %s names %s", interface, peer.addresses)
                    for address in peer.addresses[:1]:
                        self._learn(address)

    def _greet(self, address: Address, *, lasting: bool = False) -> None:
        """A host of the link may be there: it gets a hello that needs no multicast."""
        if self._link.reaches(address) and address not in self._link.addresses:
            self._core.membership.peers.add(address, trio.current_time(), lasting=lasting)

    def _learn(self, address: Address) -> None:
        self._greet(address)
        if self._entry_points.add(address) and address not in self.host.members:
            log.debug("entry point %s", format_address(address))
            self._core.look_soon(trio.current_time())
            self._driver.perform(())

    async def tell_of_overlay(self) -> None:
        """One line in the log for each change, not one for each attempt."""
        told: bool | None = None
        unreached = ""
        while True:
            await trio.sleep(OVERLAY_LOOK_S)
            if self._core.membership.state is not State.READY:
                continue
            joined = self.host.contacts > 0
            if joined != told:
                told = joined
                self._tell(joined=joined)
            if self.host.why != unreached:
                unreached = self.host.why
                self._tell_role(unreached)

    def _tell_role(self, why: str) -> None:
        level = logging.INFO if self._state is None else logging.WARNING
        if self.host.role == "client":
            log.log(level, "this subnet is a client of the overlay, not a node of it: %s", why)
        elif why:
            log.log(level, "this host is not named to other subnets: %s", why)
        else:
            log.info("hosts of other subnets reach this subnet: it is a node of the overlay")

    def _tell(self, *, joined: bool) -> None:
        if joined:
            log.info("joined the overlay: %d other nodes are known", self.host.contacts)
        elif self._config.bootstrap or self._config.server:
            where = ", ".join([*self._config.bootstrap, self._config.server or ""]).strip(", ")
            log.warning("no other node answers (entry points: %s); going on alone, trying again", where)

    def _siblings(self) -> list[Address]:
        return [address for member in self._core.membership.view.live for address in member.addresses]

    def _keep_incarnation(self, incarnation: int) -> None:
        if self._state is not None:
            self._state.keep_incarnation(incarnation)

    def _on_event(self, event: Event) -> None:
        if self._told_of is not None:
            self._told_of(event)
        match event:
            case MemberChanged(hid=hid, state=State.READY | State.LEFT | State.DEAD as state):
                log.info("host %s is %s", hid.hex(), state.name.lower())
            case Settled(subnet=subnet) if subnet is not None and subnet.identity.salt and self._told_of is None:
                log.warning("another subnet has this one's identifier; it goes on as %s", subnet.tag.hex())
            case Merged(gone=gone, into=into) if self._told_of is None:
                log.warning("two subnets of this link are one: %s has given way to %s", gone.hex(), into.tag.hex())
            case Settled(subnet=subnet) if subnet is not None:
                log.info("in subnet %s", subnet.tag.hex())
                self._tell_policy(subnet)
            case LinkModeChanged():
                _tell_of_link(event)
            case _:
                pass

    def _tell_policy(self, subnet: Subnet) -> None:
        """The founder's choice is not always this host's."""
        if self.host.policy_adopted:
            own = self._config.keeping.policy
            log.warning("the subnet was founded with policy %s, which holds instead of %s", self.host.policy, own)
        elif subnet.policy not in {"", self.host.policy}:
            log.warning("the subnet's policy %r is not known here; going by %s", subnet.policy, self.host.policy)

    async def leave(self) -> None:
        """Write what is held, hand records over, say goodbye."""
        if self.keeping is not None:
            await self.keeping.save()
        self._driver.perform(self._core.leave(trio.current_time()))
        with trio.move_on_after(LEAVE_S):
            await self._gone()
            return
        self._driver.perform(self._core.leave_now(trio.current_time()))
        with trio.move_on_after(GOODBYE_S):
            await self._gone()

    async def _gone(self) -> None:
        while True:
            if math.isinf(self._core.next_deadline()):
                return
            await trio.sleep(GLANCE_S)


def _tell_of_link(now: LinkModeChanged) -> None:
    """What is in use from now on, why, and what to do about it."""
    if now.mode is LinkMode.MULTICAST:
        log.info("multicast passes between this host and all %d others of the subnet", now.members)
        return
    log.warning(
        "multicast does not pass with %d of %d other hosts (%d are not heard, %d do not hear this one): unicast copies "
        "take its place; look for switch ports or a firewall that filter it (UDP port %d), client isolation of a "
        "wireless network, and IGMP or MLD snooping without a querier",
        *(now.emulated, now.members, now.unheard, now.deaf, GROUP_PORT),
    )
    if now.left_out:
        log.warning("%d of them get no copies, as there are more than %d; repair multicast", now.left_out, COPIES_MAX)


def _on_link(interfaces: tuple[str, ...]) -> list[Interface]:
    """Addresses by whose prefix a subnet may be known; none for a host that is a subnet of its own."""
    return [address for name in interfaces for address in netifaces_io.interface_addresses(name)]


def _name(saved: Saved | None) -> bytes:
    """The name of this host: as long as it has a state directory, always the same."""
    seed = SigningKey.generate().seed if saved is None else saved.node_seed
    return hashlib.sha256(b"mdht host" + seed).digest()[:HID_BYTES]


def link_fingerprint(interfaces: tuple[str, ...]) -> bytes:
    """By what this host knows its link again; 8 bytes."""
    networks = sorted({str(address.network) for address in _on_link(interfaces) if not address.ip.is_link_local})
    return hashlib.sha256(" ".join([*interfaces, *networks]).encode()).digest()[:8]
