"""Searches over records in memory, and nodes that answer pings on loopback."""

import time
from collections.abc import Awaitable, Callable
from random import SystemRandom

import msgspec
import trio

from mdht.errors import UnreachableError as MdhtUnreachableError
from mdht.signing import SigningKey
from netserv_discovery.dht_io import Dht
from netserv_discovery.find import Change, Finder, changes_between
from netserv_discovery.finder import FinderConfig
from netserv_discovery.keys import keys_of
from netserv_discovery.location import Location
from netserv_discovery.ping import Responder
from netserv_discovery.ping_io import open_ping_server
from netserv_discovery.ranking import Found, Trust
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from tests.netserv_discovery.memory_records import MemoryRecords

NEW_YORK, BOSTON, PARIS = Location(40.71, -74.01), Location(42.36, -71.06), Location(48.86, 2.35)
FFMPEG = Wanted(blocks=(parse_need("ffmpeg"),), near=NEW_YORK)
PATIENCE_S = 5.0


class World:
    """A DHT in memory with nodes that are there."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.records = MemoryRecords()
        self.finder = Finder(Dht(self.records, "memory"), FinderConfig(deadline_s=2.0))
        self._nursery = nursery

    async def node(
        self, name: str, location: Location | None, *, block: str = "5.1", answers: bool = True, life_s: int = 60
    ) -> NodeRecord:
        """A node with ffmpeg."""
        key, port = SigningKey.generate(), 1
        if answers:
            port = await self._nursery.start(self._answer, key)
        now = int(time.time())
        record = NodeRecord(
            public_key=key.public_key,
            node_id=name,
            addresses=(bytes((127, 0, 0, 1)),),
            ping_port=port,
            blocks=(Offer("ffmpeg", block),),
            location=location,
            issued=now,
            expires=now + life_s,
        )
        await self.put(record, key)
        return record

    async def _answer(self, key: SigningKey, *, task_status: trio.TaskStatus[int]) -> None:
        async with open_ping_server(Responder(key, SystemRandom(), trio.current_time())) as server:
            task_status.started(server.port)
            await trio.sleep_forever()

    async def put(self, record: NodeRecord, key: SigningKey) -> None:
        for place in keys_of(record):
            await self.records.put(place.key, encode(record, key), ttl_s=60, name=record.public_key)

    async def remove(self, record: NodeRecord) -> None:
        for place in keys_of(record):
            await self.records.remove(place.key, record.public_key)


def run(main: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        with trio.fail_after(4 * PATIENCE_S):
            async with trio.open_nursery() as nursery:
                await main(World(nursery))
                nursery.cancel_scope.cancel()

    trio.run(whole)


def names(found: tuple[Found, ...]) -> list[str]:
    return [each.record.node_id for each in found]


def test_the_nearest_that_answer_come_first_with_the_reasons() -> None:
    async def main(there: World) -> None:
        await there.node("paris", PARIS)
        await there.node("mute", NEW_YORK, answers=False)
        await there.node("boston", BOSTON)
        await there.node("old", NEW_YORK, block="4.0")
        done = await there.finder.find(msgspec.structs.replace(FFMPEG, blocks=(parse_need("ffmpeg>=5"),), limit=3))
        assert names(done.found) == ["boston", "paris", "mute"]
        assert [each.trust for each in done.found] == [Trust.CONFIRMED, Trust.CONFIRMED, Trust.SILENT]
        assert done.found[0].reasons[0].startswith("306 km away")
        assert done.found[2].reasons[1] == "does not answer"

    run(main)


def test_a_record_that_came_another_way_is_found_too() -> None:
    async def main(there: World) -> None:
        record = await there.node("boston", BOSTON)
        (data,) = set(there.records.values.values())
        await there.remove(record)
        assert (await there.finder.find(FFMPEG)).found == ()
        assert names((await there.finder.find(FFMPEG, [data])).found) == ["boston"]

    run(main)


def test_a_dht_that_does_not_answer_gives_an_answer_that_is_not_certain() -> None:
    async def main(there: World) -> None:
        await there.node("boston", BOSTON)
        there.records.error = MdhtUnreachableError("nobody")
        done = await there.finder.find(FFMPEG)
        assert (done.found, done.certain) == ((), False)

    run(main)


async def next_change(changes: trio.MemoryReceiveChannel[Change]) -> tuple[str, str]:
    with trio.fail_after(PATIENCE_S):
        change = await changes.receive()
    return change.kind, change.node.record.node_id


def test_a_watch_tells_who_is_there_and_who_comes_changes_and_goes() -> None:
    async def main(there: World) -> None:
        first = await there.node("boston", BOSTON)
        async with there.finder.watch(FFMPEG) as changes:
            assert await next_change(changes) == ("found", "boston")
            second = await there.node("york", NEW_YORK)
            assert await next_change(changes) == ("found", "york")
            await there.remove(first)
            assert await next_change(changes) == ("lost", "boston")
            await there.remove(second)
            assert await next_change(changes) == ("lost", "york")

    run(main)


def test_a_watch_notices_that_a_record_has_expired_though_nobody_says_so() -> None:
    async def main(there: World) -> None:
        await there.node("brief", BOSTON, life_s=1)
        async with there.finder.watch(FFMPEG) as changes:
            assert await next_change(changes) == ("found", "brief")
            assert await next_change(changes) == ("lost", "brief")

    run(main)


def test_what_wavers_from_look_to_look_is_no_change() -> None:
    record = NodeRecord(public_key=bytes(32), node_id="a", issued=1, expires=10)
    found = Found(record=record, trust=Trust.CONFIRMED, distance_km=1.0, rtt_s=0.1, load=1, crowded=False, reasons=())
    later = msgspec.structs.replace(
        found, record=msgspec.structs.replace(record, issued=2, expires=20, load=9), rtt_s=0.2, reasons=("x",)
    )
    assert changes_between([found], [later]) == []
    silent = msgspec.structs.replace(later, trust=Trust.SILENT)
    assert changes_between([found], [silent]) == [Change(kind="changed", node=silent)]
    busy = msgspec.structs.replace(later, load=5)
    assert changes_between([found], [busy]) == [Change(kind="changed", node=busy)]
    assert changes_between([], [found]) == [Change(kind="found", node=found)]
    assert changes_between([found], []) == [Change(kind="lost", node=found)]
