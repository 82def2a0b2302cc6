"""The work that every contestant of `make bench` does, and the figures that it reports. Standard library only.

A contestant is a program that prints one `Figures` as JSON; it runs in a process of its own, so that memory and
processor time are its own.
"""

import json
import random
import resource
import sys
import time
from dataclasses import asdict, dataclass, field


@dataclass
class Figures:
    """What one run of one contestant measured. Latencies in milliseconds, rates per second."""

    contestant: str
    nodes: int
    put_p50: float = 0.0
    put_p99: float = 0.0
    get_p50: float = 0.0
    get_p99: float = 0.0
    puts_per_s: float = 0.0
    gets_per_s: float = 0.0
    cpu_ms_per_put: float = 0.0
    cpu_ms_per_get: float = 0.0
    kib_per_node: float = 0.0
    missing: int = 0
    "Gets that did not return what was put."
    extra: dict[str, float] = field(default_factory=dict)
    "Figures that only some contestants can give."


@dataclass(frozen=True)
class Work:
    """The size of a run, from the command line of the contestant."""

    nodes: int
    operations: int = 1000
    value_bytes: int = 300
    at_once: int = 32
    seed: int = 1

    @classmethod
    def from_argv(cls) -> "Work":
        """`NODES [OPERATIONS [SEED]]`."""
        numbers = [int(text) for text in sys.argv[1:]]
        operations = numbers[1] if len(numbers) > 1 else 1000
        return cls(nodes=numbers[0], operations=operations, seed=numbers[2] if len(numbers) > 2 else 1)

    def rng(self) -> random.Random:
        """The generator that draws keys, values and nodes: the same for every contestant."""
        return random.Random(self.seed)


class Stopwatch:
    """Latencies of single operations, and processor time over all of them."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self._cpu_from = time.process_time()
        self._from = 0.0

    def start(self) -> None:
        """One operation begins."""
        self._from = time.perf_counter()

    def stop(self) -> None:
        """It ends."""
        self.latencies_s.append(time.perf_counter() - self._from)

    def percentile_ms(self, share: float) -> float:
        """The latency below which so many of the operations stayed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000.0

    def cpu_ms(self) -> float:
        """Processor time per operation, of all nodes together."""
        return (time.process_time() - self._cpu_from) * 1000.0 / len(self.latencies_s)


def resident_kib() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(figures: Figures) -> None:
    """Print the result for the parent process."""
    print(json.dumps(asdict(figures)), flush=True)


def progress(text: str) -> None:
    """Say on the terminal what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)
