"""How long containers take to start, and how much memory they take: all walls up and tested, a module loaded in each.

Each start is timed from the request to the zygote until the container has said that its walls stand (`ready`), and
until its module runs (`loaded`, with the unpacking of the bundle). Memory is the proportional set size, which shares
the pages of the zygote among all, with all containers alive.

    python -m tools.bench_containers [--containers 100] [--json]        needs root
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from netserv.container.installation import Account, Installation
from netserv.container.states import ContainerStatus
from netserv.container.supervisor import Supervisor, supervising
from netserv.container.supervisor_config import SupervisorConfig
from netserv.errors import NetservError
from netserv.modules.manifest import Manifest

START_GOAL_MS: Final = 60.0
MEMORY_GOAL_MB: Final = 5.0
FILES: Final = {
    "bench.py": b"""
from netserv.modules.api import Activator, Verdict

class Bench(Activator):
    def start(self, context):
        self.seen = context.metrics.counter("seen")

    def process(self, packet):
        self.seen.add()
        return Verdict.ACCEPT
"""
}
MANIFEST: Final = Manifest(name="bench.Container", version="1.0.0", entry="bench:Bench", kind="packet")


async def _start(supervisor: Supervisor, name: str) -> tuple[float, float]:
    begun = trio.current_time()
    await supervisor.warm(Account(name=name))
    ready = trio.current_time()
    await supervisor.install(Installation(account=Account(name=name), manifest=MANIFEST, bundle=Path(os.devnull)))
    return (ready - begun) * 1e3, (trio.current_time() - begun) * 1e3


def _memory_mb(status: ContainerStatus) -> tuple[float, float]:
    """Proportional and private, of one process."""
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{status.process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name] = int(value)
    private = fields["Private_Clean:"] + fields["Private_Dirty:"]
    return fields["Pss:"] / 1024, private / 1024


async def measure(containers: int) -> dict[str, float]:
    """Start containers one after the other, and keep them."""
    async with supervising(SupervisorConfig(), lambda _: FILES) as supervisor:
        await supervisor.warm(Account(name="first"))  # with it comes the zygote
        times = []
        for number in range(containers):
            times.append(await _start(supervisor, f"publisher {number}"))
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number + 1} of {containers} containers")
        await trio.sleep(2.0)  # counters are told, and garbage is collected, as in any that lives
        memory = [_memory_mb(status) for status in supervisor.status() if status.modules]
        charged = [status.memory_bytes / 2**20 for status in supervisor.status() if status.modules]
    ready, loaded = zip(*times, strict=True)
    return {
        "containers": containers,
        "ready_ms_median": statistics.median(ready),
        "ready_ms_p95": statistics.quantiles(ready, n=20)[-1],
        "loaded_ms_median": statistics.median(loaded),
        "pss_mb_mean": statistics.mean(pss for pss, _ in memory),
        "pss_mb_max": max(pss for pss, _ in memory),
        "private_mb_mean": statistics.mean(private for _, private in memory),
        "charged_mb_mean": statistics.mean(charged),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=100, help="how many at a time, 2 or more (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    try:
        found = trio.run(measure, max(2, arguments.containers))
    except ExceptionGroup as group:
        expected, other = group.split(NetservError)
        if other is not None or expected is None:
            raise
        sys.stderr.write(f"bench_containers: {expected.exceptions[0]}\n")
        return 1
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    if arguments.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:18} {value:8.1f}")
    met = found["ready_ms_median"] <= START_GOAL_MS and found["pss_mb_mean"] <= MEMORY_GOAL_MB
    print(f"goals ({START_GOAL_MS:g} ms, {MEMORY_GOAL_MB:g} MB): {'met' if met else 'missed'}", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
