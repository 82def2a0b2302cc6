"""Starts and stops a node: sockets, state directory, entry points, presence on the link.

async with open_mdht(MdhtConfig(), writer) as node:
    await node.put(key, b"value", ttl_s=300)
    found = await node.get(key)
"""

import logging
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import msgspec
import trio

from dhtboot.effects import Effect, Joined, JoinFailed
from dhtboot.errors import LocalProtocolError as SocketError
from dhtboot.ids import Address, NodeRef, format_address, id_bytes, id_from
from dhtboot.udp import UdpDriver, open_sockets
from mdht import netifaces_io, rendezvous
from mdht.api import Mdht
from mdht.config import MdhtConfig
from mdht.errors import LocalProtocolError, UnreachableError
from mdht.records import Copy
from mdht.signing import SigningKey
from mdht.state import Batch, SavedContact, StateDirectory
from mdht.store import StoreNode
from mdht.wire import store_codec
from mdht.zeroconf_io import open_presence

__all__ = ["Mdht", "MdhtConfig", "open_mdht"]

log = logging.getLogger(__name__)

SAVE_INTERVAL_S: Final = 1.0
"A node that is killed loses at most so much of what it heard; others hold it as well."
CONTACTS_SAVE_S: Final = 300.0
"Unchanged neighbours are written so often; every second would wear out a router's flash."
LEAVE_S: Final = 2.0
"For handing records over at the end; a user who pressed Ctrl-C waits no longer."
RESOLVE_RETRY_S: Final = 30.0
"Pause before an entry point's name is looked up again."
SAVED_CONTACTS: Final = 64
"Contacts tried at the start beside the entry points."


@asynccontextmanager
async def open_mdht(config: MdhtConfig, writer: SigningKey) -> AsyncIterator[Mdht]:
    """Run a node while the context lasts; at its end the node hands its records over and says goodbye.

    A lone node works; it joins others as soon as one is found on the link or an entry point answers.

    Args:
        config: settings.
        writer: signs what is put through this node.

    Raises:
        LocalProtocolError: a port, directory, interface or entry point cannot be used; the text says what to change.
    """
    for text in config.bootstrap:
        rendezvous.parse(text)
    interface = _link(config)
    with ExitStack() as stack:
        state = None
        if config.state_dir is not None:
            state = stack.enter_context(StateDirectory.open(config.state_dir, time.time()))
        saved = None if state is None else state.load(time.time())
        identity = SigningKey.generate() if saved is None else SigningKey.from_seed(saved.node_seed)
        rng = random.SystemRandom()
        # What this process itself puts never makes room for others.
        table = msgspec.structs.replace(config.store.table, pinned=frozenset((writer.public_key,)))
        store = msgspec.structs.replace(config.store, table=table)
        core = StoreNode(identity.public_key, config.overlay, store, rng, trio.current_time())
        if saved is not None:
            for copy in saved.copies:
                core.table.put(copy.record, copy.remaining_s, trio.current_time(), "")
        try:
            async with open_sockets(config.host, config.port, fall_back=not config.port_required) as sockets:
                driver = UdpDriver(core, store_codec(config.network), sockets, _EventLog(config.bootstrap))
                running = _Running(config, core, driver, rng)
                contacts = () if saved is None else saved.contacts[:SAVED_CONTACTS]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(running.drive)
                    await running.join([NodeRef(id_from(c.id), (c.host, c.port)) for c in contacts])
                    for text in config.bootstrap:
                        nursery.start_soon(running.follow_entry_point, text)
                    if interface is not None:
                        nursery.start_soon(running.be_present, interface)
                    if state is not None:
                        nursery.start_soon(running.keep_saving, state)
                    try:
                        yield Mdht(core, driver, writer, config.network)
                    finally:
                        with trio.CancelScope(shield=True):
                            await running.leave()
                            if state is not None:
                                await running.save(state)
                        running.carrier.cancel()
                        nursery.cancel_scope.cancel()
        except SocketError as error:
            raise LocalProtocolError(str(error)) from error


def _link(config: MdhtConfig) -> str | None:
    """The interface on which to be present, None for none."""
    if not config.presence:
        return None
    if config.interface is not None:
        netifaces_io.interface_addresses(config.interface)  # refuses an unknown one
        return config.interface
    try:
        return netifaces_io.default_interface()
    except LocalProtocolError as error:
        log.warning("no peers are sought on the link: %s", error)
        return None


class _EventLog:
    """One line for each change, not one for each attempt."""

    def __init__(self, bootstrap: tuple[str, ...]) -> None:
        self._failing = False
        self._where = f" (entry points: {', '.join(bootstrap)})" if bootstrap else ""

    def __call__(self, event: Effect) -> None:
        match event:
            case Joined(contacts=contacts):
                self._failing = False
                log.info("joined the overlay with %d contacts", contacts)
            case JoinFailed(retry_in_s=retry_in_s):
                level = logging.DEBUG if self._failing else logging.WARNING
                log.log(level, "no other node answers%s; going on alone, trying every %.0f s", self._where, retry_in_s)
                self._failing = True


class _Running:
    """The tasks beside the driver."""

    def __init__(self, config: MdhtConfig, core: StoreNode, driver: UdpDriver, rng: random.Random) -> None:
        self._config = config
        self._core = core
        self._driver = driver
        self._rng = rng
        self.carrier = trio.CancelScope(shield=True)
        "Ends the driver; shielded, because records are still handed over when all else is cancelled."
        self._saved: dict[tuple[bytes, bytes, bytes], int] = {}
        self._saved_contacts: frozenset[bytes] = frozenset()
        self._contacts_saved_at = -math.inf

    async def drive(self) -> None:
        """Carry packets until the very end."""
        with self.carrier:
            await self._driver.run()

    async def join(self, known: list[NodeRef]) -> None:
        """Join by the entry points given as numbers and by contacts of an earlier run."""
        contacts = list(known)
        for text in self._config.bootstrap:
            if rendezvous.parse(text).numeric:
                contacts += [NodeRef(0, address) for address in await rendezvous.resolve(text, self._rng)]
        self._driver.perform(self._core.overlay.join(contacts, trio.current_time()))

    async def follow_entry_point(self, text: str) -> None:
        """Resolve a name and get to know its nodes; again while this node is alone."""
        if rendezvous.parse(text).numeric:
            return
        complaint = ""
        while True:
            try:
                if not len(self._core.overlay.table):
                    for address in await rendezvous.resolve(text, self._rng):
                        self._learn(address)
                complaint = ""
            except UnreachableError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("%s; trying again every %.0f s", error, RESOLVE_RETRY_S)
            await trio.sleep(RESOLVE_RETRY_S)

    async def be_present(self, interface: str) -> None:
        """Announce this node on the link, and get to know the others there."""
        node = id_bytes(self._core.overlay.id)
        port = self._driver.addresses[0][1]
        async with open_presence(interface=interface, node=node, port=port, network=self._config.network) as peers:
            async for peer in peers:
                if peer.kind == "found":
                    log.info("found %s on %s at %s", peer.node[:16], interface, peer.addresses)
                    for address in peer.addresses[:1]:
                        self._learn(address)

    def _learn(self, address: Address) -> None:
        log.debug("trying %s", format_address(address))
        self._driver.perform(self._core.overlay.learn(NodeRef(0, address), trio.current_time()))

    async def leave(self) -> None:
        """Hand records over, say goodbye."""
        done = trio.Event()
        self._core.hand_over_all(trio.current_time(), done.set)
        self._driver.perform(self._core.overlay.collect())
        with trio.move_on_after(LEAVE_S):
            await done.wait()
        self._driver.perform(self._core.overlay.leave())

    async def keep_saving(self, state: StateDirectory) -> None:
        """Write what changed, once a second."""
        while True:
            await trio.sleep(SAVE_INTERVAL_S)
            await self.save(state)

    async def save(self, state: StateDirectory) -> None:
        """Write what changed since the last time."""
        now = trio.current_time()
        wall_s = time.time()
        changed: list[Copy] = []
        held: dict[tuple[bytes, bytes, bytes], int] = {}
        for copy in self._core.table.copies(now):
            record = copy.record
            slot = record.key, record.writer, record.name
            held[slot] = record.seq
            if self._saved.get(slot) != record.seq:
                changed.append(copy)
        batch = Batch(
            contacts=self._contacts_to_save(now, wall_s),
            copies=tuple(changed),
            dropped=tuple(slot for slot in self._saved if slot not in held),
        )
        self._saved = held
        if not (batch.contacts or batch.copies or batch.dropped):
            return
        try:
            await trio.to_thread.run_sync(state.save, batch, wall_s)
        except LocalProtocolError as error:
            log.warning("state not saved: %s", error)

    def _contacts_to_save(self, now: float, wall_s: float) -> tuple[SavedContact, ...]:
        """The neighbours, when they are others than before; else now and then, for the time they were last seen."""
        neighbours = self._core.overlay.neighbours
        identifiers = frozenset(id_bytes(node.id) for node in neighbours)
        if identifiers == self._saved_contacts and now < self._contacts_saved_at + CONTACTS_SAVE_S:
            return ()
        self._saved_contacts, self._contacts_saved_at = identifiers, now
        return tuple(
            SavedContact(id=id_bytes(node.id), host=node.address[0], port=node.address[1], seen_at=wall_s)
            for node in neighbours
        )
