"""Records over connections, on real sockets of loopback: whatever goes wrong is counted and told as a failure."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from dhtboot.ids import Address
from mdht import link_bulk
from mdht.link_bulk import CALLED_MAX, CALLED_PER_HOST_MAX, SERVED_PER_HOST_MAX, BulkChannel
from mdht.records import Copy, Record
from mdht.subnet.bulk_wire import pages
from mdht.subnet.messages import AckStatus, Fetch
from mdht.subnet.query import FetchBulk
from mdht.subnet.store_effects import BulkTo
from mdht.wire import read_copy

KEY = bytes(20)
MANY = tuple([bytes([number % 256]) * 900 for number in range(1000)])


class Host:
    """What a channel serves, and what it was told."""

    hid = b"hosthost"

    def __init__(self, tag: bytes = b"tagtagta", held: tuple[bytes, ...] = MANY) -> None:
        self.tag = tag
        self.held = held
        self.cached = held[:2]
        self.taken: list[bytes] = []
        self.knows_callers = True
        self.told: list[Any] = []

    def records(self, key: bytes, _now: float, *, cached: bool) -> tuple[bytes, ...]:
        return () if key != KEY else self.cached if cached else self.held

    def take_bulk(self, _hid: bytes, records: Sequence[bytes], _now: float) -> tuple[tuple[AckStatus, ...], list[Any]]:
        if not self.knows_callers:
            return (), []
        self.taken += records
        return (AckStatus.STORED,) * len(records), ["an effect"]

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], _now: float) -> list[Any]:
        self.told.append((qid, hid, records))
        return []

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], _now: float) -> list[Any]:
        self.told.append((qid, tuple(statuses)))
        return []


class Loopback:
    """A link on which all of loopback is, or nothing."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there

    def reaches(self, _address: Address) -> bool:
        return self.there

    async def connect(self, to: Address) -> trio.SocketStream:
        return await trio.open_tcp_stream(*to)


def channel(host: Host, *keys: bytes, overlay: str = "test", there: bool = True, **more: float) -> BulkChannel:
    performed: list[Any] = []

    def perform(effects: Iterable[Any]) -> None:
        performed.extend(effects)

    made = BulkChannel(host, Loopback(there=there), overlay, keys, draw=secrets.token_bytes, perform=perform, **more)
    made.performed = performed  # type: ignore[attr-defined]
    return made


@asynccontextmanager
async def served(by: BulkChannel) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, by.serve, [listener])
        yield listener.socket.getsockname()
        nursery.cancel_scope.cancel()


async def fetch(
    by: BulkChannel, address: Address, key: bytes = KEY, hid: bytes = Host.hid, *, cached: bool | None = None
) -> tuple[bytes, ...]:
    """What comes of a wish to fetch."""
    await by.transfer(FetchBulk(hid, address, Fetch(qid=b"qidqidqi", key=key, cached=cached)))
    _qid, _hid, records = told(by).pop()
    return records  # type: ignore[no-any-return]


async def send(by: BulkChannel, address: Address, records: tuple[bytes, ...]) -> tuple[AckStatus, ...]:
    """What comes of a wish to send."""
    await by.transfer(BulkTo(Host.hid, address, b"qidqidqi", records))
    _qid, statuses = told(by).pop()
    return statuses  # type: ignore[no-any-return]


def told(by: BulkChannel) -> list[Any]:
    assert isinstance(by._core, Host)
    return by._core.told


def idle(by: BulkChannel) -> bool:
    return (by._wanted, by._bytes_wanted, len(by._calls_to), by._calls.value) == (0, 0, 0, CALLED_MAX)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with trio.fail_after(20):
            await test()

    trio.run(limited)


@pytest.mark.parametrize("keys", [(), (b"k" * 16,)])
def test_a_thousand_records_come_over_and_go_over(keys: tuple[bytes, ...]) -> None:
    async def test() -> None:
        server, client = Host(), Host(held=())
        there, here = channel(server, *keys), channel(client, *keys)
        async with served(there) as address:
            assert await fetch(here, address) == MANY
            assert await fetch(here, address, b"x" * 20) == ()
            assert await fetch(here, address, cached=True) == MANY[:2], "what is cached is asked for apart"
            assert await send(here, address, MANY[:300]) == (AckStatus.STORED,) * 300
            assert server.taken == [*MANY[:300]]
            frames = len(there.performed)  # type: ignore[attr-defined]
            assert frames == len(pages(MANY[:300])) > 1, "stored a frame at a time"
            assert idle(here)
            assert (there.counters["bulk_served"], there.counters["bulk_taken"]) == (3, 1)

    run(test)


def test_the_host_is_told_what_has_come_of_its_wishes() -> None:
    async def test() -> None:
        client = Host()
        here = channel(client)
        async with served(channel(Host())) as address:
            await here.transfer(FetchBulk(Host.hid, address, Fetch(qid=b"qidqidqi", key=KEY)))
            await here.transfer(BulkTo(Host.hid, address, b"qidqid_2", MANY[:2]))
        await here.transfer(BulkTo(Host.hid, address, b"qidqid_3", MANY[:2]))
        assert client.told == [
            (b"qidqidqi", Host.hid, MANY),
            (b"qidqid_2", (AckStatus.STORED,) * 2),
            (b"qidqid_3", ()),
        ]
        assert here.counters["bulk_calls_failed"] == 1

    run(test)


@pytest.mark.parametrize(
    ("there", "here", "why"),
    [
        ({"overlay": "other"}, {}, "bulk_refused"),
        ({"keys": (b"k" * 16,)}, {"keys": (b"o" * 16,)}, "bulk_refused"),
        ({"tag": b"othertag"}, {}, "bulk_refused"),
        ({"there": False}, {}, "bulk_off_link"),
    ],
)
def test_strangers_get_nothing(there: dict[str, Any], here: dict[str, Any], why: str) -> None:
    def made(overlay: str = "test", keys: tuple[bytes, ...] = (), tag: bytes = b"tagtagta", **more: Any) -> BulkChannel:
        return channel(Host(tag), *keys, overlay=overlay, **more)

    async def test() -> None:
        server, client = made(**there), made(**here)
        async with served(server) as address:
            assert await fetch(client, address) == ()
            assert await send(client, address, MANY[:2]) == ()
            await trio.testing.wait_all_tasks_blocked()
        assert client.counters["bulk_calls_failed"] == 2
        assert server.counters[why] + client.counters[why] >= 2

    run(test)


def test_what_breaks_off_in_the_middle_is_counted_and_leaves_nothing_open() -> None:
    async def test() -> None:
        server = channel(Host())
        async with served(server) as address:
            for said in (b"", b"mDB", b"GET / HTTP/1.0\r\n\r\n"):
                stream = await trio.open_tcp_stream(*address)
                await stream.receive_some(1000)
                await stream.send_all(said or b"m")
                await stream.aclose()
            while sum(server.counters.values()) < 3:
                await trio.lowlevel.checkpoint()
            assert not server._served
            assert await fetch(channel(Host()), address) == MANY, "it goes on serving"

    run(test)


def test_one_host_is_served_by_so_many_connections_at_a_time() -> None:
    async def test() -> None:
        server = channel(Host())
        async with served(server) as address:
            idle = [await trio.open_tcp_stream(*address) for _ in range(SERVED_PER_HOST_MAX)]
            for stream in idle:
                assert await stream.receive_some(1000)
            assert await fetch(channel(Host()), address) == ()
            assert server.counters["bulk_turned_away"] == 1
            for stream in idle:
                await stream.aclose()
            while server._served:
                await trio.lowlevel.checkpoint()
            assert await fetch(channel(Host()), address) == MANY

    run(test)


def test_a_silent_peer_is_cut_off() -> None:
    async def test() -> None:
        async with served(channel(Host(), transfer_s=0.1)) as address:
            stream = await trio.open_tcp_stream(*address)
            assert await stream.receive_some(1000)
            assert await stream.receive_some(1000) == b"", "closed"
            await stream.aclose()

    run(test)


def test_who_is_not_known_there_has_nothing_stored_and_is_told_of_a_failure() -> None:
    async def test() -> None:
        server = Host()
        server.knows_callers = False
        here, there = channel(Host()), channel(server)
        async with served(there) as address:
            assert await send(here, address, MANY[:2]) == ()
            assert there.counters["bulk_refused"] == 1

    run(test)


def test_somebody_else_at_the_address_is_not_asked() -> None:
    async def test() -> None:
        here = channel(Host())
        async with served(channel(Host())) as address:
            assert await fetch(here, address, hid=b"otherone") == ()
        assert here.counters["bulk_refused"] == 1

    run(test)


def test_a_copy_is_younger_by_the_time_that_it_has_waited_and_travelled(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(KEY, b"w" * 32, b"", 1, 300, False, b"value", bytes(64))
    data = msgspec.msgpack.encode(Copy(record, 200.0))

    async def test() -> None:
        server = Host()
        here = channel(Host())
        monkeypatch.setattr(here._link, "connect", late(0.05))
        async with served(channel(server)) as address:
            await send(here, address, (data,))
        (copy,) = [read_copy(taken) for taken in server.taken]
        assert copy is not None
        assert copy.record == record
        assert 195.0 < copy.remaining_s <= 199.95

    def late(by_s: float) -> Callable[[Address], Awaitable[trio.SocketStream]]:
        async def connect(to: Address) -> trio.SocketStream:
            await trio.sleep(by_s)
            return await trio.open_tcp_stream(*to)

        return connect

    run(test)


def test_of_one_host_a_few_transfers_at_a_time_are_wanted_and_others_are_not_kept_waiting() -> None:
    async def test() -> None:
        here = channel(Host())
        silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nobody = silent[0].socket.getsockname()
        async with served(channel(Host())) as address, trio.open_nursery() as nursery:
            for _ in range(CALLED_MAX + 1):
                nursery.start_soon(fetch, here, nobody)
            await trio.testing.wait_all_tasks_blocked()
            assert here._calls.value == CALLED_MAX - CALLED_PER_HOST_MAX
            assert await fetch(here, address) == MANY
            nursery.cancel_scope.cancel()
        assert idle(here)
        await silent[0].aclose()

    run(test)


def test_more_than_so_many_wishes_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_bulk, "WANTED_BYTES_MAX", 1000)

    async def test() -> None:
        here = channel(Host())
        async with served(channel(Host())) as address:
            assert await send(here, address, MANY[:2]) == ()
            assert await send(here, address, MANY[:1]) == (AckStatus.STORED,)
        assert here.counters["bulk_refused"] == 1

    run(test)


def test_who_does_not_greet_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_bulk, "GREET_S", 0.1)

    async def test() -> None:
        here = channel(Host())
        (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        assert await fetch(here, silent.socket.getsockname()) == ()
        await silent.aclose()
        assert here.counters["bulk_late"] == 1
        assert idle(here)

    run(test)
