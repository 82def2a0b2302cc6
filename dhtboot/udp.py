"""Drives a protocol core over UDP with trio; the only file of the package that imports trio.

One task per socket drains it at each readable event and sends without a checkpoint: a task switch per datagram costs
five times as much as the datagram. A slice is bounded, so a flood cannot starve the timer or the rest of the program.
"""

import errno
import heapq
import itertools
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol

import trio

from dhtboot.effects import Effect, Send
from dhtboot.errors import DhtbootError, LocalProtocolError, RemoteProtocolError
from dhtboot.ids import Address, format_address

log = logging.getLogger(__name__)

SLICE_MAX: Final = 64
"Datagrams handled between two checkpoints."
RECEIVE_BUFFER_BYTES: Final = 4 << 20
"The kernel's default of 208 KiB loses bursts of a few hundred packets."
_READ_BYTES: Final = 2048
"More than any datagram of the protocol, so that a larger one is recognised and refused."


class Core(Protocol):
    """What the driver needs of a protocol core."""

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on a packet."""

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""


class DatagramCodec(Protocol):
    """What the driver needs of a codec."""

    def encode(self, packet: Any) -> bytes:
        """The datagram of a packet."""

    def decode(self, data: bytes) -> Any:
        """The packet in a datagram; `RemoteProtocolError` and nothing else for bad bytes."""


class DelayLine:
    """Holds datagrams back, as a long way would.

    Args:
        draw: gives the delay of each in seconds.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer = trio.CancelScope()

    def put(self, send: Callable[[], None]) -> None:
        """Call `send` later."""
        at = trio.current_time() + self._draw()
        heapq.heappush(self._waiting, (at, next(self._order), send))
        self._timer.deadline = min(self._timer.deadline, at)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            deadline = self._waiting[0][0] if self._waiting else float("inf")
            with trio.CancelScope(deadline=deadline) as self._timer:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._waiting and self._waiting[0][0] <= now:
                heapq.heappop(self._waiting)[2]()


class UdpDriver:
    """Carries packets between a core and its sockets.

    Args:
        core: the protocol core.
        codec: turns its packets into bytes.
        sockets: bound, one per family.
        on_event: gets every effect that is not a packet.
        delay_line: holds each datagram back before it is sent, for experiments; None sends at once.
    """

    def __init__(
        self,
        core: Core,
        codec: DatagramCodec,
        sockets: Iterable[socket.socket],
        on_event: Callable[[Effect], None],
        *,
        delay_line: DelayLine | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._core = core
        self._codec = codec
        self._sockets = {sock.family: sock for sock in sockets}
        self._on_event = on_event
        self._delay_line = delay_line
        self._timer = trio.CancelScope()

    @property
    def addresses(self) -> list[Address]:
        """Local address of every socket."""
        return [sock.getsockname()[:2] for sock in self._sockets.values()]

    async def run(self) -> None:
        """Carry packets and time until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets.values():
                nursery.start_soon(self._read, sock)
            nursery.start_soon(self._keep_time)

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out what the core wants; call it with whatever a call of the core returned."""
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            else:
                self._on_event(effect)
        deadline = self._core.next_deadline()
        self._timer.deadline = min(self._timer.deadline, deadline)

    async def _keep_time(self) -> None:
        while True:
            deadline = self._core.next_deadline()
            with trio.CancelScope(deadline=deadline) as self._timer:
                await trio.sleep_forever()
            # Readers woken in the same moment come first: an answer that waits in our own socket is not late.
            await trio.lowlevel.checkpoint()
            self.perform(self._core.tick(trio.current_time()))

    async def _read(self, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            now = trio.current_time()
            for _ in range(SLICE_MAX):
                try:
                    data, source = sock.recvfrom(_READ_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:  # an earlier datagram's ICMP error, or the interface went down
                    self._count_os_error("receive_errors", error)
                    break
                self._receive(data, (source[0].partition("%")[0], source[1]), now)
            await trio.lowlevel.checkpoint()

    def _receive(self, data: bytes, source: Address, now: float) -> None:
        self.counters["received"] += 1
        try:
            packet = self._codec.decode(data)
        except RemoteProtocolError as error:
            self.counters[f"refused_{error.code.name.lower()}"] += 1
            log.debug("refused a datagram from %s: %s", format_address(source), error)
            return
        self.perform(self._core.receive(packet, source, now))

    def _send(self, effect: Send) -> None:
        host, _port = effect.to
        sock = self._sockets.get(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if sock is None:
            self.counters["no_family"] += 1
            return
        try:
            data = self._codec.encode(effect.packet)
        except DhtbootError as error:
            self.counters["too_large"] += 1
            log.warning("did not send to %s: %s", format_address(effect.to), error)
            return
        if self._delay_line is None:
            self._transmit(sock, data, effect.to)
        else:
            self._delay_line.put(partial(self._transmit, sock, data, effect.to))

    def _transmit(self, sock: socket.socket, data: bytes, to: Address) -> None:
        try:
            sock.sendto(data, to)
        except BlockingIOError:
            self.counters["send_buffer_full"] += 1  # as good as lost on the way: retries are the core's business
        except OSError as error:
            self._count_os_error("send_errors", error)
        else:
            self.counters["sent"] += 1

    def _count_os_error(self, counter: str, error: OSError) -> None:
        self.counters[counter] += 1
        log.debug("%s: %s", counter, errno.errorcode.get(error.errno or 0, error))


@asynccontextmanager
async def open_sockets(host: str, port: int, *, fall_back: bool) -> AsyncIterator[list[socket.socket]]:
    """Bind UDP sockets for IPv4 and IPv6 on one port.

    Args:
        host: numeric address to bind, or empty for all addresses of both families.
        port: port to bind, 0 for any.
        fall_back: whether any other port is as good when this one is taken.

    Raises:
        LocalProtocolError: the address cannot be bound; the text names cause and remedy.
    """
    try:
        sockets = _bind(host, port)
    except OSError as error:
        if not (fall_back and port and error.errno == errno.EADDRINUSE):
            raise LocalProtocolError(_bind_failure(host, port, error)) from error
        log.info("UDP port %d is taken; using another one", port)
        try:
            sockets = _bind(host, 0)
        except OSError as second:
            raise LocalProtocolError(_bind_failure(host, 0, second)) from second
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def _bind(host: str, port: int) -> list[socket.socket]:
    if host:
        return [_bind_one(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)]
    first = _bind_one(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - all addresses, as asked
    try:
        second = _bind_one(socket.AF_INET6, "::", first.getsockname()[1])
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return [first]  # a host without IPv6
        first.close()
        raise
    return [first, second]


def _bind_one(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_failure(host: str, port: int, error: OSError) -> str:
    where = f"UDP port {port}" + (f" on {host}" if host else "")
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program; choose another port, or 0 for any"
    return f"cannot bind {where}: {error.strerror or error}"
