"""An HTTP/1.1 server for modules (thesis 5.3.1: the servlet engine), by h11 and trio. Bounded in everything."""

import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, Self, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec
import trio

HEADERS_MAX: Final = 16_384
"Bytes of request line and headers together; browsers with many cookies send 4,000."
QUERY_MAX: Final = 64
"Parameters of a query."
READ_BYTES: Final = 16_384
"At a time: h11 lets headers pass that come whole, so they have twice as many at most."


LINGER_S: Final = 1.0
LINGER_READS: Final = 64
"A megabyte of a client that has been refused; then it may lose the answer."


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server takes."""

    connections: int = 64
    "At a time: each takes some 50 kB. More wait until one ends."
    body_bytes: int = 1 << 20
    "Of a request; it is in memory when the handler is called."
    idle_s: float = 30.0
    "Until the next request of a connection."
    request_s: float = 30.0
    "From the first byte of a request to its last: slow senders hold a connection no longer."
    send_s: float = 60.0
    "For one piece of an answer to be taken."
    requests: int = 1_000
    "On one connection, so that it ends some time."


_LIMITS: Final = Limits()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks."""

    method: str
    target: str
    "As it was sent."
    path: str
    "Decoded, without the query."
    query: Mapping[str, str]
    "The last value of each parameter."
    headers: Mapping[str, str]
    "Names in small letters; values of one name joined by a comma."
    body: bytes
    peer: str
    "Address of the client."


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncIterable[bytes] = b""
    "An asynchronous iterator is sent piece by piece, as it comes: events, or a file while it is being fetched."

    @classmethod
    def text(cls, text: str, status: int = 200) -> Self:
        """Plain text."""
        return cls(status=status, headers=(("content-type", "text/plain; charset=utf-8"),), body=text.encode())

    @classmethod
    def html(cls, text: str, status: int = 200) -> Self:
        """A page."""
        return cls(status=status, headers=(("content-type", "text/html; charset=utf-8"),), body=text.encode())

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Self:
        """A value as JSON."""
        return cls(status=status, headers=(("content-type", "application/json"),), body=json.dumps(value).encode())


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Host(Protocol):
    """What the server needs of a module's context."""

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run a task."""

    def report(self, error: BaseException) -> None:
        """Say that a handler has failed."""


class HttpServer:
    """Routes and connections.

    Args:
        host: the context of the module.
        limits: what the server takes.
    """

    def __init__(self, host: Host, limits: Limits = _LIMITS) -> None:
        self._host, self._limits = host, limits
        self._exact: dict[tuple[str, str], Handler] = {}
        self._below: list[tuple[str, str, Handler]] = []
        self._slots = trio.Semaphore(limits.connections)

    def route(self, method: str, path: str) -> Callable[[Handler], Handler]:
        """Say who answers a path: `@server.route("GET", "/status")`.

        Args:
            method: `GET` answers HEAD as well; `*` for all methods.
            path: with `/*` at its end all below it; an exact path goes first, then the longest.
        """

        def add(handler: Handler) -> Handler:
            if path.endswith("/*"):
                self._below.append((method, path[:-1], handler))
                self._below.sort(key=lambda route: -len(route[1]))
            else:
                self._exact[method, path] = handler
            return handler

        return add

    def serve(self, listener: Any) -> None:
        """Accept connections in the background, until the module ends.

        Args:
            listener: as `context.listen()` gives it.
        """
        self._host.spawn(self.run, listener)

    async def run(self, listener: trio.SocketListener) -> None:
        """Accept connections until cancelled."""
        async with listener, trio.open_nursery() as nursery:
            while True:
                await self._slots.acquire()
                try:
                    stream = await listener.accept()
                except OSError:  # the client has gone, or descriptors are out
                    self._slots.release()
                    await trio.sleep(0.05)
                    continue
                nursery.start_soon(self._connection, stream)

    async def _connection(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                # h11 says what the client did wrong, and the client may go at any time.
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                    await Connection(stream, self._limits, self._answer).run()
        except (trio.Cancelled, GeneratorExit):
            raise
        except Exception as error:
            self._host.report(error)
        finally:
            self._slots.release()

    async def _answer(self, request: Request) -> Response:
        handler, others = self._handler(request)
        if handler is None:
            allowed = (("allow", ", ".join(sorted(others))),) if others else ()
            return Response(status=405 if others else 404, headers=allowed)
        try:
            response = _checked(await handler(request))
        except Exception as error:
            self._host.report(error)
            return Response.text("this module has failed\n", 500)
        return response

    def _handler(self, request: Request) -> tuple[Handler | None, set[str]]:
        """Who answers; if nobody does, the methods that the path knows."""
        methods = [request.method, "*", *(("GET",) if request.method == "HEAD" else ())]
        for method in methods:
            if (method, request.path) in self._exact:
                return self._exact[method, request.path], set()
        for method, prefix, handler in self._below:
            if method in methods and request.path.startswith(prefix):
                return handler, set()
        return None, set(self._methods_of(request.path))

    def _methods_of(self, path: str) -> Iterator[str]:
        yield from (method for method, exact in self._exact if exact == path)
        yield from (method for method, prefix, _ in self._below if path.startswith(prefix))


def _checked(response: Any) -> Response:
    if not isinstance(response, Response):
        raise TypeError(f"a handler returned {type(response).__name__}, not Response")
    return response


class Connection:
    """One connection: requests one after the other.

    Args:
        stream: to the client.
        limits: of the server.
        answer: makes a response of a request; must not raise.
    """

    def __init__(self, stream: trio.SocketStream, limits: Limits, answer: Handler) -> None:
        self._stream, self._limits, self._answer = stream, limits, answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        unix = stream.socket.family == trio.socket.AF_UNIX
        # A socket for both families has IPv4 addresses as `::ffff:10.0.0.1`.
        self._peer = "local" if unix else str(stream.socket.getpeername()[0]).removeprefix("::ffff:")

    async def run(self) -> None:
        """Answer until the client goes, or its time is over."""
        for _ in range(self._limits.requests):
            try:
                request = await self._request()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            except trio.TooSlowError:
                await self._refuse(408)
                return
            if request is None:
                return
            await self._send(request, await self._answer(request))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _request(self) -> Request | None:
        """The next request; None when there is none.

        Raises:
            h11.RemoteProtocolError: it is strange, or too long.
            trio.TooSlowError: it does not come to its end.
        """
        with trio.move_on_after(self._limits.idle_s) as idle:
            event = await self._event()
        if idle.cancelled_caught:
            return None
        if not isinstance(event, h11.Request):
            return None
        body = bytearray()
        with trio.fail_after(self._limits.request_s):
            if self._http.they_are_waiting_for_100_continue:
                await self._put(h11.InformationalResponse(status_code=100, headers=[]))
            while isinstance(data := await self._event(), h11.Data):
                body += data.data
                if len(body) > self._limits.body_bytes:
                    raise h11.RemoteProtocolError("body too long", error_status_hint=413)
        if not isinstance(data, h11.EndOfMessage):
            return None
        return self._made(event, bytes(body))

    def _made(self, event: h11.Request, body: bytes) -> Request:
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        target = event.target.decode("latin-1")
        try:
            parts = urlsplit(target)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=QUERY_MAX))
        except ValueError as error:
            raise h11.RemoteProtocolError(str(error), error_status_hint=400) from None
        return Request(
            method=event.method.decode("latin-1"),
            target=target,
            path=unquote(parts.path),
            query=query,
            headers=headers,
            body=body,
            peer=self._peer,
        )

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._stream.receive_some(READ_BYTES))

    async def _send(self, request: Request, response: Response) -> None:
        body = response.body
        headers = list(response.headers)
        if isinstance(body, bytes):
            headers.append(("content-length", str(len(body))))
        elif request.method == "HEAD":
            headers.append(("connection", "close"))
        try:
            await self._put(h11.Response(status_code=response.status, headers=headers))
        except h11.LocalProtocolError:  # a header that cannot be sent
            await self._refuse(500)
            raise
        if request.method != "HEAD" and response.status not in {204, 304}:
            if isinstance(body, bytes):
                if body:
                    await self._put(h11.Data(data=body))
            else:
                async for piece in body:
                    await self._put(h11.Data(data=piece))
        await self._put(h11.EndOfMessage())

    async def _refuse(self, status: int) -> None:
        """Say what was wrong, if that can still be said; the connection ends."""
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [("content-length", "0"), ("connection", "close")]
            with suppress(h11.LocalProtocolError, trio.TooSlowError):
                await self._put(h11.Response(status_code=status, headers=headers))
                await self._put(h11.EndOfMessage())
            # What it still sends would have the kernel reset the connection, and the answer be lost.
            with trio.move_on_after(LINGER_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()
                for _ in range(LINGER_READS):
                    if not await self._stream.receive_some(READ_BYTES):
                        return

    async def _put(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            with trio.fail_after(self._limits.send_s):
                await self._stream.send_all(data)
