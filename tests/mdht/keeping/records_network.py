"""Subnets that keep records, on virtual time."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig
from mdht.experiments.internet import Internet
from mdht.experiments.sim_core import identity_of
from mdht.experiments.sim_host import SimHost
from mdht.keeping.config import KeepingConfig
from mdht.keeping.get import GetOutcome, GetRun
from mdht.keeping.keeper import Keeper
from mdht.keeping.put import PutOutcome, PutRun
from mdht.keeping.watch import ChangeKind, Watch
from mdht.records import Copy, Record
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import Identity
from mdht.subnet.node_part_config import NodePartConfig

OVERLAYS: dict[str, OverlayConfig] = {"kademlia": KademliaConfig(), "chord": ChordConfig()}
FACE = FaceConfig(hosts=HostSetConfig(allow_private=True))


def key_of(number: int) -> bytes:
    return Random(f"key {number}").randbytes(20)


def record(
    number: int,
    seq: int = 1,
    *,
    writer: bytes = b"w" * 32,
    name: bytes = b"",
    value: bytes | None = None,
    lease_s: int = 600,
    deleted: bool = False,
) -> Record:
    value = b"" if deleted else (b"value %d" % seq if value is None else value)
    return Record(key_of(number), writer, name, seq, lease_s, deleted, value, bytes(64))


class RecordsNetwork:
    """So many links with so many hosts each, that are in one overlay."""

    def __init__(
        self,
        sizes: list[int],
        *,
        overlay: str = "kademlia",
        keeping: KeepingConfig | None = None,
        seed: int = 1,
        identity_of: Callable[[int], Identity] = identity_of,
    ) -> None:
        config = NodePartConfig(overlay=OVERLAYS[overlay], face=FACE)
        self._identity_of = identity_of
        self.net = self._internet(seed, config, keeping or KeepingConfig())
        for _ in range(max(sizes)):
            for link, size in enumerate(sizes):
                if len(self.hosts(link)) < size:
                    self.net.add(link)
                    self.net.run(0.3)
        self.net.run(30.0)
        assert all(host.ready for host in self.net.hosts.values())

    def add(self, link: int, policy: str) -> SimHost:
        """Start a host that is told another policy, and wait until it is READY."""
        assert self.net.keeping is not None
        former = self.net.keeping
        self.net.keeping = msgspec.structs.replace(former, policy=policy)
        host = self.net.add(link)
        self.net.keeping = former
        self.run_until(lambda: host.ready)
        return host

    def _internet(self, seed: int, config: NodePartConfig, keeping: KeepingConfig) -> Internet:
        return Internet(seed, config, keeping=keeping, identity_of=self._identity_of, strict=False)

    def hosts(self, link: int) -> list[SimHost]:
        return list(self.net.links.get(link, {}).values())

    @property
    def links(self) -> list[int]:
        return sorted(self.net.links)

    def keeper(self, host: SimHost) -> Keeper:
        assert host.core is not None
        keeper = host.core.keeper
        assert isinstance(keeper, Keeper)
        return keeper

    def perform(self, host: SimHost) -> None:
        assert host.core is not None
        self.net.perform(host, host.core.collect(self.net.now))

    def run_until(self, true: Callable[[], object], most_s: float = 30.0) -> float:
        started = self.net.now
        while not true():
            assert self.net.now - started < most_s, "it takes too long"
            self.net.run(0.01)
        return self.net.now - started

    def put(self, host: SimHost, one: Record, remaining_s: float | None = None, *, acks: int = 2) -> PutOutcome:
        done = self.begin_put(host, one, remaining_s, acks=acks)
        self.run_until(lambda: done)
        return done[0]

    def begin_put(
        self, host: SimHost, one: Record, remaining_s: float | None = None, *, acks: int = 2
    ) -> list[PutOutcome]:
        """The outcome appears in the list."""
        done: list[PutOutcome] = []
        copy = Copy(one, float(one.lease_s) if remaining_s is None else remaining_s)
        run = PutRun(self.keeper(host), copy, acks=acks, on_done=lambda outcome, _now: done.append(outcome))
        run.start(self.net.now)
        self.perform(host)
        return done

    def get(self, host: SimHost, key: bytes) -> GetOutcome:
        done: list[GetOutcome] = []
        GetRun(self.keeper(host), key, on_copy=None, on_done=lambda outcome, _now: done.append(outcome)).start(
            self.net.now
        )
        self.perform(host)
        self.run_until(lambda: done)
        return done[0]

    def found(self, host: SimHost, key: bytes) -> dict[tuple[bytes, bytes], int]:
        """Sequence numbers of the live records, by writer and name."""
        copies = self.get(host, key).copies
        return {(c.record.writer, c.record.name): c.record.seq for c in copies if not c.record.deleted}

    def watch(self, host: SimHost, key: bytes) -> tuple[Watch, list[tuple[ChangeKind, int]]]:
        changes: list[tuple[ChangeKind, int]] = []
        watch = Watch(self.keeper(host), key, lambda kind, one, _left: changes.append((kind, one.seq)))
        watch.start(self.net.now)
        self.perform(host)
        return watch, changes

    def holders(self, key: bytes) -> dict[int, list[int]]:
        """Hosts that hold a key, by link."""
        held: dict[int, list[int]] = {}
        for host in self.net.hosts.values():
            if key in self.keeper(host).store.stock.keys:
                held.setdefault(host.link, []).append(host.number)
        return held

    def responsible(self, key: bytes, count: int) -> list[int]:
        """Links whose nodes are the nearest to a key, nearest first."""
        far: Any = self.keeper(next(iter(self.net.hosts.values()))).others.nearness(key)
        return sorted(self.links, key=lambda link: far(self.net.node_id(link)))[:count]
