"""The door of a daemon for programs of this machine: a Unix socket, one request and one reply for each connection.

The default name is an abstract one (unix(7)), which belongs to the network namespace as the daemon does: whoever is in
there finds it, and a daemon that was killed leaves nothing behind. Such a name has no owner, so that each end asks the
kernel who the other one is.
"""

import logging
import os
import socket as stdlib_socket
import stat
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Protocol

import trio
from trio import socket

from netserv.errors import NetservError, SystemRefusedError
from netserv.signaling.control_messages import (
    Answer,
    Ask,
    Failed,
    GetStatus,
    Reply,
    Request,
    StatusReply,
    failed,
    frame,
    request_reader,
)
from netserv.signaling.status import Status

log = logging.getLogger(__name__)

DEFAULT_NAME: Final = "@netserv-signal"
LOCK_NAME: Final = "\0netserv-signal-lock"
CONNECTIONS_MAX: Final = 64
"Programs at a time: people and scripts that ask; the excess is told to come later."
REQUEST_S: Final = 10.0
"Until the request is there."
LINGER_S: Final = 1.0
"For the caller to take its reply and hang up."
_CREDENTIALS: Final = struct.Struct("3i")


class Daemon(Protocol):
    """What the socket needs of the daemon."""

    async def ask(self, request: Ask) -> Answer:
        """Send a request and wait for the answer of its path."""
        ...

    def status(self) -> Status:
        """How it stands."""
        ...


def socket_name(text: str) -> str:
    """What the kernel calls a control socket: `@NAME` is an abstract one, anything else a path."""
    return "\0" + text[1:] if text.startswith("@") else text


def peer_of(sock: socket.SocketType) -> tuple[int, int]:
    """Process and user at the other end of a Unix socket, as the kernel says."""
    pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


@contextmanager
def only_daemon() -> Iterator[None]:
    """Be the one daemon of this network namespace: two would catch each other's packets.

    Raises:
        SystemRefusedError: there is another one.
    """
    with stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(LOCK_NAME)
        except OSError as error:
            raise SystemRefusedError(
                "a signalling daemon runs in this network namespace already; see: netserv signal status"
            ) from error
        yield


@asynccontextmanager
async def control_socket(daemon: Daemon, name: str) -> AsyncIterator[None]:
    """Answer requests while the context lasts.

    Args:
        daemon: that answers.
        name: `@NAME` or a path.

    Raises:
        SystemRefusedError: the socket cannot be made.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            await _bind(sock, name)
        except OSError as error:
            raise SystemRefusedError(
                f"control socket {name}: {error.strerror or error}; give another one with --control"
            ) from error
        server = _Server(daemon)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, server.handle, [trio.SocketListener(sock)])
                yield
                nursery.cancel_scope.cancel()
        finally:
            if not name.startswith("@"):
                with suppress(OSError):
                    os.unlink(name)


async def _bind(sock: socket.SocketType, name: str) -> None:
    if not name.startswith("@"):
        await _remove_stale(name)
    await sock.bind(socket_name(name))
    if not name.startswith("@"):
        os.chmod(name, 0o600)
    sock.listen(CONNECTIONS_MAX)


async def _remove_stale(path: str) -> None:
    """Remove a socket that was left by a daemon that was killed, and nothing else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # `bind` complains
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            await sock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


class _Server:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._connections = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """Answer one connection; whatever its other end does stays here."""
        self._connections += 1
        try:
            async with stream:
                reply = await self._reply(stream)
                if reply is not None:
                    await stream.send_all(frame(reply))
                    await _linger(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a control connection ended early")
        finally:
            self._connections -= 1

    async def _reply(self, stream: trio.SocketStream) -> Reply | None:
        pid, uid = peer_of(stream.socket)
        if uid not in {0, os.getuid()}:
            log.info("process %d of user %d may not use the control socket", pid, uid)
            return Failed(kind="local", text=f"this daemon serves root and user {os.getuid()}, not user {uid}")
        if self._connections > CONNECTIONS_MAX:
            return Failed(kind="other", text=f"{CONNECTIONS_MAX} programs are connected; try again later")
        try:
            match await _request(stream):
                case Ask() as ask:
                    return await self._asked(stream, ask)
                case GetStatus():
                    return StatusReply(self._daemon.status())
        except NetservError as error:
            return failed(error)
        return None

    async def _asked(self, stream: trio.SocketStream, request: Ask) -> Reply | None:
        """Ask for as long as the caller stays; None: it has gone."""
        reply: Reply | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
            try:
                reply = await self._daemon.ask(request)
            except NetservError as error:
                reply = failed(error)
            nursery.cancel_scope.cancel()
        return reply


async def _request(stream: trio.SocketStream) -> Request | None:
    """The request; None where the other end sends none."""
    reader = request_reader()
    with trio.move_on_after(REQUEST_S):
        async for data in stream:
            request = reader.feed(bytes(data))
            if request is not None:
                return request
    return None


async def _linger(stream: trio.SocketStream) -> None:
    """Read what is left of a request that was refused early: closing before would reset the connection (unix(7))."""
    with trio.move_on_after(LINGER_S):
        async for _data in stream:
            pass


async def _cancel_at_end(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        async for _data in stream:
            pass  # it has said what it wants
    scope.cancel()
