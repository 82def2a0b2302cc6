"""The sockets of a link's groups: how they are opened, one for each interface and family (mDHT design, section 2)."""

import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

from dhtboot.ids import Address
from dhtboot.udp import RECEIVE_BUFFER_BYTES
from mdht.link_config import GROUP6, InterfaceState

BACKLOG: Final = 64
"Connections that wait to be served, as many as are served at a time."
_IP_MULTICAST_ALL: Final = 49
_GROUP_REQUEST: Final = struct.Struct("4s4si")
"ip_mreqn of ip(7): group, local address, interface."
_GROUP_REQUEST6: Final = struct.Struct("16si")


def listen(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Sockets for connections, at the addresses of those for datagrams."""
    found: list[socket.socket] = []
    try:
        for each in sockets:
            sock = socket.socket(each.family, socket.SOCK_STREAM)
            found.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if each.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(each.getsockname())
            sock.listen(BACKLOG)
    except OSError:
        for sock in found:
            sock.close()
        raise
    return found


def send_beside(sock: socket.socket, data: bytes, to: Address | tuple[str, int, int, int]) -> None:
    """Send one datagram as by this socket, but from a port of its own.

    Raises:
        OSError: as `sendto`, or there is no socket to be had.
    """
    with socket.socket(sock.family, socket.SOCK_DGRAM) as apart:
        apart.setblocking(False)
        apart.bind((sock.getsockname()[0], 0))
        apart.sendto(data, to)


def open4(group: str, port: int, state: InterfaceState) -> socket.socket:
    """The socket of an IPv4 group on one interface."""
    sock = _shared_socket(socket.AF_INET)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)  # what other interfaces bring is not for this socket
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _request4("0.0.0.0", state))  # noqa: S104 - unused
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _request4(group, state))
        sock.bind((group, port))
    except OSError:
        sock.close()
        raise
    return sock


def open6(port: int, state: InterfaceState) -> socket.socket:
    """The socket of the IPv6 group on one interface."""
    sock = _shared_socket(socket.AF_INET6)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, state.index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _request6(state))
        sock.bind((GROUP6, port, 0, state.index))  # the scope ties it to the interface
    except OSError:
        sock.close()
        raise
    return sock


def _shared_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # And no SO_REUSEPORT: it shares nothing that this does not, and on Linux 6.18 it brings half of what one interface
    # receives to the socket of another one (measured): the kernel picks among all that are bound to the group.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return sock


def leave_and_join(sock: socket.socket, group: str, state: InterfaceState) -> None:
    """Leave a group and join it again, so that switches which snoop hear of it."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, _request4(group, state))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _request4(group, state))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _request6(state))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _request6(state))


def _request4(group: str, state: InterfaceState) -> bytes:
    # With the address, as on loopback the kernel would choose none.
    address = bytes(4) if state.ipv4 is None else state.ipv4.packed
    return _GROUP_REQUEST.pack(socket.inet_aton(group), address, state.index)


def _request6(state: InterfaceState) -> bytes:
    return _GROUP_REQUEST6.pack(socket.inet_pton(socket.AF_INET6, GROUP6), state.index)


def explain(interface: str, port: int, error: OSError) -> str:
    """Why an interface cannot be used, and what to change."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port}, where hosts of a link meet, is held by a program that does not share it; stop that one"
        )
    if error.errno in {errno.EPERM, errno.EACCES}:
        return f"interface {interface!r} may not be used for multicast; allow it, or run as another user"
    return f"interface {interface!r} cannot be used for multicast: {error.strerror or error}"
