"""PINGs over UDP: a node's port that answers them, and an asker's that measures round trips."""

import errno
import logging
import math
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from random import Random, SystemRandom
from typing import Final

import trio

from dhtboot.ids import Address
from netserv_discovery.errors import LocalProtocolError, UnreachableError
from netserv_discovery.ping import Measured, PingEffect, Pinger, PingerConfig, Responder, Send, Target

log = logging.getLogger(__name__)

DATAGRAM_MAX: Final = 512
"Bytes that are read: a longer datagram is cut, and then is none of ours."
PORT_TRIES: Final = 8
"Ports that are free for IPv4 and, of eight, never for IPv6 do not exist by chance."
DRAIN_MAX: Final = 64
"Datagrams taken in one go, so that timers and other tasks get their turn under a flood."
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


class UdpSockets:
    """One UDP port for each family of addresses that this machine has."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = {sock.family: sock for sock in sockets}

    @property
    def port(self) -> int:
        """Of all of them."""
        return int(next(iter(self.sockets.values())).getsockname()[1])

    def send(self, data: bytes, to: Address) -> None:
        """Send a datagram; what the kernel does not take is as lost as on the way."""
        sock = self.sockets.get(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
        if sock is not None:
            with suppress(OSError):  # no route, no buffer: the same silence as when nobody is there
                sock.sendto(data, to)

    async def received(self, sock: socket.socket) -> list[tuple[bytes, Address]]:
        """Wait for datagrams."""
        await trio.lowlevel.wait_readable(sock)
        found: list[tuple[bytes, Address]] = []
        while len(found) < DRAIN_MAX:
            try:
                data, source = sock.recvfrom(DATAGRAM_MAX)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier datagram
                continue
            found.append((data, source[:2]))
        return found

    def close(self) -> None:
        """Give the ports back."""
        for sock in self.sockets.values():
            sock.close()


def open_sockets(port: int = 0, families: Sequence[socket.AddressFamily] = FAMILIES) -> UdpSockets:
    """Open a UDP port, the same one for IPv4 and IPv6.

    Args:
        port: 0 for any.
        families: those that are there; a machine without IPv6 has IPv4 alone.

    Raises:
        LocalProtocolError: the port is in use, or this machine gives no sockets.
    """
    for _ in range(PORT_TRIES):
        with ExitStack() as stack:
            opened: list[socket.socket] = []
            number = port
            try:
                for family in families:
                    sock = _open(family, number)
                    if sock is not None:
                        opened.append(stack.enter_context(sock))
                        number = number or int(sock.getsockname()[1])
            except OSError as error:
                if error.errno == errno.EADDRINUSE and not port:
                    continue  # free for one family only: another one
                text = f"UDP port {number}: {error.strerror}; name another one, or 0 for any"
                raise LocalProtocolError(text) from error
            if opened:
                stack.pop_all()
                return UdpSockets(opened)
            break
    raise LocalProtocolError("this machine gives no UDP port")


def _open(family: socket.AddressFamily, port: int) -> socket.socket | None:
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
    except OSError as error:
        sock.close()
        if family == socket.AF_INET6 and error.errno == errno.EADDRNOTAVAIL:
            return None  # IPv6 is switched off
        raise
    return sock


class PingServer:
    """A node's port; made by `open_ping_server`.

    Args:
        responder: answers.
        sockets: of the port.
    """

    def __init__(self, responder: Responder, sockets: UdpSockets) -> None:
        self.responder, self._sockets = responder, sockets

    @property
    def port(self) -> int:
        """That it answers on."""
        return self._sockets.port

    async def run(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets.sockets.values():
                nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        while True:
            for data, source in await self._sockets.received(sock):
                answer = self.responder.receive(data, source, trio.current_time())
                if answer is not None:
                    self._sockets.send(answer, source)


@asynccontextmanager
async def open_ping_server(responder: Responder, port: int = 0) -> AsyncIterator[PingServer]:
    """Answer PINGs while the context lasts.

    Raises:
        LocalProtocolError: the port cannot be had.
    """
    sockets = open_sockets(port)
    try:
        async with trio.open_nursery() as nursery:
            server = PingServer(responder, sockets)
            nursery.start_soon(server.run)
            yield server
            nursery.cancel_scope.cancel()
    finally:
        sockets.close()


class PingPort:
    """An asker's port; made by `open_pings`. What is measured comes out of `measured`."""

    def __init__(self, sockets: UdpSockets, rng: Random, config: PingerConfig | None) -> None:
        self._sockets = sockets
        self.pinger = Pinger(rng, trio.current_time(), config)
        self._rung = trio.Event()
        # Without bound, as each of `asked_max` targets gives one.
        self._send, self.measured = trio.open_memory_channel[Measured](math.inf)

    def ask(self, target: Target) -> None:
        """Ask a node; one `Measured` follows.

        Raises:
            LocalProtocolError: too many are asked at a time, or this one is.
        """
        self._perform(self.pinger.ask(target, trio.current_time()))
        self._rung.set()

    async def measure(self, targets: Iterable[Target]) -> dict[Target, Measured]:
        """Ask several nodes, and wait for what comes of each."""
        found: dict[Target, Measured] = {}
        asked = set(targets)
        for target in asked:
            self.ask(target)
        while len(found) < len(asked):
            measured = await self.measured.receive()
            found[measured.target] = measured
        return found

    async def run(self) -> None:
        """Exchange datagrams until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets.sockets.values():
                nursery.start_soon(self._receive, sock)
            while True:
                self._perform(self.pinger.tick(trio.current_time()))
                self._rung = trio.Event()
                with trio.move_on_at(self.pinger.next_deadline()):
                    await self._rung.wait()
                await trio.lowlevel.checkpoint()

    async def _receive(self, sock: socket.socket) -> None:
        while True:
            for data, source in await self._sockets.received(sock):
                self._perform(self.pinger.receive(data, source, trio.current_time()))

    def _perform(self, effects: Iterable[PingEffect]) -> None:
        for effect in effects:
            match effect:
                case Send(data=data, to=to):
                    self._sockets.send(data, to)
                case Measured():
                    self._send.send_nowait(effect)


@asynccontextmanager
async def open_pings(config: PingerConfig | None = None, rng: Random | None = None) -> AsyncIterator[PingPort]:
    """Have a port to ask from while the context lasts.

    Raises:
        UnreachableError: this machine gives no socket.
    """
    try:
        sockets = open_sockets()
    except LocalProtocolError as error:
        raise UnreachableError(str(error)) from error
    try:
        async with trio.open_nursery() as nursery:
            port = PingPort(sockets, rng or SystemRandom(), config)
            nursery.start_soon(port.run)
            yield port
            nursery.cancel_scope.cancel()
    finally:
        sockets.close()
