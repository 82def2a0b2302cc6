"""The GIST port of this node: its own datagrams in both directions, Q-mode along a flow, and ICMP errors about them."""

import errno
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import trio

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.gist.addresses import GIST_PORT, Endpoint, PackedAddress
from netserv.signaling.gist.effects import Caught, SendAlongFlow, SendDatagram
from netserv.signaling.transport import ancillary, icmp, packet
from netserv.signaling.transport.inbox import Inbox
from netserv.signaling.transport.raw import RawSender

log = logging.getLogger(__name__)

DATAGRAM_MAX: Final = 65_535
UNREACHABLE_MAX: Final = 256
"ICMP errors that wait to be looked at; Linux hosts send about one a second each, so more is a flood."
_FREE_PORT_TRIES: Final = 16
"A port that is free in IPv4 and taken in IPv6 is rare; the kernel offers another one each time."
_PENDING: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO, errno.EMSGSIZE})
"What an ICMP error about an earlier datagram makes of the next call (ip(7))."


class UdpPort:
    """The sockets of one port, IPv4 and, where this machine has it, IPv6.

    Used in a `with` statement. Sending never waits: what the kernel does not take is lost, and counted.

    Args:
        port: 270 on a node that is to be found on paths; 0 for any free one, which needs no privileges.
        flow_source: whether messages with the flow's source (S=0) will be sent, which needs root.

    Raises:
        SystemRefusedError: the port is taken, or this process may not.
    """

    def __init__(self, port: int = GIST_PORT, *, flow_source: bool = False) -> None:
        self.counters: Counter[str] = Counter()
        self._raw: RawSender | None = None
        self._overruns: dict[int, int] = {}
        with ExitStack() as opened:
            self._sockets = _open(port, opened)
            if flow_source:
                self._raw = RawSender.open()
                opened.callback(self._raw.close)
            self.port: int = self._sockets[4].getsockname()[1]
            self.transparent = all(ancillary.make_transparent(sock) for sock in self._sockets.values())
            "Whether an interceptor can see by it that this node lives."
            self._inbox: Inbox[Caught] = Inbox(list(self._sockets.values()), self._read, self._failed)
            opened.pop_all()
        self._errors_in, self._errors = trio.open_memory_channel[icmp.IcmpError](UNREACHABLE_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets; who waits is woken by `trio.ClosedResourceError`."""
        self._inbox.close()
        self._errors_in.close()
        for sock in self._sockets.values():
            sock.close()
        if self._raw is not None:
            self._raw.close()

    @property
    def families(self) -> tuple[int, ...]:
        """IP versions that it has: 4, and 6 where the machine has it."""
        return tuple(4 if size == 4 else 6 for size in self._sockets)

    async def ready(self) -> None:
        """Wait until a datagram has come to this node itself; what has come is to be taken at once, all of it."""
        await self._inbox.ready()

    def take(self) -> Caught | None:
        """One of those that have come; None behind the last."""
        return self._inbox.take()

    def errors(self) -> AsyncIterator[icmp.IcmpError]:
        """All ICMP errors about what was sent, as `ready` comes across them."""
        return self._errors

    def unreachables(self) -> AsyncIterator[tuple[PackedAddress, bytes]]:
        """Of these errors the destinations that say `port unreachable`, each with the payload that it quotes."""
        return _Unreachables(self._errors)

    def send_datagram(self, message: SendDatagram) -> bool:
        """Send to a peer; False, and a counter, where the kernel does not take it.

        Raises:
            LocalProtocolError: the source port is not the one of this node.
        """
        if message.source_port != self.port:
            raise LocalProtocolError(f"source port {message.source_port} of a message: this node has {self.port}")
        say = ancillary.say4 if len(message.to[0]) == 4 else ancillary.say6
        return self._send(message.payload, message.to, say(ttl=message.ip_ttl))

    def send_along_flow(self, message: SendAlongFlow) -> bool:
        """Send a Query, or other Q-mode message, along its flow; False, and a counter, where the kernel refuses.

        With this node's own source it leaves by the own socket, so that ICMP errors come back to its error queue.

        Raises:
            SystemRefusedError: the flow's source is wanted, and this process may not send with a foreign source.
        """
        to = (message.destination, GIST_PORT)
        tos = message.dscp << 2
        four = len(message.destination) == 4
        alert = b"" if not message.router_alert else packet.ROUTER_ALERT4 if four else packet.ROUTER_ALERT6
        if message.source is None:
            if message.source_port != self.port:
                raise LocalProtocolError(f"source port {message.source_port} of a message: this node has {self.port}")
            say = ancillary.say4 if four else ancillary.say6
            return self._send(message.payload, to, say(ttl=message.ip_ttl, tos=tos, options=alert))
        if len(message.source) != len(message.destination):
            raise LocalProtocolError("source and destination of a flow are of different IP versions")
        if self._raw is None:
            self._raw = RawSender.open()
        source = (message.source, message.source_port)
        try:
            whole = packet.build(source, to, message.payload, ttl=message.ip_ttl, tos=tos, options=alert)
        except packet.PacketError as error:
            self.counters["too_large"] += 1
            log.debug("a message was not sent: %s", error)
            return False
        sent = self._raw.send(whole, message.source, message.destination)
        self.counters["sent" if sent else "unsendable"] += 1
        return sent

    def _send(self, payload: bytes, to: Endpoint, beside: list[tuple[int, int, bytes]]) -> bool:
        sock = self._sockets.get(len(to[0]))
        if sock is None:
            self.counters["no_ipv6"] += 1
            return False
        address = (socket.inet_ntop(ancillary.FAMILIES[len(to[0])], to[0]), to[1])
        # A pending ICMP error fails one call that has nothing to do with it; so after emptying the queue once more.
        for last in (False, True):
            try:
                sock.sendmsg([payload], beside, 0, address)
            except BlockingIOError:
                self.counters["send_buffer_full"] += 1
                return False
            except OSError as error:
                if not last and error.errno in _PENDING:
                    self._failed(sock, error)
                    continue
                if error.errno == errno.EPERM and len(beside) > 1:
                    raise SystemRefusedError(
                        "the Router Alert option needs the capability CAP_NET_RAW: run as root, or switch it off"
                    ) from error
                self.counters["too_large" if error.errno == errno.EMSGSIZE else "unsendable"] += 1
                log.debug("a datagram of %d bytes to %s was not sent: %s", len(payload), address[0], error)
                if error.errno == errno.EMSGSIZE:
                    icmp.drain(sock)  # it also stands in the error queue
                return False
            self.counters["sent"] += 1
            return True
        return False

    def _read(self, sock: socket.socket) -> Caught | None:
        payload, told, _, source = sock.recvmsg(DATAGRAM_MAX, ancillary.ANCILLARY_BYTES)
        beside, family = ancillary.read(told), ancillary.family_of(source)
        if beside.overrun:
            self._overruns[family] = beside.overrun
            self.counters["overrun"] = sum(self._overruns.values())
        self.counters["received"] += 1
        return Caught(
            payload=payload,
            source=(ancillary.packed_source(family, source[0]), source[1]),
            destination=(beside.destination, self.port),
            in_transit=False,
            ip_ttl=beside.ttl,
            dscp=beside.tos >> 2,
            router_alert=bool(beside.options)
            and packet.has_router_alert(beside.options, version=4 if family == socket.AF_INET else 6),
            interface=beside.interface,
        )

    def _failed(self, sock: socket.socket, error: OSError | None) -> None:
        for found in icmp.drain(sock):
            self.counters["port_unreachable" if found.port_unreachable else "other_errors"] += 1
            try:
                self._errors_in.send_nowait(found)
            except trio.WouldBlock:
                self.counters["errors_lost"] += 1
        if error is not None:
            log.debug("an error of the GIST port: %s", error)


class _Unreachables(AsyncIterator[tuple[PackedAddress, bytes]]):
    """Not a generator, which would have to be closed by whoever breaks out of its loop."""

    def __init__(self, errors: AsyncIterator[icmp.IcmpError]) -> None:
        self._errors = errors

    async def __anext__(self) -> tuple[PackedAddress, bytes]:
        while True:
            error = await anext(self._errors)
            if error.port_unreachable:
                return error.destination[0], error.quoted


def _open(port: int, opened: ExitStack) -> dict[int, socket.socket]:
    """Bind both families to the same port; by the size of an address."""
    for last in [False] * (_FREE_PORT_TRIES - 1) + [True]:
        with ExitStack() as attempt:
            four = attempt.enter_context(_bound(socket.AF_INET, port))
            try:
                six = attempt.enter_context(_bound(socket.AF_INET6, four.getsockname()[1]))
            except OSError as error:
                if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # no IPv6 here
                    opened.push(attempt.pop_all())
                    return {4: four}
                if port == 0 and error.errno == errno.EADDRINUSE and not last:
                    continue
                raise _refused(port, error) from error
            opened.push(attempt.pop_all())
            return {4: four, 16: six}
    raise AssertionError("the last attempt returns or raises")


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        (ancillary.ask4 if family == socket.AF_INET else ancillary.ask6)(sock, original_port=False)
        ancillary.enlarge(sock)
        ancillary.dont_fragment(sock)
        ancillary.hear_errors(sock)
        sock.bind(("", port))
    except OSError as error:
        sock.close()
        if family == socket.AF_INET:
            raise _refused(port, error) from error
        raise
    return sock


def _refused(port: int, error: OSError) -> SystemRefusedError:
    match error.errno:
        case errno.EADDRINUSE:
            return SystemRefusedError(f"UDP port {port} is held by another program: stop that one (ss -ulpn shows it)")
        case errno.EACCES | errno.EPERM:
            return SystemRefusedError(
                f"UDP port {port} needs root or the capability CAP_NET_BIND_SERVICE; any free port does not"
            )
        case _:
            return SystemRefusedError(f"UDP port {port} cannot be opened: {error.strerror}")
