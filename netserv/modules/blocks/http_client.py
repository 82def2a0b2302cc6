"""An HTTP/1.1 client for modules: `context.http`. Its connections are made by the node, where the operator allows.

One request a connection; no redirects, which a module follows itself if it wants to (it sees `location`); nothing is
unpacked that a server has compressed, so that the limit of bytes is one of memory too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

import h11
import msgspec
import trio

from netserv.errors import LocalProtocolError, RemoteProtocolError, UnreachableError

BODY_MAX: Final = 1 << 20
"Bytes, unless the caller says more: a container has 64 MiB."
TIMEOUT_S: Final = 30.0
HEADERS_MAX: Final = 32_768
READ_BYTES: Final = 65_536
URL_MAX: Final = 2_048

Connect: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server has answered."""

    status: int
    headers: Mapping[str, str]
    "Names in small letters."
    body: bytes


class Streamed:
    """An answer whose body comes piece by piece: iterate over it once, `async for piece in answer`."""

    def __init__(self, head: h11.Response, http: h11.Connection, stream: trio.abc.Stream) -> None:
        self.status, self.headers = head.status_code, _headers(head)
        self._http, self._stream = http, stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        event = await _event(self._http, self._stream)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        raise StopAsyncIteration


class HttpClient:
    """Requests over connections that somebody else makes.

    Args:
        connect: takes host and port, and gives a stream; raises UnreachableError.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def get(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body_max: int = BODY_MAX,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Fetch; see `request`."""
        return await self.request("GET", url, headers=headers, body_max=body_max, timeout_s=timeout_s)

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body_max: int = BODY_MAX,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send; see `request`."""
        return await self.request("POST", url, body, headers=headers, body_max=body_max, timeout_s=timeout_s)

    async def request(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        body_max: int = BODY_MAX,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send a request, and read the whole answer.

        Args:
            method: `GET`, `POST` and so on.
            url: `http://host[:port]/...`.
            body: of the request.
            headers: besides host, length and connection.
            body_max: bytes of the answer.
            timeout_s: for all of it.

        Raises:
            LocalProtocolError: no such URL or header.
            UnreachableError: nobody is there, the operator does not allow it, or it takes too long.
            RemoteProtocolError: what comes is no HTTP, ends too early, or is too long.
        """
        try:
            with trio.fail_after(timeout_s):
                async with self.stream(method, url, body, headers=headers) as answer:
                    data = bytearray()
                    async for piece in answer:
                        data += piece
                        if len(data) > body_max:
                            raise RemoteProtocolError(f"{url}: more than {body_max} bytes")
                    return Answer(status=answer.status, headers=answer.headers, body=bytes(data))
        except trio.TooSlowError:
            raise UnreachableError(f"{url}: no whole answer in {timeout_s:g} s") from None

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes = b"", *, headers: Iterable[tuple[str, str]] = ()
    ) -> AsyncIterator[Streamed]:
        """Send a request, and read the answer as it comes; without limits of size and time of its own.

        Raises:
            NetservError: as `request`.
        """
        host, port, head = _request_head(method, url, body, headers)
        stream = await self._connect(host, port)
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_MAX)
        try:
            async with stream:
                await stream.send_all((http.send(head) or b"") + (http.send(h11.Data(data=body)) or b""))
                await stream.send_all(http.send(h11.EndOfMessage()) or b"")
                event = await _event(http, stream)
                while isinstance(event, h11.InformationalResponse):
                    event = await _event(http, stream)
                if not isinstance(event, h11.Response):
                    raise RemoteProtocolError(f"{url}: no answer")
                yield Streamed(event, http, stream)
        except h11.RemoteProtocolError as error:
            raise RemoteProtocolError(f"{url}: {error}") from None
        except (trio.BrokenResourceError, OSError) as error:
            raise UnreachableError(f"{url}: {error.__cause__ or error}") from None


def _request_head(
    method: str, url: str, body: bytes, headers: Iterable[tuple[str, str]]
) -> tuple[str, int, h11.Request]:
    if len(url) > URL_MAX:
        raise LocalProtocolError(f"a URL has at most {URL_MAX} characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise LocalProtocolError(f"{url[:200]!r}: {error}") from None
    if parts.scheme != "http" or not host or parts.username is not None:
        raise LocalProtocolError(f"{url[:200]!r} is not http://host[:port]/...; TLS is not offered to modules")
    length = [("content-length", str(len(body)))] if body or method in {"POST", "PUT", "PATCH"} else []
    whole = [("host", parts.netloc), *headers, *length, ("connection", "close")]
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        return host, port, h11.Request(method=method, target=target, headers=whole)
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"{url[:200]!r}: {error}") from None


def _headers(event: h11.Response) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


async def _event(http: h11.Connection, stream: trio.abc.Stream) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        data = bytes(await stream.receive_some(READ_BYTES))
        if not data and http.their_state is h11.SEND_RESPONSE:
            raise h11.RemoteProtocolError("the server has closed the connection without an answer")
        http.receive_data(data)
