"""Contestant: OpenDHT's Python binding. Runs on Debian's own Python, where the package python3-opendht lives.

Its nodes have threads of their own, so that latencies are taken around blocking calls from one thread, and rates from
as many threads as the others have tasks.
"""

import sys
import threading
import time
from pathlib import Path

import opendht

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.bench_work import Figures, Stopwatch, Work, progress, report, resident_kib

FIRST_PORT = 42_000


def main(work: Work) -> None:
    """Build the network, do the work, report."""
    figures = Figures("OpenDHT 2.4", work.nodes)
    rng = work.rng()
    before_kib = resident_kib()
    runners: list[opendht.DhtRunner] = []
    for at in range(work.nodes):
        runner = opendht.DhtRunner()
        runner.run(port=FIRST_PORT + at)
        if runners:
            runner.bootstrap("127.0.0.1", str(FIRST_PORT))
        runners.append(runner)
    time.sleep(5.0)  # its nodes join by themselves and do not say when they have
    progress(f"OpenDHT: {work.nodes} nodes are up")
    keys = [opendht.InfoHash.get(f"key {at} {rng.random()}") for at in range(work.operations)]
    values = [rng.randbytes(work.value_bytes) for _ in keys]
    puts = Stopwatch()
    for key, value in zip(keys, values, strict=True):
        runner = rng.choice(runners)
        puts.start()
        runner.put(key, opendht.Value(value))
        puts.stop()
    figures.put_p50, figures.put_p99, figures.cpu_ms_per_put = (
        puts.percentile_ms(0.5),
        puts.percentile_ms(0.99),
        puts.cpu_ms(),
    )
    gets = Stopwatch()
    for _ in range(work.operations):
        at, runner = rng.randrange(len(keys)), rng.choice(runners)
        gets.start()
        found = runner.get(keys[at])
        gets.stop()
        figures.missing += values[at] not in [value.data for value in found]
    figures.get_p50, figures.get_p99, figures.cpu_ms_per_get = (
        gets.percentile_ms(0.5),
        gets.percentile_ms(0.99),
        gets.cpu_ms(),
    )
    figures.kib_per_node = (resident_kib() - before_kib) / work.nodes
    lock = threading.Lock()
    for name in ("puts_per_s", "gets_per_s"):
        progress(f"OpenDHT: {name}")
        left = [work.operations]

        def worker(name: str = name, left: list[int] = left) -> None:
            while True:
                with lock:
                    if left[0] <= 0:
                        return
                    left[0] -= 1
                    key, runner = rng.choice(keys), rng.choice(runners)
                    value = opendht.Value(rng.randbytes(work.value_bytes))
                if name == "puts_per_s":
                    runner.put(key, value)
                else:
                    runner.get(key)

        threads = [threading.Thread(target=worker) for _ in range(work.at_once)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        setattr(figures, name, work.operations / (time.perf_counter() - started))
    report(figures)


if __name__ == "__main__":
    main(Work.from_argv())
    sys.stdout.flush()
    sys.exit(0)
