"""Contestant: this project's own record store, many nodes in one process on loopback, each with its own socket."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random, SystemRandom

import trio

from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.udp import UdpDriver, open_sockets
from mdht.api import Mdht
from mdht.config import StoreConfig
from mdht.signing import SigningKey
from mdht.store import StoreNode
from mdht.wire import store_codec
from tools.bench_work import Figures, Stopwatch, Work, progress, report, resident_kib

TTL_S = 3600.0


class Member:
    """One node of the laboratory."""

    def __init__(self, identity: SigningKey) -> None:
        self.core = StoreNode(identity.public_key, KademliaConfig(), StoreConfig(), SystemRandom(), trio.current_time())
        self.identity = identity
        self.alive = trio.CancelScope()
        self.driver: UdpDriver
        self.api: Mdht

    async def run(self, entry: Member | None, task_status: trio.TaskStatus[Member]) -> None:
        """Be a node until killed: no goodbye, the socket is closed."""
        async with open_sockets("127.0.0.1", 0, fall_back=True) as sockets:
            self.driver = UdpDriver(self.core, store_codec("bench"), sockets, lambda _event: None)
            self.api = Mdht(self.core, self.driver, self.identity, "bench")
            contacts = [] if entry is None else [NodeRef(0, entry.driver.addresses[0])]
            self.driver.perform(self.core.overlay.join(contacts, trio.current_time()))
            with self.alive:
                task_status.started(self)
                await self.driver.run()


class Laboratory:
    """All nodes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.members: list[Member] = []
        self._nursery = nursery

    async def add(self, count: int) -> None:
        """Start more nodes; all join through the first."""
        for _ in range(count):
            entry = self.members[0] if self.members else None
            member = Member(SigningKey.generate())
            await self._nursery.start(member.run, entry)
            self.members.append(member)

    def kill(self, count: int, rng: Random) -> None:
        """End nodes without goodbye."""
        for member in rng.sample(self.members, count):
            member.alive.cancel()
            self.members.remove(member)

    def held(self, key: bytes, count: int) -> int:
        """How many of the `count` nodes closest to a key hold something under it."""
        target = id_from(key)
        closest = sorted(self.members, key=lambda member: member.core.overlay.id ^ target)[:count]
        return sum(bool(member.core.table.get(key, trio.current_time())) for member in closest)


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
            found = await api.get(keys[at])
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
            await rng.choice(lab.members).api.get(rng.choice(keys))

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
        gone = sum(not any(m.core.table.get(key, trio.current_time()) for m in lab.members) for key in keys)
        gets = Stopwatch()
        missed = 0
        for key in keys:
            gets.start()
            missed += not await rng.choice(lab.members).api.get(key)
            gets.stop()
        extra["half_dead_p50"], extra["half_dead_p99"] = gets.percentile_ms(0.5), gets.percentile_ms(0.99)
        extra["half_dead_missed"], extra["half_dead_gone"] = missed, gone


async def _hundred_values(lab: Laboratory, rng: Random, work: Work) -> float:
    key = rng.randbytes(20)
    for at in range(100):
        api = rng.choice(lab.members).api
        await api.put(key, rng.randbytes(work.value_bytes), ttl_s=TTL_S, name=b"%d" % at)
    gets = Stopwatch()
    for _ in range(20):
        gets.start()
        found = await rng.choice(lab.members).api.get(key)
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
        found = await reader.get(key)
        while found:
            await trio.sleep(0.01)
            found = await reader.get(key)
        errors.append(abs(trio.current_time() - started - ttl_s))
    return statistics.fmean(errors)


async def main(work: Work) -> None:
    """Do the work, report."""
    figures = Figures("z2z (mdht)", work.nodes)
    await measure(work, figures)
    await measure_more(work, figures)
    report(figures)


if __name__ == "__main__":
    trio.run(main, Work.from_argv())
