"""One run as a pure function of its scenario: arrivals, churn, crashes and cuts around the shipped cores."""

import math
from collections import Counter
from random import Random
from typing import Any, Final

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_client import BootstrapClient, ClientConfig
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.effects import Effect, Joined
from dhtboot.ids import Address, random_id
from dhtboot.overlay import make_node, packet_type
from dhtboot.peer import Peer
from dhtboot.sim.config import Scenario
from dhtboot.sim.engine import Engine, Host
from dhtboot.sim.kinds import message_kinds
from dhtboot.sim.metrics import Census, Metrics, convergence_s, has_converged
from dhtboot.sim.network import draw_delays, draw_losses
from dhtboot.sim.note import TestMessage
from dhtboot.sim.result import Snapshot
from dhtboot.sim.shared_contacts import SharedContacts
from dhtboot.sim.topology import check_node, snapshot
from dhtboot.sim.workload import Workload
from dhtboot.wire import Codec, PeerCodec

SERVER: Final[Address] = ("192.0.2.1", 27184)
WARM_UP_S: Final = 5.0
"Before time 0 one node enters the server's list [thesis 2.3: it starts with one]."
ARRIVAL_DEVIATION_SHARE: Final = 0.1
"Standard deviation between two arrivals, as a share of the mean."
CHECKED_MAX: Final = 512
"Nodes whose invariants are looked at at the end of each interval, drawn at random."


class Simulation:
    """One run under way.

    Args:
        scenario: the whole of its input.

    Attributes:
        ended: whether the delivery rate has reached its goal in a scenario that ends with that.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.snapshots: list[Snapshot] = []
        self.ended = False
        self.all_joined_s: float | None = None
        self.census = Census(scenario.protocol)
        self.metrics = Metrics(self.census, scenario.interval_s)
        self.peers: dict[int, Host] = {}
        "Living peers by the number of their arrival."
        self._config = scenario.chord if scenario.protocol == "chord" else scenario.kademlia
        self._rng = Random(f"{scenario.seed} scenario")
        self._numbers = 0
        self._arrived = 0
        self._next_arrival_s = 0.0
        self._counters: Counter[str] = Counter()
        self._contacts = SharedContacts()
        network = Random(f"{scenario.seed} network")
        wire = None
        if scenario.encode:
            overlay: Codec[Any] = Codec(packet_type(self._config, TestMessage), network="sim")
            wire = PeerCodec(overlay, Codec(BootstrapPacket, network="sim"))
        self.engine = Engine(
            draw_delays(network, scenario.delay_s, scenario.delay_deviation_s),
            draw_losses(network, scenario.loss),
            message_kinds(),
            start_s=-WARM_UP_S,
            wire=wire,
        )
        self._add_server()
        self._arrive(-WARM_UP_S)
        if scenario.nodes > 1:
            self.engine.at(0.0, self._on_arrival)
        self.engine.at(scenario.interval_s, self._on_interval)
        self._plan_disturbances()

    # ---- run -----------------------------------------------------------------------------------------------------

    def run(self, until_s: float) -> None:
        """Let virtual time pass."""
        self.engine.run(until_s)

    @property
    def counters(self) -> Counter[str]:
        """Counters of all nodes that are alive, and of the run."""
        total = self._counters + Counter(dropped=self.engine.dropped)
        for host in self.peers.values():
            total.update(host.core.node.counters)  # type: ignore[union-attr]
        return total

    def convergence_s(self, *, right: bool = False) -> float | None:
        """When the delivery rate has reached the scenario's share."""
        return convergence_s(self.metrics.intervals, self.scenario, right=right)

    # ---- coming --------------------------------------------------------------------------------------------------

    def _add_server(self) -> None:
        config = BootstrapConfig(
            nodes_max=4_000_000,
            nodes_per_source_max=4_000_000,
            lease_s=self.scenario.lease_s,
            requests_per_s=1e6,
            requests_burst=1e6,
        )
        server = BootstrapServer(config, Random(f"{self.scenario.seed} server"), self.engine.now)
        self.engine.add(server, SERVER, _ignore)

    def _on_arrival(self, now: float) -> None:
        self._arrive(now)
        self._arrived += 1
        if self._arrived < self.scenario.nodes - 1:  # one was there before
            mean_s = 1.0 / self.scenario.rate_per_s
            self._next_arrival_s += max(0.0, self._rng.gauss(mean_s, ARRIVAL_DEVIATION_SHARE * mean_s))
            self.engine.at(self._next_arrival_s, self._on_arrival)

    def _arrive(self, now: float) -> None:
        number = self._numbers
        self._numbers += 1
        address = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 4000 + (number >> 24))
        self._start(number, Random(f"{self.scenario.seed} node {number}"), address, now)

    def _start(self, number: int, rng: Random, address: Address, now: float) -> None:
        identifier = random_id(rng)
        workload = Workload(self.metrics, rng, self.scenario.query_interval_s)
        workload.node = node = make_node(identifier, self._config, rng, now, workload, self._contacts)
        peer = Peer(
            node,
            lambda on_contact: BootstrapClient(identifier, SERVER, ClientConfig(), rng, on_contact=on_contact),
            workload,
        )

        def on_event(effect: Effect, now: float) -> None:
            if type(effect) is Joined:
                self._on_joined(identifier, now)
            self.engine.perform(host, peer.on_event(effect, now))

        host = self.peers[number] = self.engine.add(peer, address, on_event)
        self._plan_death(number, host, now)
        self.engine.perform(host, peer.start(now))

    def _on_joined(self, identifier: int, now: float) -> None:
        self.census.add(identifier)
        if len(self.census.identifiers) == self.scenario.nodes and self.all_joined_s is None:
            self.all_joined_s = now

    # ---- going ---------------------------------------------------------------------------------------------------

    def _plan_death(self, number: int, host: Host, now: float) -> None:
        churn = self.scenario.churn
        if churn is None:
            return
        if churn.distribution == "exponential":
            life_s = self._rng.expovariate(math.log(2.0) / churn.median_s)
        else:  # the median of a Pareto distribution is scale * 2 ** (1 / shape)
            life_s = self._rng.paretovariate(churn.shape) * churn.median_s / 2.0 ** (1.0 / churn.shape)

        def die(now: float) -> None:
            if self.peers.get(number) is host:
                self._kill(number)
                self._arrive(now)

        self.engine.at(max(now, churn.start_s) + life_s, die)

    def _kill(self, number: int) -> None:
        host = self.peers.pop(number)
        peer = host.core
        if not isinstance(peer, Peer):
            raise TypeError(f"node {number} is dead already")
        self._counters.update(peer.node.counters)
        self._counters["died"] += 1
        self.census.remove(peer.node.id)
        self.engine.kill(host)

    def _plan_disturbances(self) -> None:
        for crash in self.scenario.crashes:

            def strike(now: float, share: float = crash.share, restart_s: float | None = crash.restart_s) -> None:
                self._crash(share, restart_s, now)

            self.engine.at(crash.at_s, strike)
        for cut in self.scenario.partitions:

            def part(_now: float, share: float = cut.share) -> None:
                self.engine.cut = True
                for host in self.peers.values():
                    host.side = int(self._rng.random() < share)

            def heal(_now: float) -> None:
                self.engine.cut = False

            self.engine.at(cut.start_s, part)
            self.engine.at(cut.end_s, heal)
        for at_s in self.scenario.snapshots_s:
            self.engine.at(at_s, self._take_snapshot)

    def _crash(self, share: float, restart_s: float | None, now: float) -> None:
        struck = self._rng.sample(sorted(self.peers), round(share * len(self.peers)))
        for number in struck:
            address = self.peers[number].address
            self._kill(number)
            if restart_s is not None:

                def restart(now: float, number: int = number, address: Address = address) -> None:
                    self._start(number, Random(f"{self.scenario.seed} node {number} at {now}"), address, now)

                self.engine.at(now + restart_s, restart)

    # ---- looking -------------------------------------------------------------------------------------------------

    def _on_interval(self, now: float) -> None:
        interval = self.metrics.close(now, len(self.peers))
        for number in self._rng.sample(sorted(self.peers), min(CHECKED_MAX, len(self.peers))):
            check_node(self.peers[number].core.node, self.scenario, now)  # type: ignore[union-attr]
        converged = has_converged(interval, self.scenario, right=self.scenario.converged_when == "right")
        self.ended = self.ended or (converged and self.scenario.until_converged)
        self.engine.at(now + self.scenario.interval_s, self._on_interval)

    def _take_snapshot(self, now: float) -> None:
        nodes = {number: host.core.node for number, host in self.peers.items()}  # type: ignore[union-attr]
        self.snapshots.append(snapshot(nodes, now))


def _ignore(_effect: Effect, _now: float) -> None:
    """The server has none."""
