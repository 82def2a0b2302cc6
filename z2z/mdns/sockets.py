"""UDP sockets of multicast DNS on one interface, beside other responders of the machine (RFC 6762 sections 11, 15)."""

import errno
import fcntl
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final

import msgspec

from mdht.errors import LocalProtocolError
from mdht.netifaces_io import interface_addresses
from z2z.errors import LinkError
from z2z.mdns.messages import MDNS_PORT

GROUP4: Final = "224.0.0.251"
GROUP6: Final = "ff02::fb"
RECEIVE_BUFFER_BYTES: Final = 4 << 20
"A burst of 1,000 services fits; the kernel's usual 208 KiB lost 6 % of them (measured)."
DATAGRAM_MAX: Final = 9_000
"The largest message of multicast DNS (RFC 6762 section 17); a longer one arrives cut and is refused by the decoder."
DRAIN_MAX: Final = 256
"Datagrams read in one go, so that timers get their turn under a flood."
ECHOES_MAX: Final = 512
"Own datagrams whose looped copy has not come yet; loopback is immediate, so a full table means lost copies."

_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFADDR: Final = 0x8915
_IFF_UP_AND_RUNNING: Final = 0x41
_IFA_F_TENTATIVE: Final = 0x40
_SO_RCVBUFFORCE: Final = 33
GONE_ERRORS: Final = frozenset(
    {errno.ENETDOWN, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENXIO, errno.EHOSTUNREACH}
)
"The interface is down, gone or without address; it may come back."


class InterfaceState(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of an interface; another value means that the sockets must be opened anew."""

    index: int
    ipv4: IPv4Address | None
    "Its first IPv4 address."
    ipv6: IPv6Address | None
    "Its link-local IPv6 address, once it may be used; `lo` has none, and no route for IPv6 groups."
    changes: int
    "How often its cable was pulled or plugged in: also between two looks (RFC 6762 section 8: a link change)."


class Datagram(msgspec.Struct, frozen=True):
    """One datagram as it arrived."""

    data: bytes
    source: str
    port: int


def interface_state(interface: str, *, ipv4: bool = True, ipv6: bool = True) -> InterfaceState | None:
    """Return the state of an interface, or None while it is missing, down or without a usable address."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return None
    request = struct.pack("16s24x", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            (flags,) = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
            if flags & _IFF_UP_AND_RUNNING != _IFF_UP_AND_RUNNING:
                return None
        except OSError:
            return None
        address4 = None
        with suppress(OSError):
            address4 = IPv4Address(fcntl.ioctl(sock, _SIOCGIFADDR, request)[20:24]) if ipv4 else None
    address6 = _link_local_address(interface) if ipv6 else None
    if address4 is None and address6 is None:
        return None
    return InterfaceState(index=index, ipv4=address4, ipv6=address6, changes=_carrier_changes(interface))


def _carrier_changes(interface: str) -> int:
    try:
        return int(Path(f"/sys/class/net/{interface}/carrier_changes").read_text())
    except (OSError, ValueError):  # no sysfs: then only what lasts for a look is noticed
        return 0


def _link_local_address(interface: str) -> IPv6Address | None:
    try:
        lines = Path("/proc/self/net/if_inet6").read_text().splitlines()
    except OSError:  # a kernel without IPv6
        return None
    for line in lines:
        digits, _index, _length, _scope, flags, name = line.split()
        address = IPv6Address(bytes.fromhex(digits))
        if name == interface and address.is_link_local and not int(flags, 16) & _IFA_F_TENTATIVE:
            return address
    return None


class LinkSockets:
    """One socket per address family, bound to the group and to one interface.

    Bound to the group's address, they get multicast datagrams only: unicast ones to port 5353 stay with the machine's
    own responder, and what arrives was sent on this link (RFC 6762 section 11), as routers do not forward these groups.

    Args:
        interface: name of the interface.
        state: its state now.

    Raises:
        LinkError: the interface may not be used.
        OSError: the interface went away meanwhile, one of `GONE_ERRORS`.
    """

    def __init__(self, interface: str, state: InterfaceState) -> None:
        self.interface = interface
        self.state = state
        self.sockets: list[socket.socket] = []
        self.sent = self.unsent = 0
        "Datagrams that went out, and those that the kernel did not take."
        self._networks = _networks(interface)
        self._echoes: dict[tuple[int, bytes], int] = {}
        self._echo_order: deque[tuple[int, bytes]] = deque()
        try:
            if state.ipv4 is not None:
                self.sockets.append(_open(interface, socket.AF_INET, state.index))
            if state.ipv6 is not None:
                self.sockets.append(_open(interface, socket.AF_INET6, state.index))
        except OSError as error:
            self.close()
            _explain(interface, error)
            raise

    def close(self) -> None:
        """Close the sockets; leaves the groups."""
        for sock in self.sockets:
            sock.close()

    def multicast(self, data: bytes) -> None:
        """Send to the group by every family.

        Raises:
            OSError: the interface is gone by every family, one of `GONE_ERRORS`.
        """
        failures = []
        for sock in self.sockets:
            group = (GROUP4, MDNS_PORT) if sock.family == socket.AF_INET else (GROUP6, MDNS_PORT, 0, self.state.index)
            try:
                self._send(sock, data, group)
            except OSError as error:
                failures.append(error)
                continue
            self._expect_echo((sock.family, data))
        if failures and len(failures) == len(self.sockets):
            raise failures[0]

    def look(self) -> None:
        """Look again at which addresses are on the link: those of the interface may have changed."""
        self._networks = _networks(self.interface)

    def is_on_link(self, source: str) -> bool:
        """Tell whether an address is one of the link (RFC 6762 section 11); answers to another one would be ignored."""
        address = ip_address(source.partition("%")[0])
        return any(address in network for network in self._networks)

    def unicast(self, data: bytes, to: str, port: int) -> None:
        """Send to one address of the link; another one could be a victim whose address somebody borrowed (11).

        Raises:
            OSError: one of `GONE_ERRORS`.
        """
        if not self.is_on_link(to):
            self.unsent += 1
            return
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        for sock in self.sockets:
            if sock.family == family:
                self._send(sock, data, (to.partition("%")[0], port, 0, self.state.index) if ":" in to else (to, port))

    def _send(self, sock: socket.socket, data: bytes, address: tuple[str, int] | tuple[str, int, int, int]) -> None:
        try:
            sock.sendto(data, address)
            self.sent += 1
        except OSError as error:
            self.unsent += 1
            if error.errno in GONE_ERRORS:
                raise
            # Anything else (a full buffer, a firewall's EPERM) costs this datagram; the protocol repeats itself.

    def _expect_echo(self, echo: tuple[int, bytes]) -> None:
        self._echoes[echo] = self._echoes.get(echo, 0) + 1
        self._echo_order.append(echo)
        if len(self._echo_order) > ECHOES_MAX:
            self._forget_echo(self._echo_order.popleft())

    def _forget_echo(self, echo: tuple[int, bytes]) -> bool:
        count = self._echoes.get(echo, 0)
        if count > 1:
            self._echoes[echo] = count - 1
        else:
            self._echoes.pop(echo, None)
        return count > 0

    def drain(self, sock: socket.socket) -> Iterator[Datagram]:
        """Yield what has arrived at one socket, without the looped copies of what this object sent."""
        for _ in range(DRAIN_MAX):
            try:
                data, address = sock.recvfrom(DATAGRAM_MAX)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # a queued error of an earlier send; the next read goes on
                continue
            if not self._forget_echo((sock.family, data)):
                yield Datagram(data, address[0], address[1])


def _networks(interface: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [address.network for address in interface_addresses(interface)]
    except LocalProtocolError:  # it has just gone: opening the sockets will say so
        return []


def _open(interface: str, family: socket.AddressFamily, index: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        with suppress(PermissionError):  # beyond net.core.rmem_max only for the administrator
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET:
            member = struct.pack("4s4si", socket.inet_aton(GROUP4), bytes(4), index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sock.bind((GROUP4, MDNS_PORT))
        else:
            member = struct.pack("16si", socket.inet_pton(socket.AF_INET6, GROUP6), index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
            sock.bind((GROUP6, MDNS_PORT, 0, index))
    except OSError:
        sock.close()
        raise
    return sock


def _explain(interface: str, error: OSError) -> None:
    if error.errno in {errno.EPERM, errno.EACCES}:
        raise LinkError(
            f"interface {interface!r} may not be used: run as root or with the capability CAP_NET_RAW"
        ) from error
    if error.errno == errno.EADDRINUSE:
        raise LinkError(
            f"UDP port {MDNS_PORT} on {interface!r} is held by a program that does not share it (SO_REUSEADDR); stop it"
        ) from error
