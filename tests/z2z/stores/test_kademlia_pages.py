import asyncio

import pytest

from mdht.signing import SigningKey
from z2z.errors import StoreError
from z2z.stores import kademlia_pages
from z2z.stores.kademlia_pages import FULL_S, Pages, Written
from z2z.stores.kademlia_sets import absorb, alive, page_key

KEY = b"k" * 20
TOM, JOE = SigningKey.from_seed(b"t" * 32), SigningKey.from_seed(b"j" * 32)
BIG = b"x" * 600


class OneTable:
    """A network that is one table, and a clock."""

    def __init__(self) -> None:
        self.sets = {}
        self.now = 1_800_000_000.0
        self.reads = 0

    def clock(self) -> float:
        return self.now

    async def read(self, key):
        self.reads += 1
        return alive(self.sets.get(key, ()), self.now)

    async def write(self, record):
        held = absorb(await self.read(record.key), [record])
        if record not in held:
            newest = {each.slot: each.seq for each in held}
            return Written(fits=False, newest_seq=newest.get(record.slot, -1))
        self.sets[record.key] = held
        return Written(fits=True, stored=1)

    def pages_of(self, name):
        return [page for page in range(32) if any(each.name == name for each in self.sets.get(page_key(KEY, page), ()))]


def run(work):
    async def main():
        network = OneTable()
        await work(network, Pages(network, TOM, network.clock), Pages(network, JOE, network.clock))

    asyncio.run(main())


async def names(pages):
    return {stored.name for stored in await pages.get(KEY)}


async def fill(pages, full_pages=1):
    """Put eleven values in each page: what there is room for."""
    for number in range(11 * full_pages):
        await pages.put(KEY, b"%d" % number, BIG, 60)


def test_few_values_lie_under_the_key_itself_and_cost_two_reads():
    async def work(network, tom, joe):
        await tom.put(KEY, b"a", b"1", 60)
        network.reads = 0
        assert await names(joe) == {b"a"}
        assert network.reads == 2
        assert network.pages_of(b"a") == [0]

    run(work)


def test_a_value_moves_down_when_there_is_room_again():
    async def work(network, tom, joe):
        await fill(joe)
        await tom.put(KEY, b"late", BIG, 600)
        assert network.pages_of(b"late") == [1]
        network.now += max(FULL_S, 60) + 1
        assert await names(joe) == {b"late"}  # page 0 is empty, page 1 is not
        await tom.put(KEY, b"late", b"newer", 600)
        assert network.pages_of(b"late") == [0, 1]
        assert [stored.value for stored in await joe.get(KEY)] == [b"newer"]
        await tom.remove(KEY, b"late")
        assert await names(joe) == set()

    run(work)


def test_a_page_known_to_be_full_is_not_tried_again_at_once_but_its_own_values_are_replaced():
    async def work(network, tom, joe):
        await fill(tom)
        await tom.put(KEY, b"11", BIG, 60)
        assert network.pages_of(b"11") == [1]
        await tom.put(KEY, b"0", BIG[::-1], 60)
        assert network.pages_of(b"0") == [0]
        network.reads = 0
        await tom.put(KEY, b"12", BIG, 60)
        assert network.reads == 1

    run(work)


def test_a_reader_looks_at_pages_in_use_even_behind_an_empty_one():
    async def work(network, tom, joe):
        await fill(joe, full_pages=3)
        await tom.put(KEY, b"far", BIG, 600)
        assert network.pages_of(b"far") == [3]
        assert b"far" in await names(tom)
        network.now += 61
        assert await names(tom) == {b"far"}

    run(work)


def test_a_clock_that_was_set_back_does_not_stop_updates():
    async def work(network, tom, joe):
        await tom.put(KEY, b"a", b"1", 600)
        network.now -= 100
        again = Pages(network, TOM, network.clock)  # as a new process knows nothing of the number
        await again.put(KEY, b"a", b"2", 600)
        assert [stored.value for stored in await joe.get(KEY)] == [b"2"]
        await again.remove(KEY, b"a")
        assert await names(joe) == set()

    run(work)


def test_a_value_whose_chunks_are_gone_is_left_out():
    async def work(network, tom, joe):
        await tom.put(KEY, b"large", b"y" * 3_000, 60)
        await tom.put(KEY, b"small", b"1", 60)
        assert await names(joe) == {b"large", b"small"}
        network.sets = {KEY: network.sets[KEY]}
        assert await names(joe) == {b"large", b"small"}  # he has kept it
        assert await names(tom) == {b"small"}

    run(work)


def test_manifests_cost_a_reader_no_more_than_so_many_chunks(monkeypatch):
    monkeypatch.setattr(kademlia_pages, "CHUNKS_MAX", 10)

    async def work(network, tom, joe):
        for number in range(3):
            await tom.put(KEY, b"%d" % number, bytes([number]) * 3_000, 60)
        assert len(await names(joe)) == 2
        assert len(await names(joe)) == 3  # two are kept from the first time

    run(work)


def test_an_impossible_lease_or_name_is_an_error_of_the_store():
    async def work(network, tom, joe):
        with pytest.raises(StoreError, match="lease"):
            await tom.put(KEY, b"a", b"1", 8 * 86_400)
        with pytest.raises(StoreError, match="name 65"):
            await tom.put(KEY, b"n" * 65, b"1", 60)

    run(work)
