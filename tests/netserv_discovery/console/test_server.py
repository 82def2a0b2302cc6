import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mdht.http_io import LOOPBACK
from netserv_discovery.console.items import NodeSeen
from netserv_discovery.console.page import load_page
from netserv_discovery.console.picture import View
from netserv_discovery.console.readers import QUEUE_MAX, READERS_MAX
from netserv_discovery.console.server import CONFIG, HEARTBEAT_S, ConsoleServer

PAGE = load_page()
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\n\ndata: {}\n\n\u202e"


def seen(name: str, **changes: Any) -> View:
    return View(items={"nodes": {name: NodeSeen(node=name, name=name, way="link", **changes)}})


class Scene:
    """A console that listens at port 8470, as its names say, and connections to it in memory."""

    def __init__(self) -> None:
        self.server = ConsoleServer(PAGE, {"near": None})
        self.server.listens_at(8470)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[trio.SocketStream]:
        ours, theirs = trio.socket.socketpair()
        async with trio.open_nursery() as nursery, trio.SocketStream(ours) as stream:
            nursery.start_soon(self.server.http.handle, trio.SocketStream(theirs))
            yield stream

    async def ask(self, path: str = "/", *headers: str, method: str = "GET", host: str = "127.0.0.1:8470") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers, "", ""]
        async with self.connected() as stream:
            await stream.send_all("\r\n".join(lines).encode())
            return b"".join([part async for part in stream])


class Follower:
    """Reads the events of a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._text = stream, ""

    async def start(self) -> None:
        await self._stream.send_all(b"GET /events HTTP/1.1\r\nHost: localhost:8470\r\n\r\n")
        head = await self._until("\r\n\r\n")
        assert " 200 " in head
        assert "text/event-stream" in head.lower()
        assert "access-control" not in head.lower()

    async def event(self) -> tuple[str, Any]:
        """The next event that is none; comments and chunk sizes are left out."""
        while True:
            lines = [line for line in (await self._until("\n\n")).split("\n") if line]
            named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            if named:
                (data,) = (line.removeprefix("data: ") for line in lines if line.startswith("data: "))
                return named[0], json.loads(data)
            if any(line.startswith(":") for line in lines):
                return "comment", None

    async def _until(self, end: str) -> str:
        while end not in self._text:
            part = await self._stream.receive_some()
            assert part, f"the stream has ended: {self._text}"
            self._text += part.decode()
        text, _, self._text = self._text.partition(end)
        return text


def run(main: Callable[[Scene], Awaitable[None]], *, mock: bool = False) -> None:
    async def with_scene() -> None:
        with trio.fail_after(1_000 if mock else 30):
            await main(Scene())

    trio.run(with_scene, clock=MockClock(autojump_threshold=0.02) if mock else None)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_the_page_comes_with_what_protects_it() -> None:
    async def main(scene: Scene) -> None:
        head, _, body = (await scene.ask()).partition(b"\r\n\r\n")
        assert body == PAGE.html
        for line in (
            f"Content-Security-Policy: {PAGE.policy}",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Resource-Policy: same-origin",
            "X-Frame-Options: DENY",
            "Cache-Control: no-store",
        ):
            assert line in head.decode().split("\r\n")

    run(main)


@pytest.mark.parametrize("path", ["/", "/state", "/nothing"])
def test_no_answer_lets_another_site_read_it(path: str) -> None:
    async def main(scene: Scene) -> None:
        head = (await scene.ask(path)).partition(b"\r\n\r\n")[0].lower()
        assert b"access-control" not in head
        assert b"cross-origin-resource-policy: same-origin" in head
        assert b"content-security-policy: default-src 'none'" in head

    run(main)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8470", 200),
        ("localhost:8470", 200),
        ("LOCALHOST:8470", 200),
        ("evil.example:8470", 421),
        ("127.0.0.1:8471", 421),
        ("127.0.0.1", 421),
        ("127.0.0.1.evil.example:8470", 421),
        ("localhost:8470.evil.example", 421),
        ("", 400),
    ],
)
def test_a_foreign_name_that_points_here_reads_nothing(host: str, status: int) -> None:
    async def main(scene: Scene) -> None:
        for path in ("/", "/state", "/events") if status != 200 else ("/", "/state"):
            answer = await scene.ask(path, host=host)
            assert status_of(answer) == status
            assert status == 200 or b"<html" not in answer

    run(main)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/state", ["Sec-Fetch-Site: same-origin"], 200),
        ("/state", ["Sec-Fetch-Site: none"], 200),
        ("/state", ["Sec-Fetch-Site: cross-site"], 403),
        ("/state", ["Sec-Fetch-Site: same-site"], 403),
        ("/events", ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], 403),
        ("/state", ["Origin: http://127.0.0.1:8470"], 200),
        ("/state", ["Origin: http://localhost:3000"], 403),
        ("/state", ["Origin: null"], 403),
        ("/", ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 200),
        ("/", ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"], 403),
        ("/state", ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], 403),
    ],
)
def test_pages_of_other_sites_are_refused_and_links_to_it_are_not(path: str, headers: list[str], status: int) -> None:
    async def main(scene: Scene) -> None:
        assert status_of(await scene.ask(path, *headers)) == status

    run(main)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    async def main(scene: Scene) -> None:
        answer = await scene.ask("/state", "Content-Length: 0", method=method)
        assert status_of(answer) == 405
        assert b"Allow: GET, HEAD" in answer
        assert status_of(await scene.ask("/../state")) == 404

    run(main)


def test_the_state_is_one_json_object_whatever_the_network_says() -> None:
    async def main(scene: Scene) -> None:
        scene.server.show("link", "Link", seen(EVIL, notes=(EVIL,), operator=EVIL, where=(EVIL,)))
        answer = await scene.ask("/state")
        assert b"Content-Type: application/json" in answer
        (node,) = json.loads(answer.partition(b"\r\n\r\n")[2])["parts"]["nodes"].values()
        assert node["name"] == EVIL.replace("\n", "\\n").replace("\u202e", "\\u202e")
        assert node["notes"] == [node["name"]] == node["where"] == [node["operator"]]

    run(main)


def test_who_follows_gets_the_whole_and_then_each_change() -> None:
    async def main(scene: Scene) -> None:
        scene.server.show("link", "Link", seen("first"))
        async with scene.connected() as stream:
            follower = Follower(stream)
            await follower.start()
            name, whole = await follower.event()
            assert (name, set(whole["parts"]["nodes"])) == ("whole", {"link/first"})
            scene.server.show("link", "Link", seen("second"))
            name, change = await follower.event()
            assert name == "change"
            assert set(change["set"]["nodes"]) == {"link/second"}
            assert change["gone"] == {"nodes": ["link/first"]}
            scene.server.show("link", "Link", seen("second"))
            scene.server.show("link", "Link", seen("third"))
            assert set((await follower.event())[1]["set"]["nodes"]) == {"link/third"}, "no event without a change"

    run(main)


def test_texts_cannot_end_an_event_or_begin_another() -> None:
    async def main(scene: Scene) -> None:
        async with scene.connected() as stream:
            follower = Follower(stream)
            await follower.start()
            assert (await follower.event())[0] == "whole"
            scene.server.show("link", EVIL, seen(EVIL))
            scene.server.show("dht", "DHT", seen("after"))
            assert (await follower.event())[0] == "change"
            assert set((await follower.event())[1]["set"]["nodes"]) == {"dht/after"}

    run(main)


def test_a_quiet_stream_has_a_heartbeat() -> None:
    async def main(scene: Scene) -> None:
        async with scene.connected() as stream:
            follower = Follower(stream)
            await follower.start()
            assert (await follower.event())[0] == "whole"
            started = trio.current_time()
            assert (await follower.event())[0] == "comment"
            assert HEARTBEAT_S <= trio.current_time() - started < HEARTBEAT_S + 1

    run(main, mock=True)


def test_a_page_that_does_not_read_is_dropped_and_may_come_again_while_others_read_on() -> None:
    async def main(scene: Scene) -> None:
        async with scene.connected() as deaf, scene.connected() as stream:
            await deaf.send_all(b"GET /events HTTP/1.1\r\nHost: localhost:8470\r\n\r\n")
            follower = Follower(stream)
            await follower.start()
            assert (await follower.event())[0] == "whole"
            number = 0
            with trio.fail_after(60):
                while not scene.server.readers.dropped:
                    number += 1
                    scene.server.show("link", "Link", seen(f"n{number}", notes=("x" * 300,) * 60))
                    assert set((await follower.event())[1]["set"]["nodes"]) == {f"link/n{number}"}
            assert number > QUEUE_MAX
            said = b"".join([part async for part in deaf])
            assert not said.endswith(b"0\r\n\r\n"), "no end that could be taken for that of an event"
        async with scene.connected() as again:
            follower = Follower(again)
            await follower.start()
            assert set((await follower.event())[1]["parts"]["nodes"]) == {f"link/n{number}"}

    run(main)


def test_too_many_pages_are_told_to_come_later() -> None:
    async def main(scene: Scene) -> None:
        async with trio.open_nursery() as nursery:

            async def follow(*, task_status: trio.TaskStatus[None]) -> None:
                async with scene.connected() as stream:
                    await Follower(stream).start()
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(READERS_MAX):
                await nursery.start(follow)
            answer = await scene.ask("/events")
            assert status_of(answer) == 503
            assert b"Retry-After: 5" in answer
            assert status_of(await scene.ask("/state")) == 200, "pages are others' business"
            nursery.cancel_scope.cancel()

    run(main)


def test_a_client_that_says_nothing_is_ended_in_time() -> None:
    async def main(scene: Scene) -> None:
        async with scene.connected() as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: loc")
            assert b"".join([part async for part in stream]) == b""
        assert trio.current_time() < CONFIG.request_s + 1
        assert scene.server.answers == {408: 1}

    run(main, mock=True)


def test_it_listens_on_loopback_and_says_where() -> None:
    async def main() -> None:
        server = ConsoleServer(PAGE, {})
        async with trio.open_nursery() as nursery:
            url: str = await nursery.start(server.serve, 0)
            assert url.startswith(f"http://{LOOPBACK}:")
            port = int(url.rstrip("/").rpartition(":")[2])
            async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
                await stream.send_all(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
                assert b"".join([part async for part in stream]).endswith(PAGE.html)
            nursery.cancel_scope.cancel()

    trio.run(main)
