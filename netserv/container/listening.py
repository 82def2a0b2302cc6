"""Listening sockets of modules: the node binds, a container only accepts."""

import socket
from collections.abc import Sequence

from netserv.container.frames import DESCRIPTORS_MAX
from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.modules.manifest import PortWish

BACKLOG = 128
"Connections that wait while a module is busy, or its container is started again."


def listen(ports: Sequence[PortWish]) -> list[socket.socket]:
    """A socket for each port, on all addresses of both families where there are both.

    Raises:
        LocalProtocolError: no such port.
        SystemRefusedError: somebody has it already.
    """
    if len(ports) > DESCRIPTORS_MAX or any(not 1 <= port.port <= 65_535 for port in ports):
        raise LocalProtocolError(f"ports are 1 to 65535, at most {DESCRIPTORS_MAX} of one module")
    opened: list[socket.socket] = []
    try:
        for port in ports:
            opened.append(_listen(port))
    except OSError as error:
        for sock in opened:
            sock.close()
        raise SystemRefusedError(f"port {port.port}/{port.proto}: {error.strerror}") from error
    return opened


def _listen(port: PortWish) -> socket.socket:
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if port.proto == "tcp" else socket.SOCK_DGRAM)
    try:
        if port.proto == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", port.port))
        if port.proto == "tcp":
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def listens(sock: socket.socket) -> bool:
    """Whether a socket still listens: a container may have shut it down."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError:
        return False
