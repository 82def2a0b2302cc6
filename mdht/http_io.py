"""A small HTTP server for programs of this machine: bounded requests, whole answers and streams. Alone imports h11.

One request per connection. What is asked and what is answered is its user's business (`Site`); what may be sent at all,
how much, and in what time, is decided here. Everything else is refused with the status code that says why.
"""

import ipaddress
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import h11
import trio

from dhtboot.ids import Address, format_address
from mdht.errors import LocalProtocolError

REQUEST_MAX: Final = 8 * 1024
"Bytes of a request's head; one of Prometheus has some 400, one of a browser some 800."
CHUNK: Final = 4096
LINGER_S: Final = 1.0
"""For the rest of what was refused half read: a connection that is closed before that is reset, and the refusal lost
(RFC 9112 section 9.6)."""
LOOPBACK: Final = "127.0.0.1"
TEXT: Final = "text/plain; charset=utf-8"

Headers: TypeAlias = tuple[tuple[str, str], ...]
Send: TypeAlias = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Limits of a server, and its words in errors."""

    what: str
    "It, as `metrics`."
    option: str
    "Of the command line, which gives it another address."
    connections_max: int = 16
    "At a time. Each costs a descriptor and at most `REQUEST_MAX` bytes."
    request_s: float = 10.0
    "Seconds from connection to the last byte of the answer; Prometheus itself waits for 10 by default."
    send_s: float = 10.0
    "Seconds that one piece of a stream may wait for its reader."


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    "Before any question mark."
    headers: dict[str, str]
    "By names in lower case; of one that came twice the last."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer that goes on until its writer returns or its reader hangs up."""

    write: Callable[[Send], Awaitable[None]]
    content_type: str
    headers: Headers = ()


class Site(Protocol):
    """What a server serves."""

    def answer(self, request: Request) -> Answer | Stream:
        """Answer a sound request."""
        ...

    def refuse(self, status: int) -> Answer:
        """Answer what is none, or comes while others are enough; 408 stands for what never became a request."""
        ...


def listening_address(text: str) -> Address:
    """Where to serve: `PORT` of this machine alone, `ADDRESS:PORT` or `[IPv6]:PORT`; port 0 takes a free one.

    Raises:
        LocalProtocolError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
        is_v6 = bool(colon) and ipaddress.ip_address(bare).version == 6
    except ValueError:
        number, is_v6 = -1, False
    if not 0 <= number <= 65_535 or is_v6 != (bare != host):
        raise LocalProtocolError(f"{text!r} is neither a port, as 9273, nor a numeric address with one, as [::1]:9273")
    return bare or LOOPBACK, number


class HttpServer:
    """Answers connections.

    Args:
        site: what it serves.
        config: its limits.
    """

    def __init__(self, site: Site, config: HttpConfig) -> None:
        self._site, self._config = site, config
        self._connections = 0

    async def serve(self, address: Address, started: Callable[[Address], None]) -> None:
        """Answer until cancelled.

        Args:
            address: where to listen.
            started: is told where, as soon as it listens.

        Raises:
            LocalProtocolError: the address cannot be used.
        """
        host, port = address
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=self._config.connections_max)
        except OSError as error:
            where = format_address(address)
            raise LocalProtocolError(
                f"{self._config.what} at {where}: {error.strerror or error}; "
                f"give another address to {self._config.option}"
            ) from error
        name = listeners[0].socket.getsockname()
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.handle, listeners)
            started((name[0], name[1]))

    async def handle(self, stream: trio.SocketStream) -> None:
        """Answer one connection; whatever its other end does stays here."""
        self._connections += 1
        try:
            async with stream:
                with trio.move_on_after(self._config.request_s) as patience:
                    exchange = _Exchange(stream, self._site, self._config, patience)
                    await exchange.run(full=self._connections > self._config.connections_max)
                if patience.cancelled_caught:
                    self._site.refuse(408)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._site.refuse(408)
        finally:
            self._connections -= 1


class _Exchange:
    """One request and its answer."""

    def __init__(self, stream: trio.SocketStream, site: Site, config: HttpConfig, patience: trio.CancelScope) -> None:
        self._stream, self._site, self._config, self._patience = stream, site, config, patience
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX)
        self._flowing = trio.CancelScope()
        self._torn = False

    async def run(self, *, full: bool) -> None:
        """Read the request and answer it.

        Args:
            full: others are enough already.
        """
        if full:
            await self._refuse(503)
            return
        try:
            event = await self._next()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return
        if not isinstance(event, h11.Request):  # hung up before it said what it wants
            self._site.refuse(408)
            return
        request = _request(event)
        with_body = request.method != "HEAD"
        match self._site.answer(request):
            case Answer() as answer:
                await self._send(answer, with_body=with_body)
            case Stream() as stream:
                await self._flow(stream, with_body=with_body)

    async def _next(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.receive_some(CHUNK))

    async def _send(self, answer: Answer, *, with_body: bool = True) -> None:
        size = ("Content-Length", str(len(answer.body)))
        data = self._head(answer.status, answer.content_type, (size, *answer.headers))
        if with_body:
            data += self._http.send(h11.Data(data=answer.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)

    def _head(self, status: int, content_type: str, headers: Headers) -> bytes:
        fields = [("Content-Type", content_type), ("Connection", "close"), *headers]
        return self._http.send(h11.Response(status_code=status, headers=fields)) or b""

    async def _refuse(self, status: int) -> None:
        await self._send(self._site.refuse(status))
        with trio.move_on_after(LINGER_S):
            await self._stream.send_eof()
            for _ in range(REQUEST_MAX // CHUNK):
                if not await self._stream.receive_some(CHUNK):
                    return

    async def _flow(self, stream: Stream, *, with_body: bool) -> None:
        """Write a stream: its pieces have a limit of time each, all of it has none."""
        await self._stream.send_all(self._head(200, stream.content_type, stream.headers))
        if not with_body:
            return
        self._patience.deadline = math.inf
        async with trio.open_nursery() as nursery:
            self._flowing = nursery.cancel_scope
            nursery.start_soon(self._until_hung_up)
            await stream.write(self._send_piece)
            if not self._torn:  # an end after half a piece would be taken for the rest of it
                await self._deliver(self._http.send(h11.EndOfMessage()) or b"")
            nursery.cancel_scope.cancel()

    async def _send_piece(self, data: bytes) -> None:
        await self._deliver(self._http.send(h11.Data(data=data)) or b"")

    async def _deliver(self, data: bytes) -> None:
        """Send a piece of a stream, or end the stream: whoever reads too slowly may come again."""
        self._torn = True
        with trio.move_on_after(self._config.send_s), suppress(trio.BrokenResourceError):
            await self._stream.send_all(data)
            self._torn = False
            return
        self._flowing.cancel()
        await trio.lowlevel.checkpoint()  # where the writer of the stream ends

    async def _until_hung_up(self) -> None:
        with suppress(trio.BrokenResourceError):
            while await self._stream.receive_some(CHUNK):
                pass  # there is nothing more to say
        self._flowing.cancel()


def _request(event: h11.Request) -> Request:
    return Request(
        method=event.method.decode("ascii"),
        path=event.target.partition(b"?")[0].decode("ascii"),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in event.headers},
    )
