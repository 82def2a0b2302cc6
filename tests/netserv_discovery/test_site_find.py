"""Nodes under keys of z2z, in records in memory; the nodes answer on loopback."""

import time
from collections.abc import Awaitable, Callable
from random import SystemRandom

import pytest
import trio

from mdht.errors import UnreachableError as MdhtUnreachableError
from mdht.signing import SigningKey
from netserv_discovery.dht_io import Dht
from netserv_discovery.errors import LocalProtocolError, UnreachableError
from netserv_discovery.items_find import ItemsWanted
from netserv_discovery.ping import Responder
from netserv_discovery.ping_io import open_ping_server
from netserv_discovery.ranking import Trust
from netserv_discovery.record import NodeRecord
from netserv_discovery.site_find import SiteFinder
from netserv_discovery.sites import site_name, site_value
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from tests.netserv_discovery.memory_records import MemoryRecords
from z2z.cover import PLAIN, Cover, Secret

SECRET, FORMER = Secret(b"s" * 32), Secret(b"f" * 32)
PATIENCE_S = 20.0


class Sites(MemoryRecords):
    """Remembers who has written what."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: dict[tuple[bytes, bytes], bytes] = {}

    async def get(self, key: bytes, *, fresh: bool = False):
        values = await super().get(key, fresh=fresh)
        return [type(each)(**fields_of(each) | {"writer": self.writers[key, each.name]}) for each in values]

    def show(self, word: str, name: str, key: SigningKey, ping_port: int, cover: Cover = PLAIN) -> None:
        now = int(time.time())
        record = NodeRecord(
            public_key=key.public_key,
            node_id=name,
            addresses=(bytes((127, 0, 0, 1)),),
            ping_port=ping_port,
            blocks=(Offer("ffmpeg", "5.1"),),
            issued=now,
            expires=now + 60,
        )
        slot = cover.key(word), site_name(record, cover)
        self.values[slot] = site_value(record, key, seq=now, lease_s=60, cover=cover)
        self.writers[slot] = cover.writer(key).public_key


def fields_of(each: object) -> dict[str, object]:
    return {name: getattr(each, name) for name in type(each).__struct_fields__}


def run(main: Callable[[Sites, int, SigningKey], Awaitable[None]]) -> None:
    async def whole() -> None:
        key = SigningKey.generate()
        with trio.fail_after(PATIENCE_S):
            async with open_ping_server(Responder(key, SystemRandom(), trio.current_time())) as server:
                await main(Sites(), server.port, key)

    trio.run(whole)


def finder(records: Sites, *covers: Cover, words: tuple[str, ...] = ("office",)) -> SiteFinder:
    return SiteFinder(Dht(records, "memory"), words, covers or (PLAIN,))


async def names(looking: SiteFinder, wanted: ItemsWanted | None = None) -> list[str]:
    return sorted(each.record.node_id for each in (await looking.find(wanted or ItemsWanted(ping=False))).found)


def test_each_sees_what_his_secret_opens() -> None:
    async def main(records: Sites, port: int, key: SigningKey) -> None:
        records.show("office", "open", key, port)
        records.show("office", "hidden", key, port, SECRET)
        records.show("office", "former", SigningKey.generate(), port, FORMER)
        records.show("lab", "elsewhere", SigningKey.generate(), port)
        assert await names(finder(records)) == ["open"]
        assert await names(finder(records, SECRET)) == ["hidden"]
        assert await names(finder(records, SECRET, FORMER)) == ["former", "hidden"]
        assert await names(finder(records, words=("Office!", "lab"))) == ["elsewhere", "open"]
        assert await names(finder(records, Secret(b"x" * 32))) == []

    run(main)


def test_they_are_asked_by_ping_and_filtered_as_anywhere() -> None:
    async def main(records: Sites, port: int, key: SigningKey) -> None:
        records.show("office", "right", key, port, SECRET)
        records.show("office", "false", SigningKey.generate(), port, SECRET)
        done = await finder(records, SECRET).find(ItemsWanted(wanted=Wanted(blocks=(parse_need("ffmpeg>=5"),))))
        assert [(each.record.node_id, each.trust) for each in done.found] == [
            ("right", Trust.CONFIRMED),
            ("false", Trust.WRONG_KEY),
        ]
        assert (done.gets, done.certain) == (1, True)
        none = ItemsWanted(wanted=Wanted(blocks=(parse_need("ffmpeg>=6"),)))
        assert await names(finder(records, SECRET), none) == []

    run(main)


def test_what_somebody_has_copied_or_made_up_is_counted() -> None:
    async def main(records: Sites, port: int, key: SigningKey) -> None:
        records.show("office", "right", key, port, SECRET)
        ((slot, value),) = records.values.items()
        for name, rubbish in ((b"copy", value), (b"rubbish", b"rubbish"), (b"", b"")):
            records.values[slot[0], name] = rubbish
            records.writers[slot[0], name] = bytes(32)
        done = await finder(records, SECRET).find(ItemsWanted(ping=False))
        assert [each.record.node_id for each in done.found] == ["right"]
        assert done.counters == {"bad_signature": 1, "malformed": 2}

    run(main)


def test_a_dht_that_does_not_answer_is_told() -> None:
    async def main(records: Sites, _port: int, _key: SigningKey) -> None:
        records.error = MdhtUnreachableError("nobody there")
        with pytest.raises(UnreachableError, match="nobody there"):
            await names(finder(records))

    run(main)


def test_a_watch_tells_who_comes_and_goes() -> None:
    async def main(records: Sites, port: int, key: SigningKey) -> None:
        async with finder(records, SECRET).watch(ItemsWanted(ping=False)) as changes:
            while not records.watchers:  # noqa: ASYNC110 - the records have no event for it
                await trio.sleep(0.01)
            records.show("office", "right", key, port, SECRET)
            ((_, name), value) = next(iter(records.values.items()))
            await records.put(SECRET.key("office"), value, ttl_s=60.0, name=name)
            change = await changes.receive()
            assert (change.kind, change.node.record.node_id) == ("found", "right")
            await records.remove(SECRET.key("office"), name)
            assert (await changes.receive()).kind == "lost"

    run(main)


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="17 keys of z2z; at most 16"):
        finder(Sites(), words=tuple(f"k{number}" for number in range(17)))
