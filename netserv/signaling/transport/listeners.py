"""The TCP ports that associations come to, bound before anything is accepted: a node tells peers their numbers."""

import errno
from collections.abc import Sequence
from typing import Final

import trio

from netserv.errors import SystemRefusedError

_FREE_PORT_TRIES: Final = 16
"A port that is free in IPv4 and taken in IPv6 is rare."


async def open_listeners(port: int, host: str | None = None) -> list[trio.SocketListener]:
    """Bind a TCP port, in all families that this machine has; nothing is accepted yet.

    Args:
        port: 0 takes one that is free in all of them.
        host: numeric address; None: all.

    Raises:
        SystemRefusedError: the port cannot be had.
    """
    for last in [False] * (_FREE_PORT_TRIES - 1) + [True]:
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
            if port or len(listeners) == 1:
                return listeners
            # The kernel has given each family a port of its own; peers are told one.
            number = port_of(listeners)
            for each in listeners:
                await each.aclose()
            return await trio.open_tcp_listeners(number, host=host)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and not last:
                continue
            denied = isinstance(error, PermissionError)
            remedy = "run it as root" if denied else "end what uses it (ss -tlnp shows it), or give another port"
            raise SystemRefusedError(f"TCP port {port}: {error.strerror or error}; {remedy}") from error
    raise AssertionError("the last attempt returns or raises")


def port_of(listeners: Sequence[trio.SocketListener]) -> int:
    """The port that they listen on."""
    number: int = listeners[0].socket.getsockname()[1]
    return number
