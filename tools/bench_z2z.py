"""Contestant: this project's own record store, many nodes in one process on loopback, each with its own socket."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random, SystemRandom
from typing import Final

import trio
import trio.testing

from dhtboot.ids import Address, id_from
from mdht import chunks
from mdht.api import Mdht
from mdht.keeping.config import KeepingConfig
from mdht.keeping.keeper import Keeper
from mdht.link_config import LinkConfig
from mdht.link_driver import LinkDriver
from mdht.link_host import AwayCodec, HostSettings, make_host
from mdht.link_io import open_link
from mdht.link_parts import Away
from mdht.link_running import RunningHost
from mdht.records import Copy, Record
from mdht.signing import SigningKey
from mdht.subnet.identity import derive
from mdht.subnet.kept import Kept
from mdht.subnet.messages import HID_BYTES
from mdht.subnet.wire import LinkCodec
from tools.bench_work import Figures, Stopwatch, Work, progress, report, resident_kib

TTL_S: Final = 3600.0
RESTART_LIMIT_S: Final = 120.0
DELIVERED_S: Final = 2.0
"An answer later than that is none."
IDLE_SHARE: Final = 0.1
"Of one core, over all nodes: what they use when nothing happens."


class Member:
    """One host of the laboratory, a subnet of its own."""

    def __init__(
        self, identity: SigningKey, port: int = 0, kept: Kept | None = None, former: tuple[Copy, ...] = ()
    ) -> None:
        self.identity = identity
        self.alive = trio.CancelScope()
        self.host: RunningHost
        self.api: Mdht
        self._port = port
        self._kept = kept
        self._former = former

    async def run(self, entry_points: list[Address], task_status: trio.TaskStatus[Member]) -> None:
        """Be a host until killed: no goodbye, the socket is closed."""
        config = LinkConfig(overlay="bench", alone=True, host="127.0.0.1", port=self._port)
        settings = HostSettings(network="bench", alone=True, keeping=KeepingConfig())
        async with open_link(config) as link:
            rng = SystemRandom()
            core = make_host(
                settings,
                self.identity.public_key[:HID_BYTES],
                1 if self._kept is None else 2,
                lambda: link.addresses,
                lambda: derive([], rng),
                rng,
                entry_points=lambda: entry_points,
                kept=self._kept,
                former=self._former,
                now=trio.current_time(),
            )
            driver = LinkDriver(
                core,
                LinkCodec("bench"),
                link,
                keyed=False,
                keep=lambda _incarnation: None,
                on_event=lambda _event: None,
                away=Away(core, AwayCodec(settings, ())),
            )
            self.host = RunningHost(core, driver, link, "bench")
            self.api = Mdht([self.host], self.identity)
            driver.perform(core.start(trio.current_time()))
            with self.alive:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(driver.run, config.look_s)
                    await self.host.keeper()
                    task_status.started(self)

    @property
    def keeper(self) -> Keeper:
        """Its records."""
        keeper = self.host.core.keeper
        assert isinstance(keeper, Keeper)
        return keeper

    @property
    def kept(self) -> Kept | None:
        """The subnet that it is, for its next start."""
        subnet = self.host.core.subnet
        return None if subnet is None else Kept(subnet=subnet, fingerprint=b"", founded_s=0.0, left_s=0.0)


class Laboratory:
    """All nodes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.members: list[Member] = []
        self._nursery = nursery

    async def add(self, count: int) -> None:
        """Start more hosts, all at once; all join through the first."""
        if not self.members:
            self.members.append(await self._nursery.start(Member(SigningKey.generate()).run, []))
            count -= 1
        entry = list(self.members[0].host.addresses)
        fresh = [Member(SigningKey.generate()) for _ in range(count)]
        async with trio.open_nursery() as starting:
            for member in fresh:
                starting.start_soon(self._nursery.start, member.run, entry)
        self.members += fresh

    async def restart(self, rng: Random) -> None:
        """Kill all, start all again with name, port, subnet, records and 16 contacts, as from state directories."""
        now = trio.current_time()
        old = [(member, member.host.addresses[0], tuple(member.keeper.copies(now))) for member in self.members]
        for member, _address, _copies in old:
            member.alive.cancel()
        await trio.testing.wait_all_tasks_blocked()
        self.members = [Member(each.identity, address[1], each.kept, copies) for each, address, copies in old]
        async with trio.open_nursery() as starting:
            for again in self.members:
                known = [address for _each, address, _copies in rng.sample(old, 16)]
                starting.start_soon(self._nursery.start, again.run, known)

    def kill(self, count: int, rng: Random) -> None:
        """End nodes without goodbye."""
        for member in rng.sample(self.members, count):
            member.alive.cancel()
            self.members.remove(member)

    def held(self, key: bytes, count: int) -> int:
        """How many of the `count` nodes closest to a key hold something under it."""
        return sum(bool(member.host.table.get(key, trio.current_time())) for member in self.closest(key, count))

    def closest(self, key: bytes, count: int) -> list[Member]:
        """The living nodes closest to a key."""
        target = id_from(key)
        return sorted(self.members, key=lambda member: member.keeper.others.me ^ target)[:count]


@asynccontextmanager
async def laboratory(nodes: int) -> AsyncIterator[Laboratory]:
    """A joined overlay."""
    async with trio.open_nursery() as nursery:
        lab = Laboratory(nursery)
        await lab.add(nodes)
        await trio.sleep(3.0)
        yield lab
        nursery.cancel_scope.cancel()


async def measure(work: Work, figures: Figures) -> None:
    """The work that all contestants do."""
    rng = work.rng()
    before_kib = resident_kib()
    async with laboratory(work.nodes) as lab:
        progress(f"z2z: {work.nodes} nodes are up")
        keys = [rng.randbytes(20) for _ in range(work.operations)]
        values = [rng.randbytes(work.value_bytes) for _ in keys]
        puts = Stopwatch()
        for key, value in zip(keys, values, strict=True):
            api = rng.choice(lab.members).api
            puts.start()
            await api.put(key, value, ttl_s=TTL_S)
            puts.stop()
        figures.put_p50, figures.put_p99 = puts.percentile_ms(0.5), puts.percentile_ms(0.99)
        figures.cpu_ms_per_put = puts.cpu_ms()
        gets = Stopwatch()
        for _ in range(work.operations):
            at, api = rng.randrange(len(keys)), rng.choice(lab.members).api
            gets.start()
            found = await api.get(keys[at], fresh=True)
            gets.stop()
            figures.missing += [each.value for each in found] != [values[at]]
        figures.get_p50, figures.get_p99 = gets.percentile_ms(0.5), gets.percentile_ms(0.99)
        figures.cpu_ms_per_get = gets.cpu_ms()
        firsts = Stopwatch()
        for _ in range(work.operations):
            at, api = rng.randrange(len(keys)), rng.choice(lab.members).api
            firsts.start()
            await api.get_first(keys[at])
            firsts.stop()
        figures.extra["first_p50"] = firsts.percentile_ms(0.5)
        figures.kib_per_node = (resident_kib() - before_kib) / work.nodes

        async def put_again() -> None:
            await rng.choice(lab.members).api.put(rng.choice(keys), rng.randbytes(work.value_bytes), ttl_s=TTL_S)

        async def get_again() -> None:
            await rng.choice(lab.members).api.get(rng.choice(keys), fresh=True)

        # Gets first: the puts leave several records under a key, which the other contestants have not.
        figures.gets_per_s = await rate(get_again, work)
        figures.puts_per_s = await rate(put_again, work)


async def rate(job: Callable[[], Awaitable[None]], work: Work) -> float:
    """Operations per second with `at_once` of them under way."""
    left = work.operations

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await job()

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(work.at_once):
            nursery.start_soon(worker)
    return work.operations / (time.perf_counter() - started)


async def measure_more(work: Work, figures: Figures) -> None:
    """What the other contestants cannot do, or only without a number of ours to compare."""
    rng = work.rng()
    async with laboratory(work.nodes) as lab:
        extra = figures.extra
        extra["hundred_values"] = await _hundred_values(lab, rng, work)
        extra["watch_added_p50"], extra["watch_removed_p50"] = await _watch(lab, rng)
        extra["expiry_error_s"] = await _expiry(lab, rng)
        keys = [rng.randbytes(20) for _ in range(work.operations)]
        for key in keys:
            await rng.choice(lab.members).api.put(key, rng.randbytes(work.value_bytes), ttl_s=TTL_S)
        progress(f"z2z: {work.nodes} nodes more")
        await lab.add(work.nodes)
        await trio.sleep(5.0)
        extra["placed_percent"] = 100.0 * sum(lab.held(key, 8) for key in keys) / (8 * len(keys))
        progress("z2z: half of them are killed")
        lab.kill(len(lab.members) // 2, rng)
        gone = sum(not any(m.host.table.get(key, trio.current_time()) for m in lab.members) for key in keys)
        gets = Stopwatch()
        missed = 0
        for key in keys:
            gets.start()
            missed += not await rng.choice(lab.members).api.get(key, fresh=True)
            gets.stop()
        extra["half_dead_p50"], extra["half_dead_p99"] = gets.percentile_ms(0.5), gets.percentile_ms(0.99)
        extra["half_dead_missed"], extra["half_dead_gone"] = missed, gone


async def measure_restart(work: Work, figures: Figures) -> None:
    """All nodes, each with about 1,000 records of others, start at the same moment."""
    rng = work.rng()
    async with laboratory(work.nodes) as lab:
        writer = SigningKey.generate()
        keys = [rng.randbytes(20) for _ in range(work.nodes * 1000 // 8)]
        for key in keys:
            record = Record.signed(
                key=key, writer=writer, seq=1, lease_s=int(TTL_S), value=chunks.split(rng.randbytes(100))[0]
            )
            for member in lab.closest(key, 8):
                member.keeper.store_copy(Copy(record, TTL_S), trio.current_time(), lambda _refusal, _now: None)
                member.host.flush()
        progress(f"z2z: all {work.nodes} nodes restart with {len(keys) * 8 // work.nodes} records each")
        await lab.restart(rng)
        started = trio.current_time()
        delivered = 0.0
        while delivered < 0.95 and trio.current_time() < started + RESTART_LIMIT_S:
            delivered = await _delivery(lab, rng.sample(keys, 40), rng)
        figures.extra["restart_delivery_s"] = trio.current_time() - started
        busy = 1.0
        while busy > IDLE_SHARE and trio.current_time() < started + RESTART_LIMIT_S:
            cpu_s = time.process_time()
            await trio.sleep(1.0)
            busy = time.process_time() - cpu_s
        figures.extra["restart_idle_s"] = trio.current_time() - started


async def _delivery(lab: Laboratory, keys: list[bytes], rng: Random) -> float:
    """Share of keys found within `DELIVERED_S`, all asked for within one second at random nodes."""
    found = 0

    async def get(key: bytes) -> None:
        nonlocal found
        with trio.move_on_after(DELIVERED_S):
            found += bool(await rng.choice(lab.members).api.get(key, fresh=True))

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(get, key)
            await trio.sleep(1.0 / len(keys))
    return found / len(keys)


async def _hundred_values(lab: Laboratory, rng: Random, work: Work) -> float:
    key = rng.randbytes(20)
    for at in range(100):
        api = rng.choice(lab.members).api
        await api.put(key, rng.randbytes(work.value_bytes), ttl_s=TTL_S, name=b"%d" % at)
    gets = Stopwatch()
    for _ in range(20):
        gets.start()
        found = await rng.choice(lab.members).api.get(key, fresh=True)
        gets.stop()
        if len(found) != 100:
            raise SystemExit(f"{len(found)} of 100 values under one key")
    return gets.percentile_ms(0.5)


async def _watch(lab: Laboratory, rng: Random) -> tuple[float, float]:
    """Time from the beginning of a put, and of a remove, to the listener's change."""
    added, removed = Stopwatch(), Stopwatch()
    for _ in range(50):
        key = rng.randbytes(20)
        writer, listener = rng.sample(lab.members, 2)
        async with listener.api.watch(key) as changes, trio.open_nursery() as nursery:
            await trio.sleep(0.05)
            added.start()
            nursery.start_soon(partial(writer.api.put, key, b"x", ttl_s=60.0))
            await changes.receive()
            added.stop()
            await trio.sleep(0.02)
            removed.start()
            nursery.start_soon(writer.api.remove, key)
            await changes.receive()
            removed.stop()
    return added.percentile_ms(0.5), removed.percentile_ms(0.5)


async def _expiry(lab: Laboratory, rng: Random) -> float:
    """Largest difference between a record's lifetime and what readers see."""
    errors = []
    for ttl_s in (1.0, 2.0):
        key = rng.randbytes(20)
        await rng.choice(lab.members).api.put(key, b"x", ttl_s=ttl_s)
        started = trio.current_time()
        reader = rng.choice(lab.members).api
        found = await reader.get(key, fresh=True)
        while found:
            await trio.sleep(0.01)
            found = await reader.get(key, fresh=True)
        errors.append(abs(trio.current_time() - started - ttl_s))
    return statistics.fmean(errors)


async def main(work: Work) -> None:
    """Do the work, report."""
    figures = Figures("z2z (mdht)", work.nodes)
    await measure(work, figures)
    await measure_more(work, figures)
    await measure_restart(work, figures)
    report(figures)


if __name__ == "__main__":
    trio.run(main, Work.from_argv())
