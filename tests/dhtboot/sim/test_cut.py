"""A cut so long that each half takes the other for dead, with losses: two overlays during it, one soon after it."""

from typing import Any

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.node import KademliaNode
from dhtboot.sim.config import Partition, ProtocolName, Scenario
from dhtboot.sim.result import Snapshot
from dhtboot.sim.simulation import Simulation

CUT = Partition(start_s=60.0, end_s=900.0)
NEAR = 8
"Closest nodes that a Kademlia node must know, of 16 siblings."


def cut_run(protocol: ProtocolName, seed: int, **settings: Any) -> Simulation:
    """A run under way; invariants are looked at each 30 s."""
    scenario = Scenario(
        protocol=protocol,
        nodes=40,
        seed=seed,
        loss=0.05,
        query_interval_s=20.0,
        interval_s=30.0,
        duration_s=2000.0,
        partitions=(CUT,),
        **settings,
    )
    print(f"seed {seed}")
    return Simulation(scenario)


def cycles(snapshot: Snapshot) -> list[set[int]]:
    """The rings that successor pointers form."""
    successors = dict(zip(snapshot.numbers, snapshot.successors, strict=True))
    found: list[set[int]] = []
    for start in successors:
        path = [start]
        while successors[path[-1]] not in path:
            path.append(successors[path[-1]])
        ring = set(path[path.index(successors[path[-1]]) :])
        if ring not in found:
            found.append(ring)
    return found


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_chord_has_two_rings_during_a_long_cut_and_one_after_it(seed: int, adaptive: bool) -> None:
    at_s = (600.0, 700.0, 800.0, 1200.0, 1230.0, 1260.0)  # at any single moment a false alarm may be under way
    run = cut_run("chord", seed, chord=ChordConfig(adaptive=adaptive), snapshots_s=at_s)
    run.run(800.0)
    sides = [{n for n, host in run.peers.items() if host.side == side} for side in (0, 1)]
    assert all(side in [ring for each in run.snapshots for ring in cycles(each)] for side in sides)
    for host in run.peers.values():
        known = host.core.node.neighbours.successors.nodes  # type: ignore[union-attr]
        assert all(run.engine._hosts[each.address].side == host.side for each in known), "all others count as dead"
    run.run(1260.0)
    assert set(run.peers) in [ring for each in run.snapshots[3:] for ring in cycles(each)], seed


def strangers_near(run: Simulation) -> int:
    """How many Kademlia nodes do not know the closest of all others."""
    nodes = [host.core.node for host in run.peers.values()]  # type: ignore[union-attr]
    wrong = 0
    for node in nodes:
        assert isinstance(node, KademliaNode)
        closest = sorted((other.id for other in nodes if other is not node), key=node.id.__xor__)
        wrong += [sibling.id for sibling in node.neighbours][:NEAR] != closest[:NEAR]
    return wrong


@pytest.mark.parametrize("seed", range(2))
def test_kademlia_has_two_overlays_during_a_long_cut_and_one_after_it(seed: int) -> None:
    run = cut_run("kademlia", seed, kademlia=KademliaConfig(attempts=5))  # nobody is given up for three lost packets
    run.run(800.0)
    assert strangers_near(run) == 40
    for host in run.peers.values():
        siblings = host.core.node.neighbours  # type: ignore[union-attr]
        assert all(run.engine._hosts[each.address].side == host.side for each in siblings), "all others count as dead"
    run.run(1260.0)
    assert strangers_near(run) == 0, seed
