"""Outgoing connections: the container can make none, so that it asks its node and gets a connected socket."""

import itertools
import socket
from typing import Final

import trio

from netserv.container.descriptors import close_all
from netserv.container.messages import Connect, Connected
from netserv.container.runtime.reports import Reports
from netserv.container.runtime.servers import ServerThread
from netserv.errors import UnreachableError

WAITING_MAX: Final = 64
"Connections asked for at a time, of all modules: each is a task of the node."
HOST_MAX: Final = 253
"Characters of a name (RFC 1035 section 2.3.4)."


class Connects:
    """Connections that were asked for."""

    def __init__(self, reports: Reports, thread: ServerThread) -> None:
        self._reports, self._thread = reports, thread
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        "On the server thread only."

    async def connect(self, module: int, host: str, port: int) -> trio.SocketStream:
        """Connect by TCP; on the server thread.

        Raises:
            UnreachableError: the node did not, or too many are under way.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise UnreachableError(f"more than {WAITING_MAX} connections are being made; try again later")
        if not 1 <= port <= 65_535 or not 0 < len(host) <= HOST_MAX or not host.isascii():
            raise UnreachableError(f"{host[:80]!r} port {port} is no place to connect to")
        number, waiting = next(self._numbers), _Waiting()
        self._waiting[number] = waiting
        try:
            self._reports.send(Connect(number, module, host, port))
            await waiting.done.wait()
        finally:
            del self._waiting[number]
        if waiting.socket is None:
            raise UnreachableError(f"{host} port {port}: {waiting.error}")
        waiting.socket.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(waiting.socket))

    def answered(self, message: Connected, descriptors: list[int]) -> None:
        """The node has answered; on the packet thread."""
        self._thread.call_soon(lambda: self._resolve(message, descriptors))

    def _resolve(self, message: Connected, descriptors: list[int]) -> None:
        waiting = self._waiting.get(message.number)
        if waiting is None:  # nobody waits any more
            close_all(descriptors)
            return
        waiting.error = message.error
        if descriptors:
            waiting.socket = socket.socket(fileno=descriptors[0])
        waiting.done.set()


class _Waiting:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.socket: socket.socket | None = None
        self.error = ""
