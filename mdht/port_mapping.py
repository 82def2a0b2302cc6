"""Has the router of a link forward this host's port: the sockets and the time of `mdht.ports`.

See the mDHT design, section 13. One socket asks the gateway, one hears what it announces to all hosts; UPnP is asked in
a thread.
"""

import errno
import ipaddress
import logging
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import trio

from dhtboot.ids import Address, format_address
from mdht import netifaces_io
from mdht.miniupnpc_io import GatewayDevice
from mdht.ports import pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import Cause, Effect, ToGateway, UpnpCall
from mdht.ports.mapper import PortMapper
from mdht.ports.words import lack_text
from mdht.results import MappedPort

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"Between two looks who the gateway is."
GIVE_BACK_S: Final = 2.0
"For giving the port back; a user who pressed Ctrl-C waits no longer."
CALLS_MAX: Final = 4
"Of UPnP that wait for a thread: the mapper has one under way at most, and a deletion."
_MEMBERSHIP: Final = struct.Struct("4s4s")
"`ip_mreq` of ip(7)."


class PortMapping:
    """One host's port at the router of its link.

    Args:
        port: its own.
        interfaces: of the link; none for that of the default route.
        nonce: secret, the same after a restart.
        changed: is told where the router forwards from, whenever that is another address; None for nowhere.
        allow_private: whether an outside address that is none of the internet's is used.
        config: times and limits.
        rng: all chance.
    """

    def __init__(
        self,
        port: int,
        interfaces: tuple[str, ...],
        nonce: bytes,
        changed: Callable[[Address | None], None],
        *,
        allow_private: bool,
        config: MapperConfig | None = None,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.SystemRandom()
        self._mapper = PortMapper(port, nonce, config or MapperConfig(), rng, allow_private=allow_private)
        self._interfaces = interfaces
        self._changed = changed
        self._sock: socket.socket | None = None
        self._own: ipaddress.IPv4Address | None = None
        self._outside: Address | None = None
        self._device: GatewayDevice | None = None
        self._told = ""
        self._waiting, self._running = trio.CancelScope(), trio.CancelScope()
        self._stopped: trio.Event | None = None
        self._calls, self._called = trio.open_memory_channel[UpnpCall](CALLS_MAX)

    @property
    def counters(self) -> Counter[str]:
        """Of requests, answers, and what was refused."""
        return self._mapper.counters

    def status(self) -> MappedPort:
        """What has come of it."""
        held, gateway = self._mapper.held, str(self._mapper.gateway or "")
        if held is None:
            return MappedPort(gateway=gateway, why=lack_text(self._mapper.lack, gateway))
        return MappedPort(
            gateway=gateway,
            protocol=held.protocol.value,
            outside=format_address(held.outside),
            expires_in_s=round(max(0.0, held.until - trio.current_time()), 3),
        )

    async def run(self) -> None:
        """Keep the port open until cancelled, or until `give_back`, which must be called in either case."""
        self._stopped = trio.Event()
        try:
            with self._running:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve_calls)
                    nursery.start_soon(self._listen)
                    await self._serve(lambda: False)
        finally:
            self._stopped.set()

    async def give_back(self) -> None:
        """Have the router forward the port no more; wait a short while for it to say that it does not."""
        self._running.cancel()
        if self._stopped is not None:
            await self._stopped.wait()  # it reads the same socket
        self._perform(self._mapper.stop(trio.current_time()))
        with trio.move_on_after(GIVE_BACK_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_calls)
                await self._serve(lambda: self._mapper.ended)
                nursery.cancel_scope.cancel()
        if not self._mapper.ended:
            log.info("router %s has not said that it forwards the port no more", self._mapper.gateway)
        self._use(None)

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _serve(self, done: Callable[[], bool]) -> None:
        """Take what the gateway answers, and keep the time."""
        look_at = trio.current_time()
        while not done():
            now = trio.current_time()
            if now >= look_at and not done():
                look_at = now + LOOK_S
                self._look(now)
            deadline = min(look_at, self._mapper.next_deadline())
            with trio.CancelScope(deadline=deadline) as self._waiting:
                await self._receive()
            self._perform(self._mapper.tick(trio.current_time()))

    def _look(self, now: float) -> None:
        """Who is the gateway, and as whom does it see us?"""
        gateway = netifaces_io.gateway4(self._interfaces)
        sock = None if gateway is None else _connected(gateway)
        own = None if sock is None else ipaddress.IPv4Address(sock.getsockname()[0])
        gateway = None if sock is None else gateway
        if (gateway, own) != (self._mapper.gateway, self._own):
            self._use(sock)
            self._own = own
        elif sock is not None:
            sock.close()
        self._perform(self._mapper.place(gateway, own, now))

    def _use(self, sock: socket.socket | None) -> None:
        if self._sock is not None:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
        self._sock = sock

    async def _receive(self) -> None:
        """Wait for one datagram of the gateway, which is all that the socket gets."""
        sock = self._sock
        if sock is None:
            await trio.sleep_forever()
            return
        await trio.lowlevel.wait_readable(sock)
        try:
            data = sock.recv(pcp.DATAGRAM_MAX + 1)
        except BlockingIOError:
            return
        except OSError as error:
            refused = error.errno == errno.ECONNREFUSED
            self._perform(self._mapper.unreachable(trio.current_time()) if refused else [])
            return
        self._perform(self._mapper.receive(data, trio.current_time()))

    async def _listen(self) -> None:
        """Hear what the gateway announces; without that its loss of state is found by the next check."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((pcp.ANNOUNCE_GROUP, pcp.ANNOUNCE_PORT))
            except OSError as error:
                log.info("announcements of the router are not heard: UDP port %d: %s", pcp.ANNOUNCE_PORT, error)
                return
            own: ipaddress.IPv4Address | None = None
            while True:
                with trio.move_on_after(LOOK_S):
                    await trio.lowlevel.wait_readable(sock)
                if own != self._own and self._own is not None:
                    own = self._own
                    _join(sock, own)
                self._hear(sock)

    def _hear(self, sock: socket.socket) -> None:
        try:
            data, source = sock.recvfrom(pcp.DATAGRAM_MAX + 1)
        except OSError:
            return
        if source[0] == str(self._mapper.gateway):
            self._perform(self._mapper.announced(data, trio.current_time()))
        else:
            self.counters["port_announcements_strange"] += 1

    async def _serve_calls(self) -> None:
        """Ask by UPnP, one thing at a time; a thread that hangs is left behind."""
        while True:
            wanted, own = await self._called.receive(), str(self._own)
            if self._device is None or self._device.own != own:
                self._device = GatewayDevice(own)  # kept, as finding it takes a second
            answer = await trio.to_thread.run_sync(self._device.call, wanted, abandon_on_cancel=True)
            self._perform(self._mapper.upnp_answered(answer, trio.current_time()))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ToGateway):
                self._send(effect.data)
            else:
                try:
                    self._calls.send_nowait(effect)
                except trio.WouldBlock:  # the thread hangs; the mapper asks again
                    self.counters["port_calls_dropped"] += 1
        # Whatever has been done may have brought the next deadline nearer.
        self._waiting.deadline = min(self._waiting.deadline, self._mapper.next_deadline())
        self._tell()

    def _send(self, data: bytes) -> None:
        if self._sock is None:
            return
        try:
            try:
                self._sock.send(data)
            except ConnectionRefusedError:  # an ICMP error because of an earlier one, and this one was not sent
                self._sock.send(data)
        except OSError as error:  # as good as lost
            self.counters[f"port_send_errors_{errno.errorcode.get(error.errno or 0, 'other').lower()}"] += 1

    def _tell(self) -> None:
        """Tell of what is new: the address to the host, the rest to the user."""
        held, lack = self._mapper.held, self._mapper.lack
        outside = None if held is None else held.outside
        if outside != self._outside:
            self._outside = outside
            self._changed(outside)
        gateway = str(self._mapper.gateway or "")
        text = (
            lack_text(lack, gateway)
            if held is None
            else f"router {gateway} forwards {format_address(held.outside)} to this host (by {held.protocol.value})"
        )
        if text == self._told:
            return
        self._told = text
        calm = held is not None or lack.cause in {Cause.STARTING, Cause.ENDED}
        log.log(logging.INFO if calm else logging.WARNING, "%s", text if calm else f"no port is opened: {text}")


def _connected(gateway: ipaddress.IPv4Address) -> socket.socket | None:
    """A socket that gets what the gateway sends, and nothing else; None where no route leads there any more."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect((str(gateway), pcp.PORT))
    except OSError:
        sock.close()
        return None
    return sock


def _join(sock: socket.socket, own: ipaddress.IPv4Address) -> None:
    """All hosts are in the group of all hosts; but the kernel wants to know which interface the socket means."""
    try:
        group = _MEMBERSHIP.pack(ipaddress.IPv4Address(pcp.ANNOUNCE_GROUP).packed, own.packed)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError as error:  # joined already, where an address has come back
        log.debug("joining %s at %s: %s", pcp.ANNOUNCE_GROUP, own, error)
