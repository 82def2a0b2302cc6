"""Using the daemon of this network namespace by its control socket."""

import os

import trio
from trio import socket

from netserv.errors import LocalProtocolError, RemoteProtocolError, UnreachableError
from netserv.signaling.control import peer_of, socket_name
from netserv.signaling.control_messages import (
    Answer,
    Ask,
    Failed,
    GetStatus,
    Reply,
    Request,
    StatusReply,
    error_of,
    frame,
    reply_reader,
)
from netserv.signaling.status import Status


class NoDaemonError(UnreachableError):
    """None runs here, or none that this user may use."""


class ControlClient:
    """Asks a daemon.

    Args:
        name: of its control socket, `@NAME` or a path.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    async def ask(self, request: Ask) -> Answer:
        """Send a request along a path and wait for the answer.

        Raises:
            NoDaemonError: none is here.
            NetservError: as the daemon says.
        """
        reply = await self._exchange(request)
        if isinstance(reply, Answer):
            return reply
        raise self._strange(reply)

    async def status(self) -> Status:
        """How the daemon stands.

        Raises:
            NoDaemonError: none is here.
        """
        reply = await self._exchange(GetStatus())
        if isinstance(reply, StatusReply):
            return reply.status
        raise self._strange(reply)

    def _strange(self, reply: Reply) -> RemoteProtocolError:
        return RemoteProtocolError(f"the daemon at {self._name} answers something else: {type(reply).__name__}")

    async def _exchange(self, request: Request) -> Reply:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                await sock.connect(socket_name(self._name))
            except OSError as error:
                raise NoDaemonError(
                    f"no signalling daemon answers at {self._name}; start one: netserv signal daemon"
                ) from error
            _pid, uid = peer_of(sock)
            if uid not in {0, os.getuid()}:  # an abstract name belongs to whoever comes first
                raise NoDaemonError(f"the socket {self._name} is held by user {uid}, and not by root or this user")
            reply = await self._sent(trio.SocketStream(sock), request)
        if isinstance(reply, Failed):
            raise error_of(reply)
        return reply

    async def _sent(self, stream: trio.SocketStream, request: Request) -> Reply:
        reader = reply_reader()
        try:
            await stream.send_all(frame(request))
            async for data in stream:
                reply = reader.feed(bytes(data))
                if reply is not None:
                    return reply
        except trio.BrokenResourceError:
            pass
        except LocalProtocolError as error:
            raise RemoteProtocolError(f"the daemon at {self._name}: {error}") from error
        raise UnreachableError(f"the daemon at {self._name} has stopped")
