import math

import pytest
import trio
from trio.testing import MockClock

from z2z.errors import StoreError
from z2z.stores.memory import MemoryStore, MemoryTable

KEY = b"k" * 20


def on_virtual_time(main):
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_values_of_several_writers_live_side_by_side_until_their_lease_ends():
    async def main():
        table = MemoryTable()
        tom, joe = MemoryStore(b"t" * 32, table), MemoryStore(b"j" * 32, table)
        await tom.put(KEY, b"n", b"1", 10)
        await joe.put(KEY, b"n", b"2", 20)
        assert {stored.value for stored in await tom.get(KEY)} == {b"1", b"2"}
        await trio.sleep(10)
        (left,) = await tom.get(KEY)
        assert (left.value, left.remaining_s) == (b"2", 10)
        assert await tom.get(b"o" * 20) == []

    on_virtual_time(main)


def test_only_the_own_value_is_removed():
    async def main():
        table = MemoryTable()
        tom, joe = MemoryStore(b"t" * 32, table), MemoryStore(b"j" * 32, table)
        await tom.put(KEY, b"n", b"1", 10)
        await joe.remove(KEY, b"n")
        assert len(await joe.get(KEY)) == 1
        await tom.remove(KEY, b"n")
        assert await joe.get(KEY) == []

    on_virtual_time(main)


def test_a_listener_hears_the_past_and_every_change():
    async def main():
        store = MemoryStore(b"t" * 32, MemoryTable())
        await store.put(KEY, b"a", b"1", 10)
        async with store.listen(KEY) as changes:
            await store.put(KEY, b"b", b"2", 10)
            await store.put(KEY, b"b", b"3", 10)
            await store.remove(KEY, b"a")
            await store.remove(KEY, b"a")
            heard = [await changes.receive() for _ in range(4)]
            with pytest.raises(trio.WouldBlock):
                changes.receive_nowait()
        assert [(change.kind, change.stored.value) for change in heard] == [
            ("added", b"1"),
            ("added", b"2"),
            ("updated", b"3"),
            ("removed", b"1"),
        ]
        await store.put(KEY, b"c", b"4", 10)

    on_virtual_time(main)


def test_a_full_table_refuses_new_values(monkeypatch):
    async def main():
        store = MemoryStore(b"t" * 32, MemoryTable())
        await store.put(KEY, b"a", b"1", 10)
        with pytest.raises(StoreError, match="1 values"):
            await store.put(KEY, b"b", b"1", 10)
        await store.put(KEY, b"a", b"2", 10)

    monkeypatch.setattr("z2z.stores.memory.VALUES_MAX", 1)
    on_virtual_time(main)


def test_a_reader_that_lags_is_an_error_for_the_writer(monkeypatch):
    async def main():
        store = MemoryStore(b"t" * 32, MemoryTable())
        async with store.listen(KEY):
            await store.put(KEY, b"a", b"1", math.inf)
            with pytest.raises(StoreError, match="behind"):
                await store.put(KEY, b"a", b"2", math.inf)

    monkeypatch.setattr("z2z.stores.memory.CHANGES_MAX", 1)
    on_virtual_time(main)
