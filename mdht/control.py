"""The door of a running node for programs of the same user: JSON lines over a Unix socket in the state directory.

One request per connection: a line goes in, lines come out until `end` or `error`. A `watch` lasts until its reader
hangs up. Bytes travel as base64 (msgspec's JSON).
"""

import hashlib
import logging
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import trio

from mdht.control_messages import (
    ChangeLine,
    EndLine,
    ErrorLine,
    Explain,
    ExplanationLine,
    FoundLine,
    Get,
    GetStatus,
    Put,
    ReceiptLine,
    Remove,
    Reply,
    Request,
    StatusLine,
    Watch,
)
from mdht.errors import LocalProtocolError, MdhtError, MissingChunkError, UnreachableError
from mdht.results import Change, Explanation, Found, Receipt, Status

log = logging.getLogger(__name__)

LINE_MAX: Final = 65_536
"Bytes of a line; the largest holds a value of 16 KiB as base64, and its names."
CONNECTIONS_MAX: Final = 256
"Of programs of one user at a time, watchers included: a console alone watches 32 keys and more."
REQUEST_S: Final = 10.0
"Seconds that a connection may stay without its request."
_PATH_MAX: Final = 107
"unix(7): 108 bytes with the final zero."

ReplyT = TypeVar("ReplyT", bound=Reply)

_REQUESTS: Final = msgspec.json.Decoder(Request)
_REPLIES: Final = msgspec.json.Decoder(Reply)
_KINDS: Final[Mapping[str, type[MdhtError]]] = {
    "local": LocalProtocolError,
    "unreachable": UnreachableError,
    "missing_chunk": MissingChunkError,
}


class Records(Protocol):
    """What programs do with records; `mdht.api.Mdht` and `ControlClient` both offer it."""

    async def put(self, key: bytes, value: bytes, *, ttl_s: float, name: bytes = b"") -> Receipt:
        """Write or replace this writer's value."""
        ...

    async def get(self, key: bytes, *, fresh: bool = False) -> list[Found]:
        """Return the live values."""
        ...

    async def remove(self, key: bytes, name: bytes = b"") -> Receipt:
        """Remove this writer's value."""
        ...

    async def explain(self, key: bytes) -> Explanation:
        """Show how a key is reached."""
        ...

    def watch(self, key: bytes) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Change]]:
        """Follow a key while the context lasts."""
        ...


class Node(Records, Protocol):
    """What the server needs of a node."""

    def status(self) -> Status:
        """The node's state now."""
        ...


def control_path(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return where the socket of a state directory lies: inside, or in a short path where that would be too long.

    Raises:
        LocalProtocolError: the short path's directory belongs to somebody else.
    """
    path = state_dir.absolute() / "control"
    if len(os.fsencode(path)) <= _PATH_MAX:
        return path
    base = environ.get("XDG_RUNTIME_DIR") or f"/tmp/mdht-{os.getuid()}"  # noqa: S108 - checked to be ours alone below
    directory = Path(base)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise LocalProtocolError(f"no directory for the control socket: {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise LocalProtocolError(f"{directory} is not a private directory of this user; use a shorter --state-dir")
    return directory / f"mdht-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


async def serve_control(
    node: Node, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer requests at `path` until cancelled. The caller holds the state directory's lock, so `path` is ours.

    Raises:
        LocalProtocolError: the socket cannot be made.
    """
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    with sock:
        try:
            _remove(path)  # left by a node that was killed
            await sock.bind(os.fspath(path))
            os.chmod(path, 0o600)
            sock.listen(CONNECTIONS_MAX)
        except OSError as error:
            raise LocalProtocolError(f"control socket {path}: {error.strerror}") from error
        server = _Server(node)
        try:
            await trio.serve_listeners(server.handle, [trio.SocketListener(sock)], task_status=_Started(task_status))
        finally:
            _remove(path)


class _Started:
    """Passes on that the server listens, without handing out its listeners."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, _listeners: object = None) -> None:
        self._task_status.started()


class _Server:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._connections = 0

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Answer one connection; whatever its other end does stays here."""
        self._connections += 1
        try:
            async with stream:
                if self._connections > CONNECTIONS_MAX:
                    await _send(
                        stream, ErrorLine("other", f"{CONNECTIONS_MAX} programs are connected; try again later")
                    )
                    return
                await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a control connection ended early")
        finally:
            self._connections -= 1

    async def _answer(self, stream: trio.abc.Stream) -> None:
        request: Request | None = None
        with trio.move_on_after(REQUEST_S):
            try:
                async with aclosing(_lines(stream)) as lines:
                    async for line in lines:
                        request = _REQUESTS.decode(line)
                        break
            except (msgspec.MsgspecError, UnicodeDecodeError, LocalProtocolError) as error:
                await _send(stream, ErrorLine("local", f"not a request: {error}"))
                return
        if request is None:
            return
        try:
            if isinstance(request, Watch):
                await self._watch(stream, request.key)
                return
            replies = await self._replies(request)
        except MdhtError as error:
            replies = [_error_line(error)]
        for reply in replies:
            await _send(stream, reply)

    async def _replies(self, request: Put | Get | Remove | Explain | GetStatus) -> list[Reply]:
        match request:
            case Put(key=key, value=value, ttl_s=ttl_s, name=name):
                return [ReceiptLine(await self._node.put(key, value, ttl_s=ttl_s, name=name)), EndLine()]
            case Get(key=key, fresh=fresh):
                return [*map(FoundLine, await self._node.get(key, fresh=fresh)), EndLine()]
            case Remove(key=key, name=name):
                return [ReceiptLine(await self._node.remove(key, name)), EndLine()]
            case Explain(key=key):
                return [ExplanationLine(await self._node.explain(key)), EndLine()]
            case GetStatus():
                return [StatusLine(self._node.status()), EndLine()]

    async def _watch(self, stream: trio.abc.Stream, key: bytes) -> None:
        async with self._node.watch(key) as changes, trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):  # inside the nursery, which would wrap it
                async for change in changes:
                    await _send(stream, ChangeLine(change))
            nursery.cancel_scope.cancel()


class ControlClient:
    """Uses the node that serves a control socket. Offers `Records`.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def answers(self) -> bool:
        """Say whether a node listens there."""
        try:
            stream = await trio.open_unix_socket(self._path)
        except OSError:
            return False
        await stream.aclose()
        return True

    async def put(self, key: bytes, value: bytes, *, ttl_s: float, name: bytes = b"") -> Receipt:
        """As `Mdht.put`; the node's own identity signs."""
        return (await self._one(Put(key=key, value=value, ttl_s=ttl_s, name=name), ReceiptLine)).receipt

    async def get(self, key: bytes, *, fresh: bool = False) -> list[Found]:
        """As `Mdht.get`."""
        async with self._ask(Get(key=key, fresh=fresh)) as replies:
            return [reply.found async for reply in replies if isinstance(reply, FoundLine)]

    async def remove(self, key: bytes, name: bytes = b"") -> Receipt:
        """As `Mdht.remove`."""
        return (await self._one(Remove(key=key, name=name), ReceiptLine)).receipt

    async def explain(self, key: bytes) -> Explanation:
        """As `Mdht.explain`."""
        return (await self._one(Explain(key=key), ExplanationLine)).explanation

    async def status(self) -> Status:
        """As `Mdht.status`."""
        return (await self._one(GetStatus(), StatusLine)).status

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """As `Mdht.watch`; the channel ends when the node does."""
        send, receive = trio.open_memory_channel[Change](0)
        async with receive, self._ask(Watch(key=key)) as replies, trio.open_nursery() as nursery:
            nursery.start_soon(_forward, replies, send)
            yield receive
            nursery.cancel_scope.cancel()

    async def _one(self, request: Request, kind: type[ReplyT]) -> ReplyT:
        async with self._ask(request) as replies:
            async for reply in replies:
                if isinstance(reply, kind):
                    return reply
        raise UnreachableError(f"the node at {self._path} gave no answer")

    @asynccontextmanager
    async def _ask(self, request: Request) -> AsyncIterator[AsyncGenerator[Reply, None]]:
        try:
            stream = await trio.open_unix_socket(self._path)
        except OSError as error:
            raise UnreachableError(f"no node answers at {self._path}: {error.strerror}") from error
        async with stream:
            with suppress(trio.BrokenResourceError):  # a refusal may already be there to be read
                await stream.send_all(msgspec.json.encode(request) + b"\n")
            async with aclosing(self._replies(stream)) as replies:
                yield replies

    async def _replies(self, stream: trio.abc.Stream) -> AsyncGenerator[Reply, None]:
        try:
            async with aclosing(_lines(stream)) as lines:
                async for line in lines:
                    reply: Reply = _REPLIES.decode(line)
                    if isinstance(reply, ErrorLine):
                        raise _KINDS.get(reply.kind, MdhtError)(reply.message)
                    if isinstance(reply, EndLine):
                        return
                    yield reply
        except (trio.BrokenResourceError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreachableError(f"the node at {self._path} broke off: {error}") from error
        raise UnreachableError(f"the node at {self._path} has stopped")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _error_line(error: MdhtError) -> ErrorLine:
    kind = next((name for name, each in _KINDS.items() if isinstance(error, each)), "other")
    return ErrorLine(kind, str(error))


async def _send(stream: trio.abc.Stream, reply: Reply) -> None:
    await stream.send_all(msgspec.json.encode(reply) + b"\n")


async def _lines(stream: trio.abc.Stream) -> AsyncGenerator[bytes, None]:
    """Yield lines until the end of the stream; an unfinished last one is dropped."""
    buffer = bytearray()
    async for data in stream:
        buffer += data
        *lines, rest = buffer.split(b"\n")
        for line in lines:
            yield bytes(line)
        if len(rest) > LINE_MAX:
            raise LocalProtocolError(f"a line of more than {LINE_MAX} bytes")
        buffer = rest


async def _cancel_at_end(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        async for _data in stream:
            pass  # a watcher has nothing more to say
    scope.cancel()


async def _forward(replies: AsyncGenerator[Reply, None], send: trio.MemorySendChannel[Change]) -> None:
    async with send:
        try:
            async for reply in replies:
                if isinstance(reply, ChangeLine):
                    await send.send(reply.change)
        except MdhtError as error:
            log.warning("watching ended: %s", error)
