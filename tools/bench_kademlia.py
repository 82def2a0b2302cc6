"""Contestant: the `kademlia` package, as its documentation uses it."""

import asyncio
import logging
import os
import sys
import time

from kademlia.network import Server

from tools.bench_work import Figures, Stopwatch, Work, progress, report, resident_kib

FIRST_PORT = 40_000


async def main(work: Work) -> None:
    """Build the network, do the work, report."""
    logging.getLogger("kademlia").setLevel(logging.ERROR)
    logging.getLogger("rpcudp").setLevel(logging.ERROR)
    figures = Figures("kademlia 2.2", work.nodes)
    rng = work.rng()
    before_kib = resident_kib()
    servers: list[Server] = []
    for at in range(work.nodes):
        server = Server(ksize=8)
        await server.listen(FIRST_PORT + at, interface="127.0.0.1")
        if servers:
            await server.bootstrap([("127.0.0.1", FIRST_PORT)])
        servers.append(server)
    progress(f"kademlia: {work.nodes} nodes are up")
    values = {f"key {at} {rng.random()}": rng.randbytes(work.value_bytes) for at in range(work.operations)}

    puts = Stopwatch()
    for key, value in values.items():
        server = rng.choice(servers)
        puts.start()
        await server.set(key, value)
        puts.stop()
    figures.put_p50, figures.put_p99, figures.cpu_ms_per_put = (
        puts.percentile_ms(0.5),
        puts.percentile_ms(0.99),
        puts.cpu_ms(),
    )
    keys = list(values)
    gets = Stopwatch()
    for _ in range(work.operations):
        key, server = rng.choice(keys), rng.choice(servers)
        gets.start()
        found = await server.get(key)
        gets.stop()
        figures.missing += found != values[key]
    figures.get_p50, figures.get_p99, figures.cpu_ms_per_get = (
        gets.percentile_ms(0.5),
        gets.percentile_ms(0.99),
        gets.cpu_ms(),
    )
    figures.kib_per_node = (resident_kib() - before_kib) / work.nodes

    async def put_again() -> None:
        await rng.choice(servers).set(rng.choice(keys), rng.randbytes(work.value_bytes))

    async def get_again() -> None:
        await rng.choice(servers).get(rng.choice(keys))

    for name, job in (("puts_per_s", put_again), ("gets_per_s", get_again)):
        progress(f"kademlia: {name}")
        left = work.operations
        started = time.perf_counter()

        async def worker(job: object = job) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await job()  # type: ignore[operator]

        await asyncio.gather(*(worker() for _ in range(work.at_once)))
        setattr(figures, name, work.operations / (time.perf_counter() - started))
    report(figures)
    sys.stdout.flush()
    os._exit(0)  # stopped servers go on answering into closed transports, each with a traceback


if __name__ == "__main__":
    asyncio.run(main(Work.from_argv()))
