"""The HTTP server over streams in memory, with what clients do to servers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from netserv.modules.blocks.http_server import HttpServer, Limits, Request, Response


class Host:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def spawn(self, function: Any, *arguments: Any) -> None:
        raise AssertionError

    def report(self, error: BaseException) -> None:
        self.errors.append(error)


class Served:
    """A server with some pages, on a socket of the loopback interface."""

    def __init__(self, **limits: Any) -> None:
        self.host = Host()
        self.requests: list[Request] = []
        self.server = HttpServer(self.host, Limits(**limits))
        self.port = 0
        server = self.server
        server.route("GET", "/")(self.page)
        server.route("POST", "/form")(self.page)
        server.route("*", "/files/*")(self.page)
        server.route("GET", "/files/deep/*")(self.deep)
        server.route("GET", "/stream")(self.stream)
        server.route("GET", "/none")(self.none)
        server.route("GET", "/header")(self.header)
        server.route("GET", "/broken")(self.broken)

    async def page(self, request: Request) -> Response:
        self.requests.append(request)
        return Response.text(request.path)

    async def deep(self, request: Request) -> Response:
        return Response(status=204)

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one", b"two"):
                yield piece

        return Response(body=pieces())

    async def none(self, request: Request) -> Response:
        return None  # type: ignore[return-value]

    async def header(self, request: Request) -> Response:
        return Response(headers=(("x", "a\r\nb: c"),))

    async def broken(self, request: Request) -> Response:
        raise ValueError("my mistake")

    async def said(self, data: bytes, *, size: int = 10_000) -> bytes:
        """All that the server says until it closes the connection."""
        async with trio.open_nursery() as nursery:
            listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
            nursery.start_soon(self.server.run, listener)
            answer = bytearray()
            async with await trio.testing.open_stream_to_socket_listener(listener) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                while len(answer) < size and (piece := await stream.receive_some()):
                    answer += piece
            nursery.cancel_scope.cancel()
            return bytes(answer)
        raise AssertionError


async def test_requests_on_one_connection_are_answered_in_turn() -> None:
    served = Served()
    answer = await served.said(
        b"GET /?a=1&b=%20 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
        b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(b"\r\n\r\n/form")
    first, second = served.requests
    assert (first.method, first.path, first.query, first.headers["x-a"]) == ("GET", "/", {"a": "1", "b": " "}, "1, 2")
    assert (second.body, second.peer) == (b"abc", "127.0.0.1")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("GET /", b"200"),
        ("HEAD /", b"200"),
        ("POST /", b"405"),
        ("GET /no", b"404"),
        ("GET /form", b"405"),
        ("DELETE /files/a", b"200"),
        ("GET /files/deep/a", b"204"),
        ("GET /none", b"500"),
        ("GET /broken", b"500"),
        ("GET /header", b"500"),
        ("GET http://[x/", b"400"),
        ("GET /?" + "a=1&" * 70, b"400"),
        ("GET /" + "a" * 40_000, b"431"),
    ],
)
async def test_a_status_for_each_request(target: str, status: bytes) -> None:
    answer = await Served().said(f"{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] == status
    assert b"my mistake" not in answer


async def test_what_a_handler_raises_is_reported() -> None:
    served = Served()
    await served.said(b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await served.said(b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [type(error) for error in served.host.errors] == [ValueError, TypeError]


async def test_other_methods_of_a_path_are_named() -> None:
    answer = await Served().said(b"GET /form HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"allow: post\r\n" in answer.lower()


async def test_a_body_may_come_piece_by_piece() -> None:
    answer = await Served().said(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    head = await Served().said(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"one" not in head


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n" + bytes(200), b"413"),
        (b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked, x\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x00\xa5", b"400"),
    ],
)
async def test_strange_requests_are_refused(data: bytes, status: bytes) -> None:
    served = Served(body_bytes=100)
    answer = await served.said(data)
    assert answer.split(b" ")[1] == status
    assert (served.requests, served.host.errors) == ([], [])


async def test_a_client_that_goes_in_the_middle_is_forgotten() -> None:
    served = Served()
    answer = await served.said(b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400")
    assert (served.requests, served.host.errors) == ([], [])


async def test_slow_and_silent_clients_are_ended() -> None:
    served = Served(idle_s=0.05, request_s=0.05)
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(served.server.run, listener)
        async with await trio.testing.open_stream_to_socket_listener(listener) as silent:
            assert await silent.receive_some() == b""
        async with await trio.testing.open_stream_to_socket_listener(listener) as slow:
            await slow.send_all(b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            assert (await slow.receive_some()).startswith(b"HTTP/1.1 408")
        nursery.cancel_scope.cancel()


async def test_more_connections_wait_until_one_ends() -> None:
    served = Served(connections=1)
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(served.server.run, listener)
        first = await trio.testing.open_stream_to_socket_listener(listener)
        await first.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await first.receive_some()
        second = await trio.testing.open_stream_to_socket_listener(listener)
        await second.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with trio.move_on_after(0.05) as waited:
            await second.receive_some()
        assert waited.cancelled_caught
        await first.aclose()
        assert (await second.receive_some()).startswith(b"HTTP/1.1 200")
        await second.aclose()
        nursery.cancel_scope.cancel()


async def test_a_connection_ends_after_so_many_requests() -> None:
    served = Served(requests=2)
    answer = await served.said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
    assert answer.count(b"HTTP/1.1 200") == 2
