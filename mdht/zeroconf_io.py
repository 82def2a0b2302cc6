"""Presence on the link: the one door of `mdht` to python-zeroconf (mDHT design, section 2).

Each node registers one instance of `_mdht._udp` and browses for those of the same overlay. The library runs in a
thread of its own; what it hears comes back into trio by `TrioToken.run_sync_soon`.
"""

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import msgspec
import trio
import zeroconf

from dhtboot.ids import Address
from dhtboot.wire import network_tag
from mdht.errors import LocalProtocolError
from mdht.netifaces_io import InterfaceAddress, interface_addresses, is_up

log = logging.getLogger(__name__)

SERVICE_TYPE: Final = "_mdht._udp.local."
PEERS_MAX: Final = 1_024
"Instances followed on one link; a /22 full of nodes. An overlay needs a few to join by."
RESOLVES_AT_ONCE: Final = 8
RESOLVE_MS: Final = 3_000
LINK_CHECK_S: Final = 5.0
"Between looks at the interface's addresses; the library does not notice that they change."
CLOSE_S: Final = 2.0
"Goodbyes take 0.3 s; a link that vanished must not hold up the program."


class _QuietLibrary(logging.Filter):
    """Turns the library's warnings into details: it logs a traceback for every packet on a link that is down."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass the message on without its traceback, and stop the original."""
        log.debug("zeroconf: %s", record.getMessage().partition("\n")[0])
        return False


_QUIET: Final = _QuietLibrary()
_ID_TEXT: Final = re.compile(r"[0-9a-f]{40}")


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A node of our overlay was heard on the link, or said goodbye."""

    kind: Literal["found", "lost"]
    node: str
    "Its id, 40 hexadecimal digits: a claim, which the overlay checks when the node answers."
    addresses: tuple[Address, ...]
    "Where it says to be reached, IPv4 first; the last known ones when it is lost."


@asynccontextmanager
async def open_presence(
    *, interface: str, node: bytes, port: int, network: str
) -> AsyncIterator[trio.MemoryReceiveChannel[Peer]]:
    """Be present on a link while the context lasts, and hear who else is.

    An interface that is down, or changes its addresses, is taken up again by itself.

    Args:
        interface: name of the interface.
        node: id of this node, 20 bytes.
        port: its UDP port.
        network: name of the overlay.
    """
    send, receive = trio.open_memory_channel[Peer](PEERS_MAX)
    presence = _Presence(interface, node.hex(), port, network_tag(network).hex(), send)
    async with send, receive, trio.open_nursery() as nursery:
        nursery.start_soon(presence.run)
        try:
            yield receive
        finally:
            nursery.cancel_scope.cancel()


class _Presence:
    """One interface's presence, over as many sessions of the library as its addresses change."""

    def __init__(self, interface: str, node: str, port: int, tag: str, peers: trio.MemorySendChannel[Peer]) -> None:
        self._interface, self._node, self._port, self._tag = interface, node, port, tag
        self._peers = peers
        self._heard: dict[str, Peer] = {}
        self._resolving = trio.CapacityLimiter(RESOLVES_AT_ONCE)

    async def run(self) -> None:
        """Keep a session open whenever the interface has an address."""
        complaint = ""
        while True:
            try:
                addresses = _usable(self._interface)
                if addresses:
                    complaint = ""
                    await self._session(addresses)
                    continue
                reason = "it is down or has no address"
            except (OSError, LocalProtocolError, zeroconf.Error) as error:
                reason = str(error)
            if reason != complaint:
                log.warning("not present on %s: %s; waiting for it", self._interface, reason)
                complaint = reason
            await trio.sleep(LINK_CHECK_S)

    async def _session(self, addresses: tuple[InterfaceAddress, ...]) -> None:
        """Be present until the interface's addresses change."""
        zc = await trio.to_thread.run_sync(_open, self._interface, addresses)
        names, heard = trio.open_memory_channel[tuple[str, bool]](PEERS_MAX)
        try:
            with names, heard:
                # Browsing first: who is there already is found while our own name is still being probed for.
                await trio.to_thread.run_sync(self._browse, zc, trio.lowlevel.current_trio_token(), names)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow, zc, heard)
                    nursery.start_soon(self._register, zc, addresses)
                    await self._addresses_to_change(addresses)
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await trio.to_thread.run_sync(_close, zc, abandon_on_cancel=True)
        for name in list(self._heard):  # heard on a link that is another one now, or none
            await self._lose(name)

    async def _addresses_to_change(self, addresses: tuple[InterfaceAddress, ...]) -> None:
        while True:
            await trio.sleep(LINK_CHECK_S)
            try:
                if _usable(self._interface) != addresses:
                    return
            except LocalProtocolError:  # the interface is gone
                return

    def _browse(
        self, zc: zeroconf.Zeroconf, token: trio.lowlevel.TrioToken, names: trio.MemorySendChannel[tuple[str, bool]]
    ) -> None:
        def hand_over(name: str, present: bool) -> None:
            try:
                names.send_nowait((name, present))
            except trio.WouldBlock:  # thousands of instances in one moment: those beyond are not needed to join
                log.debug("too many instances on %s at once: %s ignored", self._interface, name)
            except trio.ClosedResourceError:
                log.debug("%s heard after the end", name)

        def on_change(
            zeroconf: zeroconf.Zeroconf,  # noqa: ARG001 - the library passes these four by name
            service_type: str,  # noqa: ARG001
            name: str,
            state_change: zeroconf.ServiceStateChange,
        ) -> None:
            try:
                token.run_sync_soon(hand_over, name, state_change.name != "Removed")
            except trio.RunFinishedError:
                log.debug("%s heard after the program's end", name)

        zeroconf.ServiceBrowser(zc, SERVICE_TYPE, handlers=[on_change])

    async def _register(self, zc: zeroconf.Zeroconf, addresses: Iterable[InterfaceAddress]) -> None:
        label = self._node[:16]
        info = zeroconf.ServiceInfo(
            SERVICE_TYPE,
            f"{label}.{SERVICE_TYPE}",
            port=self._port,
            properties={"v": "1", "ov": self._tag, "id": self._node},
            server=f"mdht-{label}.local.",  # a name of its own: the host's belongs to the host's responder
            addresses=[address.ip.packed for address in addresses],
        )
        try:
            await trio.to_thread.run_sync(zc.register_service, info, abandon_on_cancel=True)
        except (OSError, zeroconf.Error) as error:
            log.warning("not announced on %s: %s", self._interface, error or type(error).__name__)

    async def _follow(self, zc: zeroconf.Zeroconf, heard: trio.MemoryReceiveChannel[tuple[str, bool]]) -> None:
        async with trio.open_nursery() as nursery:
            async for name, present in heard:
                if not present:
                    await self._lose(name)
                elif len(self._heard) < PEERS_MAX or name in self._heard:
                    nursery.start_soon(self._resolve, zc, name)

    async def _resolve(self, zc: zeroconf.Zeroconf, name: str) -> None:
        try:
            info = await trio.to_thread.run_sync(
                zc.get_service_info, SERVICE_TYPE, name, RESOLVE_MS, abandon_on_cancel=True, limiter=self._resolving
            )
        except (OSError, zeroconf.Error) as error:
            log.debug("%s not resolved: %s", name, error)
            return
        peer = _peer(info, self._tag) if info is not None else None
        if peer is not None and peer.node != self._node and self._heard.get(name) != peer:
            self._heard[name] = peer
            await self._peers.send(peer)

    async def _lose(self, name: str) -> None:
        peer = self._heard.pop(name, None)
        if peer is not None:
            await self._peers.send(msgspec.structs.replace(peer, kind="lost"))


def _usable(interface: str) -> tuple[InterfaceAddress, ...]:
    """Return the addresses to announce: IPv6 link-local ones need a scope, which our messages do not carry.

    None while the interface is down, so that all are announced anew when it comes up and not a TTL later.
    """
    addresses = interface_addresses(interface)
    if not is_up(interface):
        return ()
    wide = tuple(each for each in addresses if each.version == 4 or not each.ip.is_link_local)
    return tuple(each for each in wide if not each.ip.is_loopback) or wide[:1]


def _open(interface: str, addresses: tuple[InterfaceAddress, ...]) -> zeroconf.Zeroconf:
    """Start the library's thread on one interface only; runs in a worker thread."""
    logging.getLogger("zeroconf").addFilter(_QUIET)  # the same one again is ignored
    choices: list[str | int | tuple[tuple[str, int, int], int]] = [str(each.ip) for each in addresses]
    families = {each.version for each in addresses}
    version = zeroconf.IPVersion.All if len(families) == 2 else zeroconf.IPVersion.V4Only
    if families == {6}:
        version = zeroconf.IPVersion.V6Only
    zc = zeroconf.Zeroconf(interfaces=choices, ip_version=version, use_asyncio=False)
    # Its receiving socket is bound to the wildcard address: without this it hears other links too.
    for endpoint in {*zc.engine.readers, *zc.engine.senders}:
        sock = endpoint.transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        except PermissionError:  # Linux before 5.7 wants privileges
            log.debug("not bound to %s: other links of this host may be heard", interface)
    return zc


def _close(zc: zeroconf.Zeroconf) -> None:
    """Say goodbye and end the library's thread; runs in a worker thread."""

    async def end_announcing() -> None:
        # Announcing takes two seconds. The library's loop would end around it, and Python complain of that on stderr.
        unfinished = asyncio.all_tasks() - {asyncio.current_task()}
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    if zc.loop is not None and zc.loop.is_running():
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(end_announcing(), zc.loop).result(CLOSE_S)
    zc.close()


def _peer(info: zeroconf.ServiceInfo, tag: str) -> Peer | None:
    """Read an instance; None for one of another overlay, or one that no node of ours announces."""
    properties = info.decoded_properties
    node = properties.get("id") or ""
    if properties.get("v") != "1" or properties.get("ov") != tag or not _ID_TEXT.fullmatch(node) or not info.port:
        return None
    hosts = [ipaddress.ip_address(text.partition("%")[0]) for text in info.parsed_scoped_addresses()]
    usable = sorted(
        (host for host in set(hosts) if host.version == 4 or not host.is_link_local),
        key=lambda host: (host.version, int(host)),
    )
    if not usable:
        return None
    return Peer(kind="found", node=node, addresses=tuple((str(host), info.port) for host in usable))
