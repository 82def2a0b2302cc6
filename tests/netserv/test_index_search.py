"""The search of a node for modules that others need, over records in memory."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from mdht.errors import UnreachableError as MdhtUnreachableError
from mdht.signing import SigningKey
from netserv.controller.effects import Locate, Located
from netserv.controller.policy import DependencyRules
from netserv.errors import UnreachableError
from netserv.index_search import IndexSearch
from netserv.signaling.nslp.values import Dependency, ModuleRef
from netserv_discovery.dht_io import Dht
from netserv_discovery.index import encode, index_record
from netserv_discovery.keys import index_key
from netserv_discovery.versions import Offer
from tests.netserv_discovery.memory_records import MemoryRecords

CAROL, STRANGER = (SigningKey.from_seed(bytes([number]) * 32) for number in (7, 9))
RULES = DependencyRules(fetch=True, publishers={"carol": (CAROL.public_key,)}, searches_max=2)
URLS = ("https://repository.example/base.zip", "http://mirror.example/base.zip")
NAME = "NetServ.base"
BEGUN = 1_700_000_000


class World:
    def __init__(self) -> None:
        self.records = MemoryRecords()
        self.search = IndexSearch(lambda: RULES)
        self.running: Any = SimpleNamespace(in_dht=True, joined=trio.Event(), dht=Dht(self.records, "memory"))

    def publish(self, version: str, key: SigningKey = CAROL, digest: bytes = bytes(32)) -> None:
        record = index_record(
            Offer(NAME, version),
            key.public_key,
            digest=digest,
            size=99,
            urls=URLS,
            issued=1_700_000_000,
            life_s=30_000_000,
        )
        self.records.values[index_key(NAME), key.public_key + version.encode()] = encode(record, key)

    async def locate(self, dependency: Dependency, user: str = "alice") -> Located:
        return await self.search.locate(Locate(job=1, user=user, dependency=dependency))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A node that has joined the DHT."""
    monkeypatch.setattr("netserv_discovery.locating.time.time", lambda: BEGUN + 100.0)
    made = World()
    made.search.use(made.running)
    made.running.joined.set()
    return made


async def test_the_newest_that_will_do_of_who_is_believed_is_found(world: World) -> None:
    world.publish("1.2", digest=b"2" * 32)
    world.publish("1.10", digest=b"1" * 32)
    world.publish("7", STRANGER)
    expected = Located(module=ModuleRef(NAME, "1.10"), publisher=CAROL.public_key, digest=b"1" * 32, size=99, urls=URLS)
    assert await world.locate(Dependency(NAME, "1.1")) == expected
    assert await world.locate(Dependency(NAME)) == expected


async def test_what_only_strangers_have_signed_is_not_found(world: World) -> None:
    world.publish("1.2", STRANGER)
    with pytest.raises(UnreachableError, match="the index has no bundle of it by carol; left out: 1 unbelieved"):
        await world.locate(Dependency(NAME))


async def test_what_is_too_old_is_not_found(world: World) -> None:
    world.publish("1.2")
    with pytest.raises(UnreachableError, match=r"the index has no bundle of it by carol$"):
        await world.locate(Dependency(NAME, "2"))


async def test_a_dht_that_does_not_answer_is_told(world: World) -> None:
    world.records.error = MdhtUnreachableError("nobody there")
    with pytest.raises(UnreachableError, match="nobody there"):
        await world.locate(Dependency(NAME))


async def test_a_node_without_a_dht_says_so(world: World) -> None:
    world.running.in_dht = False
    for running in (None, world.running):
        world.search.use(running)
        with pytest.raises(UnreachableError, match="the node is in no DHT"):
            await world.locate(Dependency(NAME))


async def test_a_search_waits_until_the_dht_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netserv_discovery.locating.time.time", lambda: BEGUN + 100.0)
    world = World()
    world.publish("1.2")
    found: list[Located] = []

    async def look() -> None:
        found.append(await world.locate(Dependency(NAME)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        world.search.use(world.running)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        world.running.joined.set()
    assert [str(one.module) for one in found] == [f"{NAME}_1.2"]


async def test_one_publisher_searches_once_at_a_time_and_leaves_others_their_turn(world: World) -> None:
    world.publish("1.2")
    at_once: list[int] = []
    gate, asking = trio.Event(), []
    get = world.records.get

    async def slow(key: bytes, *, fresh: bool = False) -> Any:
        asking.append(key)
        await gate.wait()
        return await get(key, fresh=fresh)

    world.records.get = slow  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(world.locate, Dependency(NAME))
        await trio.testing.wait_all_tasks_blocked()
        at_once.append(len(asking))
        nursery.start_soon(world.locate, Dependency(NAME), "bob")
        await trio.testing.wait_all_tasks_blocked()
        at_once.append(len(asking))
        gate.set()
    assert at_once == [1, 2]
