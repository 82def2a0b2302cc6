from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio

from netserv.errors import LocalProtocolError
from netserv.publisher.net_monitor.collecting import Collector
from netserv.publisher.net_monitor.reports import Report

HELLO = b'{"token":"right","interval_s":1.0}\n'
LINE = b'{"flows":[["10.4.0.2","10.1.0.2",61,5]],"others":0,"done":true}\n'


class World:
    """A collector on the loopback interface."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Report, float]] = []
        self.came: list[tuple[str, bool]] = []
        self.arrived = trio.Event()
        self.port = 0
        self.collector = Collector("right", self._reported, lambda address, here: self.came.append((address, here)))

    def _reported(self, address: str, report: Report, interval_s: float) -> None:
        self.reports.append((address, report, interval_s))
        self.arrived.set()

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10.0):
        while not condition():  # noqa: ASYNC110 - a collector has no event for what it counts
            await trio.sleep(0.01)


@asynccontextmanager
async def collecting() -> AsyncIterator[World]:
    world = World()
    async with trio.open_nursery() as nursery:
        world.port = (await nursery.start(world.collector.serve, ("127.0.0.1", 0)))[1]
        yield world
        nursery.cancel_scope.cancel()


async def test_who_shows_the_token_reports() -> None:
    async with collecting() as world:
        async with await world.connect() as stream:
            for piece in (HELLO[:10], HELLO[10:] + LINE[:7], LINE[7:]):
                await stream.send_all(piece)
            with trio.fail_after(10.0):
                await world.arrived.wait()
        ((address, report, interval_s),) = world.reports
        assert (address, interval_s, report.flows[0].packets) == ("127.0.0.1", 1.0, 5)
        await until(lambda: len(world.came) == 2)
        assert world.came == [("127.0.0.1", True), ("127.0.0.1", False)]


@pytest.mark.parametrize(
    "sent",
    [
        HELLO.replace(b"right", b"wrong") + LINE,
        LINE,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 70_000,
        HELLO + b"nothing\n",
        HELLO + LINE.replace(b"true", b"1"),
    ],
)
async def test_whoever_says_something_else_is_refused_and_counted(sent: bytes) -> None:
    async with collecting() as world, await world.connect() as stream:
        await stream.send_all(sent)
        with trio.fail_after(10.0):
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        await until(lambda: not world.collector.counters["open"])
        assert world.collector.counters["refused"] == 1
        assert world.reports == []


async def test_who_says_nothing_or_hangs_up_is_no_fault() -> None:
    async with collecting() as world:
        async with await world.connect():
            pass
        await until(lambda: world.collector.counters["refused"] == 1 and not world.collector.counters["open"])


async def test_an_address_that_is_taken_is_told_with_the_remedy() -> None:
    async with collecting() as world, trio.open_nursery() as nursery:
        with pytest.raises(LocalProtocolError, match="--report"):
            await world_start(nursery, world)


async def world_start(nursery: trio.Nursery, world: World) -> Any:
    try:
        return await nursery.start(world.collector.serve, ("127.0.0.1", world.port))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
