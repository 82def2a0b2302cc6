from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from mdht.errors import LocalProtocolError
from mdht.http_io import Answer, HttpConfig, HttpServer, Request, Send, Stream, listening_address

CONFIG = HttpConfig(what="echo", option="--echo")
GOOD = b"GET /said?it=so HTTP/1.1\r\nHost: here\r\nX-Word: one\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: here\r\n\r\n"


class Echo:
    """Says what it was asked for, or writes a stream."""

    def __init__(self, write: Callable[[Send], Awaitable[None]]) -> None:
        self._write = write
        self.asked: list[Request] = []
        self.refused: list[int] = []

    def answer(self, request: Request) -> Answer | Stream:
        self.asked.append(request)
        if request.path == "/stream":
            return Stream(write=self._write, content_type="text/event-stream", headers=(("X-Kind", "flow"),))
        return Answer(status=200, body=f"{request.method} {request.path}".encode())

    def refuse(self, status: int) -> Answer:
        self.refused.append(status)
        return Answer(status=status, body=b"no")


async def one_piece(send: Send) -> None:
    await send(b"one piece")


@asynccontextmanager
async def connected(site: Echo, config: HttpConfig = CONFIG) -> AsyncIterator[trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    async with trio.open_nursery() as nursery, trio.SocketStream(ours) as stream:
        nursery.start_soon(HttpServer(site, config).handle, trio.SocketStream(theirs))
        yield stream


async def everything(stream: trio.SocketStream) -> bytes:
    return b"".join([part async for part in stream])


def run(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0.01))


def test_a_request_is_given_whole_to_its_site() -> None:
    async def main() -> None:
        site = Echo(one_piece)
        async with connected(site) as stream:
            await stream.send_all(GOOD)
            assert (await everything(stream)).endswith(b"\r\n\r\nGET /said")
        assert site.asked == [Request(method="GET", path="/said", headers={"host": "here", "x-word": "one"})]

    run(main)


def test_a_stream_comes_in_pieces_and_ends_with_its_writer() -> None:
    async def main() -> None:
        go = trio.Event()

        async def write(send: Send) -> None:
            await send(b"first")
            await go.wait()
            await send(b"second")

        async with connected(Echo(write)) as stream:
            await stream.send_all(STREAM)
            said = b""
            while b"first" not in said:
                said += await stream.receive_some()
            assert b"200" in said
            assert b"X-Kind: flow" in said
            assert b"second" not in said
            go.set()
            assert (await everything(stream)).endswith(b"second\r\n0\r\n\r\n"), "chunked, with its end"

    run(main)


def test_a_stream_outlives_the_limit_of_a_request() -> None:
    async def main() -> None:
        async def write(send: Send) -> None:
            await trio.sleep(10 * CONFIG.request_s)
            await send(b"late")

        async with connected(Echo(write)) as stream:
            await stream.send_all(STREAM)
            assert b"late" in await everything(stream)

    run(main)


def test_a_reader_who_hangs_up_ends_the_writer() -> None:
    async def main() -> None:
        ended = trio.Event()

        async def write(send: Send) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        site = Echo(write)
        async with connected(site) as stream:
            await stream.send_all(STREAM)
            await stream.receive_some()
        assert ended.is_set()
        assert site.refused == []

    run(main)


def test_a_reader_who_does_not_read_is_dropped_in_time() -> None:
    async def main() -> None:
        dropped = trio.Event()

        async def write(send: Send) -> None:
            try:
                while True:
                    await send(bytes(100_000))
            finally:
                dropped.set()

        async with connected(Echo(write)) as stream:
            await stream.send_all(STREAM)
            await dropped.wait()
            assert CONFIG.send_s <= trio.current_time() < CONFIG.send_s + 1
            assert not (await everything(stream)).endswith(b"0\r\n\r\n"), "it has no regular end"

    run(main)


def test_head_of_a_stream_has_no_stream() -> None:
    async def main() -> None:
        async with connected(Echo(one_piece)) as stream:
            await stream.send_all(STREAM.replace(b"GET", b"HEAD"))
            said = await everything(stream)
            assert b"X-Kind: flow" in said
            assert said.endswith(b"\r\n\r\n")

    run(main)


def test_a_silent_connection_ends_in_time() -> None:
    async def main() -> None:
        site = Echo(one_piece)
        async with connected(site) as stream:
            assert await everything(stream) == b""
        assert CONFIG.request_s <= trio.current_time() < CONFIG.request_s + 1
        assert site.refused == [408]

    run(main)


def test_an_address_in_use_is_named_with_the_option_that_changes_it() -> None:
    async def main() -> None:
        server = HttpServer(Echo(one_piece), CONFIG)
        with pytest.raises(LocalProtocolError, match=r"echo at 192.0.2.1:9: .*give another address to --echo"):
            await server.serve(("192.0.2.1", 9), print)

    run(main)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9273", ("127.0.0.1", 9273)),
        ("0", ("127.0.0.1", 0)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("[::]:65535", ("::", 65_535)),
    ],
)
def test_a_port_alone_is_of_this_machine(text: str, address: tuple[str, int]) -> None:
    assert listening_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", ":9273", "-1", "65536", "\u0663", "localhost:80", "::1:80", "[127.0.0.1]:80"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError, match="neither a port"):
        listening_address(text)
