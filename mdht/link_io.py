"""The sockets of a link; the only file that has them (mDHT design, section 2).

Per interface and family there is one socket for the group, bound to the group's address, and per host one port for
unicast. The group has a port of its own, 27184, because `mdht run` binds all addresses at 27183, which the design names
for the group. On Linux the two cannot both be bound; if they could (SO_REUSEADDR on either) the node would get every
datagram of the group too, and with SO_REUSEPORT a unicast datagram would reach one or the other by chance.

Several programs of one machine share the group's port by SO_REUSEADDR, and each gets every datagram of the group.

Longer than most modules: the sockets and the interfaces that they follow; what needs no link is in `link_sockets`.
"""

import errno
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from dhtboot.errors import LocalProtocolError as SocketError
from dhtboot.ids import Address
from dhtboot.udp import SLICE_MAX, open_sockets
from mdht.errors import LocalProtocolError
from mdht.link_config import GROUP6, InterfaceState, LinkConfig, group4, parsed
from mdht.link_sockets import explain, leave_and_join, listen, open4, open6, send_beside
from mdht.netifaces_io import default_interface, host_addresses, interface_addresses, is_up

log = logging.getLogger(__name__)

ADDRESSES_MAX: Final = 4
"Told of one host: more do not fit its messages."
PORTS_TRIED_MAX: Final = 8
"Of numbers that the system gives for datagrams, and that are taken for connections."
SCOPES_MAX: Final = 2048
"Link-local addresses whose interface is remembered: two for each of 1,024 members."
_READ_BYTES: Final = 2048
"More than any datagram of the protocol, so that a larger one is recognised and refused."
_FAMILY_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


class Datagram(msgspec.Struct, frozen=True):
    """One datagram from the link."""

    data: bytes
    source: Address
    multicast: bool
    on_link: bool = True
    "Whether it comes from an address of the link; what came to the group does."


def interface_state(name: str) -> InterfaceState | None:
    """The state of an interface; None while it is missing, down or without address."""
    try:
        addresses = interface_addresses(name)
        index = socket.if_nametoindex(name)
    except (LocalProtocolError, OSError):
        return None
    return InterfaceState(index=index, addresses=addresses) if addresses and is_up(name) else None


class UdpPort:
    """One socket of a link, to be read by one task.

    Args:
        link: to which it belongs.
        sock: bound, not blocking.
        interface: the one whose group it has joined; None for unicast.
    """

    def __init__(self, link: "UdpLink", sock: socket.socket, interface: str | None) -> None:
        self.sock = sock
        self._link = link
        self._interface = interface

    async def receive(self) -> list[Datagram]:
        """Wait for datagrams, and take what has arrived; what comes to the group from elsewhere is dropped.

        Raises:
            trio.ClosedResourceError: the interface is gone.
        """
        while True:
            if self.sock.fileno() == -1:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self.sock)
            batch = []
            for _ in range(SLICE_MAX):
                try:
                    data, source = self.sock.recvfrom(_READ_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:  # an earlier datagram's ICMP error, or the interface went down
                    self._link.count("receive_errors", error)
                    break
                address = self._link.admit(source, self._interface)
                if address is not None:
                    grouped = self._interface is not None
                    batch.append(Datagram(data, address, grouped, grouped or self._link.reaches(address)))
            if batch:
                return batch

    def close(self) -> None:
        """Wake the reader, and close."""
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()


class _Joined:
    """An interface whose groups are joined."""

    def __init__(self, state: InterfaceState, ports: list[UdpPort]) -> None:
        self.state = state
        self.ports = ports


class UdpLink:
    """All sockets of one host on its link; made by `open_link`.

    Attributes:
        counters: of what was dropped, and of errors.
        listeners: for connections, at the number of the port for unicast.
        look_s: seconds between two looks at the interfaces.
    """

    def __init__(
        self, config: LinkConfig, sockets: list[socket.socket], listeners: Iterable[trio.SocketListener] = ()
    ) -> None:
        self.listeners = list(listeners)
        self.counters: Counter[str] = Counter()
        self.look_s = config.look_s
        self._config = config
        self._group4 = group4(config.overlay)
        self._unicast = {sock.family: UdpPort(self, sock, None) for sock in sockets}
        self._joined: dict[str, _Joined] = {}
        self._addresses: tuple[Address, ...] = ()
        self._failing: dict[str, str] = {}
        self._scopes: dict[str, int] = {}
        self._rejoin_at = trio.current_time() + config.rejoin_s

    # ---- interfaces ----------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others on the link reach this host: link-local addresses last, as only some hosts can name them."""
        return self._addresses  # each datagram may ask; the next look finds what has changed

    def _look_at_addresses(self) -> None:
        port = next(iter(self._unicast.values())).sock.getsockname()[1]
        if self._config.alone:
            found = [ipaddress.ip_address(self._config.host)] if self._config.host else host_addresses()
        else:
            found = [each.ip for joined in self._joined.values() for each in joined.state.addresses]
        found.sort(key=lambda host: host.version == 6 and host.is_link_local)
        self._addresses = tuple([(str(host), port) for host in found[:ADDRESSES_MAX]])

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Those in use now."""
        return tuple(self._joined)

    @property
    def ports(self) -> list[UdpPort]:
        """All sockets, to be read."""
        return [*self._unicast.values(), *[port for joined in self._joined.values() for port in joined.ports]]

    def open(self) -> None:
        """Join the groups for the first time; `open_link` does it.

        Raises:
            LocalProtocolError: on no interface that was possible; the text says what to change.
        """
        if self._config.alone:
            self._look_at_addresses()
            return
        names = self._config.interfaces or (default_interface(),)
        self.refresh(trio.current_time())
        if self._joined:
            return
        for name in names:
            interface_addresses(name)  # refuses an unknown one
        raise LocalProtocolError(
            self._failing.get(names[0])
            or f"interface {names[0]!r} is down or has no address; try: ip link set {names[0]} up"
        )

    def refresh(self, now: float) -> list[UdpPort]:
        """Look at the interfaces again, and join the groups anew when it is time; returns what is to be read too."""
        fresh: list[UdpPort] = []
        wanted = self._wanted()
        for name in [name for name in self._joined if name not in wanted]:
            gone = interface_state(name) is None
            self._part(name, "is down, or without address" if gone else "is not that of the default route any more")
        for name in wanted:
            state, joined = interface_state(name), self._joined.get(name)
            if joined is not None and (state is None or _sockets_of(state) != _sockets_of(joined.state)):
                self._part(name, "is down, or without address" if state is None else "has changed")
                joined = None
            if joined is not None and state is not None:
                joined.state = state
            elif state is not None:
                fresh += self._join(name, state)
        self._look_at_addresses()
        if now >= self._rejoin_at:
            self._rejoin_at = now + self._config.rejoin_s
            self._rejoin()
        return fresh

    async def connect(self, to: Address) -> trio.SocketStream:
        """Open a connection to a host of the link.

        Raises:
            OSError: it does not answer there, or is not of the link.
        """
        host = ipaddress.ip_address(to[0])
        if not self.reaches(to):
            raise OSError(errno.EHOSTUNREACH, "not on the link")
        sock = trio.socket.socket(socket.AF_INET if host.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            scoped = host.version == 6 and host.is_link_local
            await sock.connect((*to, 0, self._scope(to[0])) if scoped else to)
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    def close(self) -> None:
        """Close all sockets; this leaves the groups."""
        for name in list(self._joined):
            self._part(name, "")
        for port in self._unicast.values():
            port.close()

    def _wanted(self) -> tuple[str, ...]:
        if self._config.interfaces or self._config.alone:
            return self._config.interfaces
        try:
            return (default_interface(),)
        except LocalProtocolError:  # no link now; one may come
            return ()

    def _join(self, name: str, state: InterfaceState) -> list[UdpPort]:
        ports: list[UdpPort] = []
        try:
            if state.ipv4 is not None:
                ports.append(UdpPort(self, open4(self._group4, self._config.group_port, state), name))
            if state.speaks_ipv6 and socket.AF_INET6 in self._unicast:
                ports.append(UdpPort(self, open6(self._config.group_port, state), name))
        except OSError as error:
            for port in ports:
                port.close()
            self._complain(name, explain(name, self._config.group_port, error))
            return []
        if ports:
            self._failing.pop(name, None)
            self._joined[name] = _Joined(state, ports)
            log.info("on interface %s by %s", name, " and ".join(_FAMILY_NAMES[port.sock.family] for port in ports))
        return ports

    def _part(self, name: str, why: str) -> None:
        for port in self._joined.pop(name).ports:
            port.close()
        if why:
            log.warning("interface %s %s", name, why)

    def _complain(self, name: str, why: str) -> None:
        """Once for each reason, not once for each look."""
        if self._failing.get(name) != why:
            log.warning("%s", why)
        self._failing[name] = why

    def _rejoin(self) -> None:
        for name, joined in list(self._joined.items()):
            try:
                for port in joined.ports:
                    leave_and_join(port.sock, self._group4, joined.state)
            except OSError as error:
                self.count("rejoin_errors", error)
                self._part(name, "could not join the group again")  # the next look opens it anew

    # ---- datagrams -----------------------------------------------------------------------------------------------

    def admit(self, source: tuple[str, int] | tuple[str, int, int, int], interface: str | None) -> Address | None:
        """The address that a datagram comes from; None, counted, if it came to the group from elsewhere."""
        text = source[0].partition("%")[0]
        host = parsed(text)
        if interface is not None and not self._joined[interface].state.on_link(host):
            self.counters["off_link"] += 1
            log.debug("dropped a datagram from %s, which is no address of the link", text)
            return None
        if len(source) == 4 and host.is_link_local:
            self._scopes.pop(text, None)
            if len(self._scopes) >= SCOPES_MAX:
                del self._scopes[next(iter(self._scopes))]
            self._scopes[text] = source[3]
        return text, source[1]

    def multicast(self, data: bytes) -> None:
        """Send to the group, by every family on every interface."""
        port = self._config.group_port
        for joined in self._joined.values():
            for each in joined.ports:
                if each.sock.family == socket.AF_INET:
                    self._send(each.sock, data, (self._group4, port))
                else:
                    self._send(each.sock, data, (GROUP6, port, 0, joined.state.index))

    def reaches(self, address: Address) -> bool:
        """Whether an address is one of the link; a host of several links names others too."""
        host = parsed(address[0])
        return any(joined.state.on_link(host) for joined in self._joined.values())

    def unicast(self, data: bytes, to: Address) -> None:
        """Send to one host of the link; another address could be a victim's that somebody names as his own."""
        host = parsed(to[0])
        port = self._unicast.get(socket.AF_INET if host.version == 4 else socket.AF_INET6)
        if port is None:
            self.counters["no_family"] += 1
        elif not self.reaches(to):
            self.counters["off_link_to"] += 1
        elif host.version == 6 and host.is_link_local:
            self._send(port.sock, data, (*to, 0, self._scope(to[0])))
        else:
            self._send(port.sock, data, to)

    def send_away(self, data: bytes, to: Address, *, apart: bool = False) -> None:
        """Send to a host wherever it is: of another subnet, or the bootstrap server; perhaps from a port apart."""
        version = parsed(to[0]).version
        port = self._unicast.get(socket.AF_INET if version == 4 else socket.AF_INET6)
        if port is None:
            self.counters["no_family"] += 1
        else:
            self._send(port.sock, data, to, apart=apart)

    def _scope(self, host: str) -> int:
        return self._scopes.get(host) or next(iter(self._joined.values())).state.index

    def _send(
        self, sock: socket.socket, data: bytes, to: Address | tuple[str, int, int, int], *, apart: bool = False
    ) -> None:
        try:
            (send_beside if apart else socket.socket.sendto)(sock, data, to)
        except BlockingIOError:
            self.counters["send_buffer_full"] += 1  # as good as lost on the way: retries are the core's business
        except OSError as error:
            self.count("send_errors", error)
        else:
            self.counters["sent"] += 1

    def count(self, counter: str, error: OSError) -> None:
        """Count an error of the system that costs one datagram."""
        self.counters[counter] += 1
        log.debug("%s: %s", counter, errno.errorcode.get(error.errno or 0, error))


def _sockets_of(state: InterfaceState) -> tuple[object, ...]:
    """What sockets are made from; with another value they must be opened anew."""
    return state.index, state.ipv4, state.speaks_ipv6


@asynccontextmanager
async def open_link(config: LinkConfig) -> AsyncIterator[UdpLink]:
    """Open the sockets of this host on its link.

    Raises:
        LocalProtocolError: there is no link, or it cannot be used; the text says what to change.
    """
    try:
        async with _open_ports(config) as (sockets, listeners):
            link = UdpLink(config, sockets, listeners)
            try:
                link.open()
                yield link
            finally:
                link.close()
    except SocketError as error:
        raise LocalProtocolError(str(error)) from error


@asynccontextmanager
async def _open_ports(config: LinkConfig) -> AsyncIterator[tuple[list[socket.socket], list[trio.SocketListener]]]:
    """Open one number for datagrams and for connections."""
    port = config.port
    for last in (*[False] * (PORTS_TRIED_MAX - 1), True):
        async with open_sockets(config.host, port, fall_back=config.fall_back) as sockets:
            try:
                listeners = listen(sockets)
            except OSError as error:
                number = sockets[0].getsockname()[1]
                if last or (config.port and not config.fall_back):
                    why = f"cannot listen on TCP port {number}: {error.strerror}"
                    raise LocalProtocolError(f"{why}; stop what uses it, or pass another --port") from error
                port = 0
                continue
            try:
                yield sockets, [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in listeners]
            finally:
                for sock in listeners:
                    sock.close()
            return
