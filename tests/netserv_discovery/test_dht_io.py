from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import UnreachableError as MdhtUnreachableError
from netserv_discovery.advertising import Put, Remove
from netserv_discovery.dht_io import GET_S, PUT_S, Dht, Writer, remove_all
from netserv_discovery.errors import LocalProtocolError, UnreachableError
from tests.netserv_discovery.memory_records import MemoryRecords

KEY, OTHER = bytes(20), bytes([1]) * 20


def put(text: str, key: bytes = KEY) -> Put:
    return Put(key=key, name=b"n", value=text.encode(), lease_s=60, text="block:ffmpeg")


def remove(key: bytes = KEY) -> Remove:
    return Remove(key=key, name=b"n", text="block:ffmpeg")


@asynccontextmanager
async def writing(records: MemoryRecords, done: list[tuple[str, str | None]]) -> AsyncIterator[Writer]:
    writer = Writer(lambda effect, error: done.append((effect.value.decode(), error)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run, Dht(records, "memory"))
        yield writer
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await trio.sleep(0.01)


def run(function: Callable[[], object]) -> None:
    trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_is_to_be_put_is_put_and_reported() -> None:
    async def main() -> None:
        records, done = MemoryRecords(), list[tuple[str, str | None]]()
        async with writing(records, done) as writer:
            writer.take(put("one"))
            assert not writer.settled
            await until(lambda: writer.settled)
        assert records.values == {(KEY, b"n"): b"one"}
        assert done == [("one", None)]

    run(main)


def test_of_a_slot_only_the_newest_is_begun_and_a_put_never_overtakes_a_removal() -> None:
    async def main() -> None:
        records, done = MemoryRecords(), list[tuple[str, str | None]]()
        records.delay_s = 1.0
        async with writing(records, done) as writer:
            writer.take(put("one"))
            await trio.sleep(0.5)
            writer.take(put("two"))
            writer.take(put("three"))
            await until(lambda: writer.settled)
            assert records.calls == ["put one 60", "put three 60"]
            writer.take(put("four"))
            await trio.sleep(0.5)
            writer.take(remove())
            await until(lambda: writer.settled)
        assert records.values == {}
        assert [text for text, _ in done] == ["one", "three", "four"]

    run(main)


def test_what_failed_is_reported_with_its_reason() -> None:
    async def main() -> None:
        records, done = MemoryRecords(), list[tuple[str, str | None]]()
        records.error = MdhtUnreachableError("nobody")
        async with writing(records, done) as writer:
            writer.take(put("one"))
            writer.take(put("two", OTHER))
            await until(lambda: writer.settled)
            records.error = None
            writer.take(put("one"))
            await until(lambda: writer.settled)
            assert writer.counters == {"failed": 2, "puts": 1}
        assert sorted(done[:2]) == [("one", "nobody"), ("two", "nobody")]  # side by side
        assert done[2:] == [("one", None)]

    run(main)


def test_the_end_does_not_wait_for_a_dht_that_is_silent() -> None:
    async def main() -> None:
        records = MemoryRecords()
        records.values[KEY, b"n"] = b"one"
        dht = Dht(records, "memory")
        await remove_all(dht, [remove()])
        assert records.values == {}
        records.error = MdhtUnreachableError("nobody")
        await remove_all(dht, [remove()])
        records.delay_s = 100.0
        begun = trio.current_time()
        await remove_all(dht, [remove(), remove(OTHER)])
        assert trio.current_time() - begun == pytest.approx(2.0)

    run(main)


def test_a_put_that_nobody_has_stored_is_an_error_with_its_reasons() -> None:
    async def main() -> None:
        records = MemoryRecords()
        dht = Dht(records, "memory")
        records.stored = 0
        with pytest.raises(UnreachableError, match=r"192\.0\.2\.1:1 busy"):
            await dht.put(KEY, b"n", b"v", lease_s=60)
        records.delay_s = PUT_S + 1
        with pytest.raises(UnreachableError, match="did not answer within 10 s"):
            await dht.put(KEY, b"n", b"v", lease_s=60)
        records.delay_s, records.error = 0.0, MdhtLocalError("too large")
        with pytest.raises(LocalProtocolError, match="too large"):
            await dht.put(KEY, b"n", b"v", lease_s=60)

    run(main)


def test_a_key_that_cannot_be_read_is_an_error_and_counted() -> None:
    async def main() -> None:
        records = MemoryRecords()
        dht = Dht(records, "memory")
        records.values[KEY, b"n"] = b"v"
        assert [each.value for each in await dht.get(KEY)] == [b"v"]
        assert await dht.get(OTHER) == []
        records.error = MdhtUnreachableError("nobody")
        with pytest.raises(UnreachableError, match="nobody"):
            await dht.get(KEY)
        records.error, records.delay_s = None, GET_S + 1
        with pytest.raises(UnreachableError, match="within 3 s"):
            await dht.get(KEY)
        assert dht.counters["gets_failed"] == 2

    run(main)


def test_a_watch_rings_once_for_changes_that_were_not_read_yet_and_outlives_its_node() -> None:
    async def main() -> None:
        records = MemoryRecords()
        dht = Dht(records, "memory")
        async with dht.watch([KEY, OTHER]) as rings:
            await trio.testing.wait_all_tasks_blocked()
            for value in (b"1", b"2", b"3"):
                await records.put(KEY, value, ttl_s=60)
            await trio.testing.wait_all_tasks_blocked()
            assert {await rings.receive(), await rings.receive()} == {KEY, OTHER}  # the memory rings all watchers
            with trio.move_on_after(0.5) as patience:
                await rings.receive()
            assert patience.cancelled_caught
            for watcher in records.watchers:
                await watcher.aclose()
            records.watchers.clear()
            await trio.sleep(2.0)
            await records.put(KEY, b"4", ttl_s=60)
            assert await rings.receive() in {KEY, OTHER}

    run(main)
