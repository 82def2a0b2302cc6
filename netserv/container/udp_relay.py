"""The node's side of a module's UDP port: datagrams in both directions, and who may get one (`datagrams.py`)."""

import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Final

import trio

from netserv.container.connect_proxy import allowed, is_own
from netserv.container.datagrams import PACKET_MAX, PAYLOAD_MAX, Datagram, decode, encode
from netserv.errors import RemoteProtocolError
from netserv.forwarding.filters import Prefix

PEERS_MAX: Final = 4_096
"Who have sent something, of one port; those who did so longest ago are forgotten first."
PEER_S: Final = 120.0
"How long one may be answered: twice the time that translators keep a mapping (RFC 4787 REQ-5)."
A_TURN: Final = 64
"Datagrams in one direction before others have their turn."


class Peers:
    """Who has sent to a port, and may be answered. No I/O."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, int], float] = OrderedDict()

    def heard(self, host: str, port: int, now: float) -> None:
        """One has sent something."""
        self._last[host, port] = now
        self._last.move_to_end((host, port))
        if len(self._last) > PEERS_MAX:
            self._last.popitem(last=False)

    def may_be_answered(self, host: str, port: int, now: float) -> bool:
        """Whether he has sent something lately."""
        return now - self._last.get((host, port), -PEER_S) < PEER_S


class UdpRelay:
    """One port."""

    def __init__(self, outside: socket.socket, prefixes: Callable[[], Sequence[Prefix]]) -> None:
        """Not running yet.

        Args:
            outside: the bound socket; closed with this.
            prefixes: where the publisher may send to without having been asked.
        """
        outside.setblocking(False)
        self._outside, self._prefixes = outside, prefixes
        self._family = outside.family
        self._peers = Peers()
        self._inside: socket.socket | None = None
        self._scope = trio.CancelScope()
        self.lost = self.refused = 0

    def box_end(self, nursery: trio.Nursery) -> socket.socket:
        """A new end for a container, which the caller closes when it is sent; that of an older container is closed."""
        self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._inside, self._scope = ours, trio.CancelScope()
        nursery.start_soon(self._run, ours, self._scope)
        return theirs

    def close(self) -> None:
        """Give the port back."""
        self._stop()
        trio.lowlevel.notify_closing(self._outside)
        self._outside.close()

    def _stop(self) -> None:
        self._scope.cancel()
        if self._inside is not None:
            trio.lowlevel.notify_closing(self._inside)
            self._inside.close()
            self._inside = None

    async def _run(self, inside: socket.socket, scope: trio.CancelScope) -> None:
        with scope, suppress(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._inward, inside)
                nursery.start_soon(self._outward, inside)

    async def _inward(self, inside: socket.socket) -> None:
        while True:
            await _readable(self._outside)
            for _ in range(A_TURN):
                try:
                    payload, (host, port, *_rest) = self._outside.recvfrom(PAYLOAD_MAX)
                except OSError:  # nothing more, or an ICMP error that came back
                    break
                host = _plain(host)
                self._peers.heard(host, port, trio.current_time())
                try:
                    inside.send(encode(Datagram(host, port, payload)), socket.MSG_NOSIGNAL)
                except OSError:  # it reads too slowly, or has ended
                    self.lost += 1

    async def _outward(self, inside: socket.socket) -> None:
        while True:
            await _readable(inside)
            for _ in range(A_TURN):
                try:
                    data = inside.recv(PACKET_MAX + 1)
                    if not data:
                        return
                    datagram = decode(data)
                except RemoteProtocolError:
                    self.refused += 1
                    continue
                except OSError:
                    break
                self._send(datagram)

    def _send(self, datagram: Datagram) -> None:
        host, port, payload = datagram
        host = _plain(host)
        if not self._peers.may_be_answered(host, port, trio.current_time()):
            address = ip_address(host)
            if not allowed(address, self._prefixes(), own=is_own(address)):
                self.refused += 1
                return
        if self._family == socket.AF_INET6 and ":" not in host:
            host = f"::ffff:{host}"
        try:
            self._outside.sendto(payload, (host, port))
        except OSError:
            self.lost += 1


def _plain(host: str) -> str:
    """An IPv4 address that came through a socket of both families, as such."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


async def _readable(sock: socket.socket) -> None:
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.wait_readable(sock)
