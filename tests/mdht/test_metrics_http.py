from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from mdht.errors import LocalProtocolError
from mdht.http_io import LOOPBACK, REQUEST_MAX
from mdht.metrics_http import CONFIG, MetricsServer

GOOD = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Scene:
    """A server on a free port of the loopback interface."""

    def __init__(self, server: MetricsServer, url: str) -> None:
        self.server, self.url = server, url
        self.port = int(url.removesuffix("/metrics").rpartition(":")[2])

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(LOOPBACK, self.port)

    async def ask(self, request: bytes) -> bytes:
        async with await self.connect() as stream:
            await stream.send_all(request)
            return b"".join([part async for part in stream])


@asynccontextmanager
async def serving() -> AsyncIterator[Scene]:
    server = MetricsServer(lambda: "x_up 1\n", "x")
    async with trio.open_nursery() as nursery:
        yield Scene(server, await nursery.start(server.serve, (LOOPBACK, 0)))
        nursery.cancel_scope.cancel()


def run(main: Callable[[Scene], Awaitable[None]]) -> None:
    async def with_server() -> None:
        async with serving() as scene:
            await main(scene)

    trio.run(with_server)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_metrics_are_served_as_prometheus_wants_them_and_requests_are_counted() -> None:
    async def main(scene: Scene) -> None:
        assert scene.url == f"http://127.0.0.1:{scene.port}/metrics"
        answer = await scene.ask(GOOD)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"text/plain; version=0.0.4; charset=utf-8" in head
        assert f"content-length: {len(body)}".encode() in head.lower()
        assert body.startswith(b"x_up 1\n# HELP x_metrics_requests_total ")
        assert body.endswith(b'x_metrics_requests_total{code="200"} 1\n')
        assert (await scene.ask(GOOD)).endswith(b'{code="200"} 2\n')

    run(main)


@pytest.mark.parametrize(
    ("request_text", "status", "said"),
    [
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, b""),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200, b"x_up"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, b"only GET /metrics"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 405, b"only GET"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400, b"only GET"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, b"only GET"),
        (b"GET /" + b"x" * 2 * REQUEST_MAX, 431, b"only GET"),
    ],
)
def test_what_is_no_request_for_metrics_is_refused_by_its_code(request_text: bytes, status: int, said: bytes) -> None:
    async def main(scene: Scene) -> None:
        answer = await scene.ask(request_text)
        assert status_of(answer) == status
        assert answer.partition(b"\r\n\r\n")[2].find(said) >= 0
        assert (b"Allow: GET, HEAD" in answer) == (status == 405)
        assert scene.server.answers == {status: 1}
        assert status_of(await scene.ask(GOOD)) == 200

    run(main)


def test_a_silent_connection_is_ended_and_counted() -> None:
    async def main() -> None:
        server = MetricsServer(lambda: "", "x")
        ours, theirs = trio.socket.socketpair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.http.handle, trio.SocketStream(theirs))
            assert await ours.recv(100) == b""
        assert CONFIG.request_s <= trio.current_time() < CONFIG.request_s + 1
        assert server.answers == {408: 1}
        ours.close()

    trio.run(main, clock=MockClock(autojump_threshold=0.01))


def test_one_that_hangs_up_at_once_is_counted_and_harms_nobody() -> None:
    async def main(scene: Scene) -> None:
        async with await scene.connect() as stream:
            await stream.send_all(b"GET /met")
        with trio.fail_after(5):
            while not scene.server.answers.total():  # noqa: ASYNC110 - it is the server that knows
                await trio.sleep(0.01)
        assert status_of(await scene.ask(GOOD)) == 200

    run(main)


def test_more_connections_than_any_prometheus_makes_are_told_so() -> None:
    async def main(scene: Scene) -> None:
        held = [await scene.connect() for _ in range(CONFIG.connections_max)]
        assert status_of(await scene.ask(GOOD)) == 503
        for stream in held:
            await stream.aclose()
        with trio.fail_after(5):
            while status_of(await scene.ask(GOOD)) != 200:  # noqa: ASYNC110 - as above
                await trio.sleep(0.01)

    run(main)


def test_an_address_that_cannot_be_used_is_named() -> None:
    async def main(scene: Scene) -> None:
        for address in ((LOOPBACK, scene.port), ("192.0.2.1", 9)):
            with pytest.raises(LocalProtocolError, match=rf"metrics at {address[0]}:.*give another address"):
                await MetricsServer(str, "x").serve(address)

    run(main)


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer_or_an_end(data: bytes) -> None:
    async def main() -> None:
        server = MetricsServer(lambda: "", "x")
        ours, theirs = trio.socket.socketpair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.http.handle, trio.SocketStream(theirs))
            stream = trio.SocketStream(ours)
            await stream.send_all(data)
            await stream.send_eof()
            answer = b"".join([part async for part in stream])
        assert not answer or status_of(answer) >= 200
        assert server.answers.total() == 1
        ours.close()

    trio.run(main)
