"""A scenario on real UDP sockets of this machine, with the same peers, the same queries and the same metrics."""

import resource
import socket
import statistics
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

import msgspec
import trio

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_client import BootstrapClient, ClientConfig
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.effects import Effect, Joined
from dhtboot.errors import LocalProtocolError
from dhtboot.ids import Address, random_id
from dhtboot.overlay import make_node, packet_type
from dhtboot.peer import Peer
from dhtboot.sim.config import Scenario
from dhtboot.sim.metrics import Census, Metrics
from dhtboot.sim.note import TestMessage
from dhtboot.sim.result import Interval
from dhtboot.sim.workload import Workload
from dhtboot.udp import DelayLine, UdpDriver, open_sockets
from dhtboot.wire import Codec, PeerCodec

HOST: Final = "127.0.0.1"
PROBE_S: Final = 0.05
"A datagram that measures the delay is sent so often, through the same delay line and the same event loop."
SPARE_FILES: Final = 64
"Descriptors left for the rest of the program."


class LiveResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one live run found."""

    intervals: tuple[Interval, ...]
    delay_s: float
    "Mean one-way delay as measured: what was injected, and what sockets and event loop added."
    delay_deviation_s: float
    all_joined_s: float | None
    datagrams: dict[str, int]


class LiveRun:
    """Peers of one process on loopback.

    Args:
        scenario: protocol, nodes, rate, seed, delay and duration count; the network is the real one.
        on_interval: called with each interval that has ended.
    """

    def __init__(self, scenario: Scenario, on_interval: Callable[[Interval], None]) -> None:
        self.scenario = scenario
        self._on_interval = on_interval
        self._config = scenario.chord if scenario.protocol == "chord" else scenario.kademlia
        self._census = Census(scenario.protocol)
        self._metrics = Metrics(self._census, scenario.interval_s)
        self._rng = Random(f"{scenario.seed} live")
        self._line = DelayLine(lambda: max(0.0, self._rng.gauss(scenario.delay_s, scenario.delay_deviation_s)))
        overlay: Codec[Any] = Codec(packet_type(self._config, TestMessage), network="live")
        self._bootstrap: Codec[BootstrapPacket] = Codec(BootstrapPacket, network="live")
        self._codec = PeerCodec(overlay, self._bootstrap)
        self._delays: list[float] = []
        self._drivers: list[UdpDriver] = []
        self._peers: list[tuple[Peer, UdpDriver]] = []
        self._all_joined_s: float | None = None
        self._began = 0.0
        self.stop = trio.CancelScope()
        "Cancel it to end the run early."

    async def run(self) -> LiveResult:
        """Run to the scenario's end.

        Raises:
            LocalProtocolError: this machine lets no process open so many sockets.
        """
        raise_file_limit(self.scenario.nodes + SPARE_FILES)
        async with open_sockets(HOST, 0, fall_back=False) as sockets, trio.open_nursery() as nursery:
            nursery.start_soon(self._line.run)
            nursery.start_soon(self._probe)
            server = self._serve(sockets, nursery)
            await nursery.start(self._run_peer, server, Random(f"{self.scenario.seed} node 0"))
            await trio.sleep(10.0 * self.scenario.delay_s)  # the first node is on the list [thesis 2.3]
            self._began = trio.current_time()
            nursery.start_soon(self._count)
            with self.stop:
                nursery.start_soon(self._arrivals, server, nursery)
                await trio.sleep(self.scenario.duration_s)
            for peer, driver in self._peers:
                driver.perform(peer.leave(trio.current_time()))
            await trio.sleep(2.0 * self.scenario.delay_s)  # the goodbyes are on the delay line
            nursery.cancel_scope.cancel()
        return LiveResult(
            intervals=tuple(self._metrics.intervals),
            delay_s=statistics.fmean(self._delays) if self._delays else 0.0,
            delay_deviation_s=statistics.pstdev(self._delays) if self._delays else 0.0,
            all_joined_s=self._all_joined_s,
            datagrams=dict(sum((driver.counters for driver in self._drivers), type(self._drivers[0].counters)())),
        )

    def _serve(self, sockets: list[socket.socket], nursery: trio.Nursery) -> Address:
        server = BootstrapServer(BootstrapConfig(), Random(f"{self.scenario.seed} server"), trio.current_time())
        driver = UdpDriver(server, self._bootstrap, sockets, _ignore, delay_line=self._line)
        self._drivers.append(driver)
        nursery.start_soon(driver.run)
        return driver.addresses[0]

    async def _arrivals(self, server: Address, nursery: trio.Nursery) -> None:
        mean_s = 1.0 / self.scenario.rate_per_s
        at = self._began
        for number in range(1, self.scenario.nodes):
            at += max(0.0, self._rng.gauss(mean_s, 0.1 * mean_s))
            await trio.sleep_until(at)
            await nursery.start(self._run_peer, server, Random(f"{self.scenario.seed} node {number}"))

    async def _run_peer(
        self, server: Address, rng: Random, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        now = trio.current_time()
        identifier = random_id(rng)
        workload = Workload(self._metrics, rng, self.scenario.query_interval_s)
        workload.node = make_node(identifier, self._config, rng, now, workload)
        make_client = partial(BootstrapClient, identifier, server, ClientConfig(), rng)
        peer = Peer(workload.node, lambda on_contact: make_client(on_contact=on_contact), workload)
        async with open_sockets(HOST, 0, fall_back=False) as sockets:
            driver = UdpDriver(
                peer, self._codec, sockets, lambda effect: self._on_event(effect, peer, driver), delay_line=self._line
            )
            self._drivers.append(driver)
            self._peers.append((peer, driver))
            driver.perform(peer.start(now))
            task_status.started()
            await driver.run()

    def _on_event(self, effect: Effect, peer: Peer, driver: UdpDriver) -> None:
        now = trio.current_time()
        if type(effect) is Joined:
            self._census.add(peer.node.id)
            if len(self._census.identifiers) == self.scenario.nodes:
                self._all_joined_s = now - self._began
        driver.perform(peer.on_event(effect, now))

    async def _count(self) -> None:
        for number in range(1, int(self.scenario.duration_s / self.scenario.interval_s) + 1):
            await trio.sleep_until(self._began + number * self.scenario.interval_s)
            self._on_interval(self._metrics.close(number * self.scenario.interval_s, len(self._peers)))

    async def _probe(self) -> None:
        """Measure what a datagram's way takes."""
        async with (
            open_sockets(HOST, 0, fall_back=False) as (here,),
            open_sockets(HOST, 0, fall_back=False) as (there,),
        ):
            sent_at = 0.0

            def send() -> None:
                here.sendto(b"?", there.getsockname())

            async def receive() -> None:
                while True:
                    await trio.lowlevel.wait_readable(there)
                    there.recv(64)
                    self._delays.append(trio.current_time() - sent_at)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                while True:
                    sent_at = trio.current_time()
                    self._line.put(send)
                    await trio.sleep(PROBE_S + 4.0 * self.scenario.delay_s)  # one under way at a time


def raise_file_limit(wanted: int) -> None:
    """See to it that this process may open so many files.

    Raises:
        LocalProtocolError: it may not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    elif soft < wanted:
        raise LocalProtocolError(
            f"{wanted} open sockets are needed and {hard} are allowed, enough for {hard - SPARE_FILES} nodes; "
            f"raise the limit with ulimit -n"
        )


def _ignore(_effect: Effect) -> None:
    """The server has none."""
