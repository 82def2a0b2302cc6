"""What two nodes of one link hold is all there when they have become one."""

from random import Random

import pytest

from mdht.experiments.sim_host import SimHost
from mdht.keeping.config import KeepingConfig
from mdht.keeping.put import PutOutcome
from mdht.subnet.identity import Identity, Kind
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

RECORDS = 40
MERGED_S = 50.0
NEAREST_ONLY = KeepingConfig(replicas=1, acks=1, read_quorum=1)
"Each key lies at one node: what that loses is lost."


class TwoSubnets(RecordsNetwork):
    """Links 0 and 1, to be plugged together, and some that stay apart."""

    def __init__(self, sizes: list[int], *, overlay: str, keeping: KeepingConfig, seed: int) -> None:
        def identity_of(link: int) -> Identity:
            return Identity(Kind.RANDOM, Random(f"{seed} subnet {link}").randbytes(16))

        super().__init__(sizes, overlay=overlay, keeping=keeping, seed=seed, identity_of=identity_of)
        self.before = list(self.net.hosts.values())

    def plug_together(self) -> None:
        for host in self.hosts(1):
            self.net.move(host, 0)

    def nodes(self) -> set[int]:
        """Those that hosts are in."""
        return {self.node(host) for host in self.net.hosts.values()}

    def known(self, host: SimHost) -> set[int]:
        """Those that a host knows, its own among them."""
        return {self.node(host), *(node.id for node in self.keeper(host).others.known)}

    def node(self, host: SimHost) -> int:
        assert host.core is not None
        assert host.core.part is not None
        return host.core.part.face.core.id

    def is_one(self) -> bool:
        hosts = self.hosts(0)
        return all(host.ready for host in hosts) and len({host.core.tag for host in hosts if host.core}) == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("sizes", [[3, 2, 1], [2, 4, 2, 1], [3, 3]], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_and_the_overlay_has_one_node_less(sizes: list[int], overlay: str, seed: int) -> None:
    world = TwoSubnets(sizes, overlay=overlay, keeping=NEAREST_ONLY, seed=seed)
    for number in range(RECORDS):
        world.put(world.before[number % len(world.before)], record(number))
    assert len(world.nodes()) == len(sizes)
    world.net.multicast_loss = 0.2
    world.plug_together()
    world.run_until(world.is_one, MERGED_S)
    world.net.run(20.0)
    nodes = world.nodes()
    assert len(nodes) == len(sizes) - 1
    for number in range(RECORDS):
        for host in world.net.hosts.values():
            assert world.found(host, key_of(number)) == {(b"w" * 32, b""): 1}, (number, host.number)
    assert all(world.known(host) == nodes for host in world.net.hosts.values())


def test_newer_and_removed_records_win_on_both_sides() -> None:
    world = TwoSubnets([2, 3], overlay="kademlia", keeping=KeepingConfig(), seed=1)
    here, there = world.hosts(0)[0], world.hosts(1)[0]
    for number in range(6):
        world.put(here, record(number, 1))
        world.put(there, record(number, 1))
    world.put(here, record(0, 2))
    world.put(there, record(1, 2))
    world.put(there, record(2, 2, deleted=True))
    world.plug_together()
    world.run_until(world.is_one, MERGED_S)
    world.net.run(20.0)
    for host in world.net.hosts.values():
        assert [world.found(host, key_of(number)).get((b"w" * 32, b"")) for number in range(4)] == [2, 2, None, 1]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_acknowledged_while_hosts_go_is_there_too(seed: int) -> None:
    """What is under way at a host that goes ends with its part of the former node; the API does it again."""
    world = TwoSubnets([4, 3, 1], overlay="kademlia", keeping=NEAREST_ONLY, seed=seed)
    world.plug_together()
    world.net.run(29.0)
    outcomes: dict[int, list[PutOutcome]] = {}
    while not world.is_one():
        for host in world.hosts(0):
            if host.ready:
                outcomes[len(outcomes)] = world.begin_put(host, record(len(outcomes)))
        world.net.run(0.1)
    world.net.run(20.0)
    acknowledged = [number for number, done in outcomes.items() if done and done[0].stored]
    assert len(acknowledged) > 0.9 * len(outcomes)
    assert len(acknowledged) > RECORDS
    host = world.hosts(2)[0]
    assert [number for number in acknowledged if not world.found(host, key_of(number))] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_host_that_is_killed_while_hosts_go_loses_nothing(seed: int) -> None:
    """Inside a node there are three copies of each record, and whoever goes takes his along."""
    world = TwoSubnets([5, 4, 1], overlay="kademlia", keeping=NEAREST_ONLY, seed=seed)
    for number in range(RECORDS):
        world.put(world.before[number % len(world.before)], record(number))
    victim = world.hosts(1)[seed % 4]
    tags = {host.core.tag for host in world.before if host.core}
    world.plug_together()
    world.run_until(lambda: any(host.core and host.core.counters["merges"] for host in world.before), MERGED_S)
    assert len(tags) == 3
    world.net.run(0.3 * seed)
    world.net.crash(victim)
    world.run_until(world.is_one, MERGED_S)
    world.net.run(20.0)
    host = world.hosts(2)[0]
    assert [number for number in range(RECORDS) if not world.found(host, key_of(number))] == []
