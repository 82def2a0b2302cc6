"""Real servers on the loopback interface that answer as they are told, well or badly."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio

Serving = Callable[[trio.SocketStream], Awaitable[None]]


class Server:
    """Where it is, and what it was asked."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.requests: list[bytes] = []
        self.connections = 0

    def url(self, path: str = "/bundle.zip", host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


@asynccontextmanager
async def serving(answer: Serving | bytes, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A server whose answer is bytes, or what a coroutine does with the connection."""
    (listener,) = await trio.open_tcp_listeners(0, host=host)
    server = Server(host, listener.socket.getsockname()[1])

    async def handle(stream: trio.SocketStream) -> None:
        server.connections += 1
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some(65_536)
                if not data:
                    break
                head += data
            length = re.search(rb"Content-Length: ([0-9]+)", head)
            while length and len(head) < head.index(b"\r\n\r\n") + 4 + int(length[1]):
                head += await stream.receive_some(65_536)
            server.requests.append(head)
            if isinstance(answer, bytes):
                await stream.send_all(answer)
            else:
                await answer(stream)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield server
        nursery.cancel_scope.cancel()


def response(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """An answer as it should be, with more headers."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def redirect(location: str) -> bytes:
    """An answer that leads elsewhere."""
    return response(b"", f"Location: {location}", status="302 Found")
