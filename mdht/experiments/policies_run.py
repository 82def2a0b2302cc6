"""A subnet's records under one replication policy: what puts, lookups and repairs cost, by what is really sent."""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import msgspec

from mdht.experiments.quantile import quantile
from mdht.experiments.store_run import StoreHost, StoreLink, key_of, record
from mdht.records import Copy
from mdht.subnet.messages import (
    AckStatus,
    Ask,
    Bye,
    Hello,
    Here,
    Message,
    Ping,
    PingRequest,
    Pong,
    Suspect,
    Value,
    View,
)
from mdht.subnet.query import Outcome, Resolved
from mdht.subnet.resolve_config import ResolveConfig
from mdht.subnet.store_config import StoreConfig

SETTLE_S: Final = 5.0
"After hosts have come, and after the last put, until nothing is under way."
PUT_EVERY_S: Final = 0.05
VALUE_BYTES: Final = 200
LOOKUP_S: Final = 1.1
"No lookup takes longer."
MEMBERSHIP: Final = frozenset({Hello, Here, Bye, Suspect, Ping, Pong, PingRequest, View})
"Messages that are sent whether or not there are any records."
QUIET_S: Final = 20.0
"After the last crash, until it is looked at what is lost: it is noticed, and transfers that fail begin again."

AS_SHIPPED: Final = StoreConfig()
ASK_ALL: Final = StoreConfig(resolve=ResolveConfig(fetches_max=0, overhear_s=0.0))
"Lookups as the thesis reads: whoever does not hold the key asks all siblings, whatever it knows of its holders."


class Traffic:
    """What was sent in a stretch of time, by all hosts; bytes are those of the codec."""

    __slots__ = ("answers", "bytes", "member_bytes", "multicasts", "unicasts")

    def __init__(self) -> None:
        self.multicasts = 0
        self.unicasts = 0
        self.bytes = 0
        "Of these two."
        self.member_bytes = 0
        self.answers: Counter[int] = Counter()
        "Records that each host has sent to one that asked for them."


class CountingLink(StoreLink):
    """A link that counts what is sent, and does not keep it.

    Attributes:
        traffic: since the last `taken`.
        watched: if set, only what names this key is counted, beside the membership's messages.
    """

    def __init__(self, policy: str, seed: int, config: StoreConfig) -> None:
        self.traffic = Traffic()
        self.watched: bytes | None = None
        super().__init__(policy, seed=seed, config=config)

    def on_sent(self, host: StoreHost, message: Message, size: int, *, multicast: bool) -> None:
        """Count a datagram."""
        traffic = self.traffic
        if type(message) in MEMBERSHIP:
            traffic.member_bytes += size
        elif self.watched is None or getattr(message, "key", None) == self.watched:
            traffic.multicasts += multicast
            traffic.unicasts += not multicast
            traffic.bytes += size
            traffic.answers[host.number] += isinstance(message, Value)

    def taken(self) -> Traffic:
        """What was sent since the last time."""
        taken, self.traffic = self.traffic, Traffic()
        for host in self.hosts:
            taken.bytes += host.bulk_bytes
            host.bulk_bytes = 0
        return taken


class Window:
    """Lookups of a stretch of time, and what was sent meanwhile.

    Attributes:
        lookups: that began in it.
        latencies: of those that have ended, in seconds.
        found: of those that have found something.
        copies: of the key that is looked up, or of each record on average, at its end.
    """

    __slots__ = ("copies", "found", "latencies", "lookups", "traffic")

    def __init__(self) -> None:
        self.lookups = self.found = 0
        self.latencies: list[float] = []
        self.copies = 0.0
        self.traffic = Traffic()

    def measured(self) -> dict[str, float | None]:
        """In numbers for each lookup; nothing where there was none."""
        if not self.latencies:
            return {"lookups": self.lookups, "copies": self.copies}
        traffic = self.traffic
        return {
            "lookups": self.lookups,
            "found": self.found / len(self.latencies),
            "multicasts": traffic.multicasts / self.lookups,
            "unicasts": traffic.unicasts / self.lookups,
            "lookup_bytes": traffic.bytes / self.lookups,
            "p50_ms": 1000.0 * quantile(self.latencies, 0.5),
            "p95_ms": 1000.0 * quantile(self.latencies, 0.95),
            "p99_ms": 1000.0 * quantile(self.latencies, 0.99),
            "busiest": max(traffic.answers.values(), default=0) / self.lookups,
            "copies": self.copies,
        }


class PutCost(msgspec.Struct, frozen=True):
    """What a put costs."""

    packets: float
    size: float
    "Bytes of them."
    acked_ms: float
    "Until it is acknowledged, the median."


class PolicyRun:
    """One link with records.

    Args:
        policy: name of the replication policy.
        hosts: how many, ready before anything is put.
        records: each under a key of its own.
        zipf: exponent of their popularity: of rank i it is i to the power of minus that.
        seed: of all chance.
        config: of all stores.

    Attributes:
        link: it.
        keys: of the records, the most popular first.
        missing: as many keys that nobody has put.
        put_cost: of the records.
    """

    def __init__(self, policy: str, hosts: int, records: int, zipf: float, seed: int, config: StoreConfig) -> None:
        self.link = CountingLink(policy, seed, config)
        self.keys = [key_of(number) for number in range(records)]
        self.missing = [key_of(number) for number in range(records, 2 * records)]
        self._rng = Random(f"lookups {seed} {hosts} {zipf}")
        self._shares = list(itertools.accumulate((rank + 1.0) ** -zipf for rank in range(records)))
        self.link.begun(hosts)
        self.link.run(SETTLE_S)
        self.put_cost = self._fill()

    def _fill(self) -> PutCost:
        link, waited = self.link, []
        link.taken()
        for number in range(len(self.keys)):
            host, began = self._host(), link.now

            def acknowledged(status: AckStatus, began: float = began) -> None:
                if status is not AckStatus.STORED:
                    raise AssertionError(f"seed {link.seed}, {link.policy}: a put has ended with {status}")
                waited.append(link.now - began)

            one = record(number, size=VALUE_BYTES)
            link.perform(host, host.store.put(Copy(one, float(one.lease_s)), link.now, acknowledged))
            link.run(PUT_EVERY_S)
        link.run(SETTLE_S)
        sent, puts = link.taken(), len(self.keys)
        return PutCost((sent.multicasts + sent.unicasts) / puts, sent.bytes / puts, 1000.0 * quantile(waited, 0.5))

    # ---- lookups -----------------------------------------------------------------------------------------------------

    def lookups(self, seconds: float, rate: float, *, crowd: bytes | None = None, crowd_rate: float = 0.0) -> Window:
        """Lookups of popular and less popular keys at random hosts, at random times.

        Args:
            seconds: for so long.
            rate: of them in a second.
            crowd: a key that is looked up beside that; only its lookups count.
            crowd_rate: of these in a second.
        """
        window = Window()
        for _ in self._times(seconds, rate + crowd_rate):
            if self._rng.random() * (rate + crowd_rate) < crowd_rate and crowd is not None:
                self._look_up(window, crowd, Ask.ANY)
            else:
                key = self.popular()
                self._look_up(window if crowd in {None, key} else Window(), key, Ask.ANY)
        window.traffic = self.link.taken()
        window.copies = self.copies() if crowd is None else len(self.link.holders(crowd))
        return window

    def asked(self, count: int, keys: Sequence[bytes], ask: Ask) -> Window:
        """So many lookups of random ones of these keys, one after the other."""
        window = Window()
        for _ in range(count):
            self._look_up(window, self._rng.choice(keys), ask)
            self.link.run(LOOKUP_S)
        window.traffic = self.link.taken()
        window.copies = self.copies()
        return window

    def popular(self) -> bytes:
        """A key, the more often the more popular."""
        return self._rng.choices(self.keys, cum_weights=self._shares)[0]

    def _times(self, seconds: float, rate: float) -> Iterator[None]:
        """Let time pass, and stop whenever somebody asks."""
        end = self.link.now + seconds
        while True:
            next_at = self.link.now + (self._rng.expovariate(rate) if rate else math.inf)
            if next_at >= end:
                self.link.run(end - self.link.now)
                return
            self.link.run(next_at - self.link.now)
            yield

    def _look_up(self, window: Window, key: bytes, ask: Ask) -> None:
        link, began = self.link, self.link.now

        def ended(result: Resolved) -> None:
            window.latencies.append(link.now - began)
            window.found += result.outcome is Outcome.FOUND

        window.lookups += 1
        host = self._host()
        link.perform(host, host.store.get(key, ask, link.now, ended))

    def _host(self) -> StoreHost:
        return self._rng.choice(self.link.staying)

    # ---- hosts come and crash ----------------------------------------------------------------------------------------

    def churn(self, seconds: float, median_s: float, rate: float) -> tuple[Window, int]:
        """Each host crashes at the end of an exponential lifetime, and a fresh one comes at once.

        Args:
            seconds: for so long.
            median_s: of the lifetimes, perhaps infinite.
            rate: of lookups in a second.

        Returns:
            What was looked up and sent, and the number of crashes.
        """
        window, crashes, end = Window(), 0, self.link.now + seconds
        rng = Random(f"churn {self.link.seed} {median_s}")
        ends = [(self.link.now + _life_s(rng, median_s), host.number) for host in self.link.living]
        heapq.heapify(ends)
        while self.link.now < end:
            for _ in self._times(min(end, ends[0][0]) - self.link.now, rate):
                self._look_up(window, self.popular(), Ask.ANY)
            if ends[0][0] < end:
                self.link.crash(self.link.hosts[heapq.heappop(ends)[1]])
                heapq.heappush(ends, (self.link.now + _life_s(rng, median_s), self.link.add().number))
                crashes += 1
        window.traffic = self.link.taken()
        self.link.run(QUIET_S)
        window.copies = self.copies()
        return window, crashes

    # ---- what there is -----------------------------------------------------------------------------------------------

    def copies(self) -> float:
        """Of each record, on average."""
        return sum(len(host.keys) for host in self.link.living) / len(self.keys)

    def lost(self) -> int:
        """Records that nobody holds."""
        held = {key for host in self.link.living for key in host.keys}
        return len(set(self.keys) - held)

    def held_bytes(self) -> float:
        """Names and values that a host holds, on average."""
        living = self.link.living
        return sum(host.store.stock.table.bytes_held for host in living) / len(living)


def _life_s(rng: Random, median_s: float) -> float:
    return rng.expovariate(math.log(2.0) / median_s) if math.isfinite(median_s) else math.inf
