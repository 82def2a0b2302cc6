"""A host on one of its links: its core, what drives it, and the tasks beside that."""

import hashlib
import logging
import math
import random
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import trio

from dhtboot.ids import Address, format_address, hash_id, id_bytes
from mdht import netifaces_io, rendezvous
from mdht.config import MdhtConfig
from mdht.entry_points import EntryPoints
from mdht.errors import LocalProtocolError, UnreachableError
from mdht.link_bulk import BulkChannel
from mdht.link_config import GROUP_PORT
from mdht.link_driver import Faults, LinkDriver
from mdht.link_host import AwayCodec, HostSettings, make_host
from mdht.link_io import UdpLink
from mdht.link_parts import Away
from mdht.link_running import RunningHost
from mdht.links import LinkPlan
from mdht.port_mapping import PortMapping
from mdht.ports.pcp import NONCE_BYTES
from mdht.signing import SigningKey
from mdht.state import Saved, StateDirectory
from mdht.state_keeping import StateKeeping
from mdht.subnet.effects import Event, LinkMode, LinkModeChanged, MemberChanged, Merged, Settled
from mdht.subnet.host_keys import host_name
from mdht.subnet.identity import Identity, Interface, Subnet, derive
from mdht.subnet.kept import recalled
from mdht.subnet.messages import COPIES_MAX, State
from mdht.subnet.proofs import Proofs
from mdht.subnet.query import FetchBulk
from mdht.subnet.store_effects import BulkTo
from mdht.subnet.wire import LinkCodec
from mdht.zeroconf_io import open_presence

log = logging.getLogger(__name__)

OnEvent: TypeAlias = Callable[[RunningHost, Event], None]

LEAVE_S: Final = 3.0
"For handing records over; a user who pressed Ctrl-C waits no longer."
GOODBYE_S: Final = 0.5
"For saying goodbye twice, when that was not enough."
GLANCE_S: Final = 0.02
RESOLVE_RETRY_S: Final = 30.0
"Pause before an entry point's name is looked up again."
OVERLAY_LOOK_S: Final = 0.2
"Between two looks at how it stands with the overlay."


class HostTasks:
    """One host on its link, and the tasks beside its driver.

    Args:
        config: settings of the program.
        plan: what of them is this host's own.
        server: address of the bootstrap server.
        writer: signs what is put through the program.
        link: the sockets.
        state: the host's directory; None keeps nothing.
        on_event: is told what happens.
        faults: what goes wrong on purpose, for tests.

    Attributes:
        host: for the Python API.
        entry_points: addresses of hosts that may be in the overlay.
        carrier: ends the driver; shielded, because records are still handed over when all else is cancelled.
    """

    def __init__(
        self,
        config: MdhtConfig,
        plan: LinkPlan,
        server: Address | None,
        writer: SigningKey,
        link: UdpLink,
        state: StateDirectory | None,
        on_event: OnEvent | None,
        faults: Faults | None,
    ) -> None:
        interfaces = plan.interfaces
        saved = None if state is None else state.load(time.time())
        self._config = config
        self._told_of = on_event
        self._state = state
        self._rng = random.SystemRandom()
        self._interfaces = interfaces
        self.carrier = trio.CancelScope(shield=True)
        self.entry_points = EntryPoints(() if saved is None else saved.contacts)
        fingerprint = link_fingerprint(interfaces)
        # What this process itself puts never makes room for others.
        table = msgspec.structs.replace(config.keeping.table, pinned=frozenset((writer.public_key,)))
        settings = HostSettings(
            network=config.network,
            protocol=config.overlay,
            server=server,
            allow_private=config.allow_private,
            public=plan.public,
            alone=not interfaces,
            keeping=msgspec.structs.replace(config.keeping, table=table),
            host_keys=config.host_keys,
            merge=config.merge,
        )
        own = SigningKey.generate() if saved is None else SigningKey.from_seed(saved.node_seed)
        self._kept = None if saved is None else recalled(saved.kept, fingerprint)
        core = make_host(
            settings,
            host_name(own.public_key),
            1 if saved is None else saved.incarnation,
            lambda: link.addresses,
            self._derive,
            self._rng,
            entry_points=lambda: self.entry_points.others([*link.addresses, *self._siblings()]),
            kept=self._kept,
            former=() if saved is None else saved.copies,
            now=trio.current_time(),
        )
        self._driver = LinkDriver(
            core,
            LinkCodec(config.network, config.keys, own if config.host_keys else None),
            link,
            keyed=bool(config.keys),
            keep=self._keep_incarnation,
            on_event=self._on_event,
            away=Away(core, AwayCodec(settings, config.keys)),
            on_transfer=self._on_transfer,
            proofs=Proofs() if config.host_keys else None,
            faults=faults,
        )
        self._ports = self._port_mapping(link, saved) if config.map_port else None
        self._bulk = BulkChannel(
            core, link, config.network, config.keys, draw=self._rng.randbytes, perform=self._driver.perform
        )
        self._link = link
        self._transfers: trio.Nursery | None = None
        self.host = RunningHost(core, self._driver, link, config.network, self._bulk.counters, self._ports)
        self._core = core
        self._keeping = None
        if state is not None and saved is not None:
            self._keeping = StateKeeping(state, saved.kept, fingerprint, self.host)

    async def _drive(self) -> None:
        """Carry packets until the very end."""
        with self.carrier:
            async with trio.open_nursery() as nursery:
                self._transfers = nursery
                nursery.start_soon(trio.serve_listeners, self._bulk.serve, self._link.listeners)
                await self._driver.run(self._link.look_s)

    def _derive(self) -> Identity:
        """The identity of the link's subnet, if this host founds it."""
        try:
            addresses = _on_link(self._interfaces)
        except LocalProtocolError:  # the interface has vanished for a while
            addresses = []
        return derive(addresses, self._rng, name=self._config.subnet)

    def _on_transfer(self, wanted: FetchBulk | BulkTo) -> None:
        if self._transfers is not None:
            self._transfers.start_soon(self._bulk.transfer, wanted)

    def start_in(self, nursery: trio.Nursery) -> None:
        """Start all tasks, the driver first."""
        nursery.start_soon(self._drive)
        self._start()
        for text in self._config.bootstrap:
            nursery.start_soon(self._follow_entry_point, text)
        nursery.start_soon(self._tell_of_overlay)
        if self._ports is not None:
            nursery.start_soon(self._ports.run)
        for interface in self._interfaces:
            nursery.start_soon(self._be_present, interface)
        if self._keeping is not None:
            nursery.start_soon(self._keeping.run)

    def _start(self) -> None:
        """Say hello; entry points and peers that are given as numbers are known at once."""
        for text in self._config.bootstrap:
            entry = rendezvous.parse(text)
            if entry.numeric:
                address = entry.host, entry.port or rendezvous.DEFAULT_PORT
                self.entry_points.add(address)
                self._greet(address, lasting=True)
        for address in self._config.peers:
            self._greet(address, lasting=True)
        for address in () if self._kept is None else self._kept.hosts:
            self._greet(address)
        self._driver.perform(self._core.start(trio.current_time()))

    async def _follow_entry_point(self, text: str) -> None:
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

    async def _be_present(self, interface: str) -> None:
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

    def reaches(self, address: Address) -> bool:
        """Whether an address is one of the link."""
        return self._link.reaches(address)

    def _greet(self, address: Address, *, lasting: bool = False) -> None:
        """A host of the link may be there: it gets a hello that needs no multicast."""
        if self._link.reaches(address) and address not in self._link.addresses:
            self._core.membership.peers.add(address, trio.current_time(), lasting=lasting)

    def _learn(self, address: Address) -> None:
        self._greet(address)
        if self.entry_points.add(address) and address not in self.host.members:
            log.debug("entry point %s", format_address(address))
            self._core.look_soon(trio.current_time())
            self._driver.perform(())

    async def _tell_of_overlay(self) -> None:
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
            self._told_of(self.host, event)
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

    def _port_mapping(self, link: UdpLink, saved: Saved | None) -> PortMapping:
        """Asks the router; the nonce is that of the last run, for the router may still hold the port for it."""
        return PortMapping(
            link.addresses[0][1] if link.addresses else self._config.port,
            self._interfaces,
            _secret(b"mdht port", saved)[:NONCE_BYTES],
            self._on_mapped,
            allow_private=self._config.allow_private,
        )

    def _on_mapped(self, outside: Address | None) -> None:
        """The router forwards from there from now on; others are asked whether they get through."""
        self._driver.perform(self._core.name(outside, trio.current_time()))

    async def leave(self) -> None:
        """Write what is held, hand records over, say goodbye, give the router's port back."""
        await self._say_goodbye()
        if self._ports is not None:
            await self._ports.give_back()

    async def _say_goodbye(self) -> None:
        if self._keeping is not None:
            await self._keeping.save()
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


def _secret(use: bytes, saved: Saved | None) -> bytes:
    """Bytes that nobody can guess, for one use; the same after a restart, where there is a state directory."""
    seed = SigningKey.generate().seed if saved is None else saved.node_seed
    return hashlib.sha256(use + seed).digest()


def link_fingerprint(interfaces: tuple[str, ...]) -> bytes:
    """By what this host knows its link again; 8 bytes."""
    networks = sorted({str(address.network) for address in _on_link(interfaces) if not address.ip.is_link_local})
    return hashlib.sha256(" ".join([*interfaces, *networks]).encode()).digest()[:8]
