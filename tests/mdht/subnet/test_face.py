from random import Random

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.ids import NodeRef
from dhtboot.overlay import OverlayConfig, make_node
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.hostset_choice import Hedged, Parallel
from tests.dhtboot.memory_network import Network
from tests.mdht.subnet.face_network import CHORD, KADEMLIA, Lab, LabHost, LabSubnet

OVERLAYS = [pytest.param(KADEMLIA, id="kademlia"), pytest.param(CHORD, id="chord")]


class Prefers(Random):
    """Takes the host of one name first, wherever it may choose."""

    def __init__(self, host: LabHost) -> None:
        super().__init__(1)
        self.hid = host.hid

    def sample(self, population, k, *, counts=None):  # type: ignore[no-untyped-def]
        return sorted(population, key=lambda host: host.hid != self.hid)[:k]


def prefer(asker: LabHost, host: LabHost) -> None:
    asker.face._requests._rng = Prefers(host)


def worked_example(config: FaceConfig | None = None) -> tuple[Lab, LabSubnet, LabSubnet, LabSubnet]:
    """Subnets A and B of three hosts and C of one, clockwise, over Chord: A asks B for what C owns."""
    lab = Lab(1, CHORD, config)
    lab.grow(3, 3)
    first, *others = lab.subnets
    others.sort(key=lambda subnet: (subnet.node_id - first.node_id) % 2**160)
    for host in others[1].hosts[1:]:
        lab.kill(host)
    lab.network.run(60.0)
    return lab, first, others[0], others[1]


def look_up(lab: Lab, host: LabHost, key: int) -> float:
    """The seconds it takes to find the right owner."""
    owners: list[int] = []
    lab.look_up(host, key, lambda owner, _hops, _now: owners.append(host.core.id if owner is None else owner.id))
    took_s = lab.network.run_until(lambda: owners, limit_s=30.0)
    assert owners == [lab.owner(key)]
    return took_s


# ---- appendix B ------------------------------------------------------------------------------------------------------


def test_a_dead_host_costs_one_timeout_and_no_structural_change() -> None:
    lab, a, b, c = worked_example()
    a1, b2 = a.hosts[0], b.hosts[1]
    known = lab.known(a1, b)
    assert {host.hid for host in known.usable} == {host.hid for host in b.hosts}
    plain_s = look_up(lab, a1, c.node_id)
    tables, epoch = lab.tables(), known.epoch
    assert epoch is not None
    lab.kill(b2)
    prefer(a1, b2)
    fails: list[int] = []
    owners: list[NodeRef | None] = []
    started = lab.network.now
    asked = a1.face.counters["hosts_asked"]
    lab.look_up(a1, c.node_id, lambda owner, _hops, _now: owners.append(owner))
    lab.network.run_until(lambda: (host := known.get(b2.hid)) is None or host.fails, limit_s=5.0)
    fails.append(known.get(b2.hid).fails)  # type: ignore[union-attr]
    assert fails == [1], "b2 gains a fail, once"
    lab.network.run_until(lambda: owners, limit_s=5.0)
    assert owners == [NodeRef(c.node_id, c.address)]
    took_s = lab.network.now - started
    assert plain_s < took_s < plain_s + 1.0, "one timeout"
    assert a1.face.counters["hosts_asked"] == asked + 3, "b2, another one of B, and C"
    assert known.epoch is not None
    assert known.epoch > epoch
    assert {host.hid for host in known.usable} == {host.hid for host in b.live}, "told with the answer"
    lab.run_watched(60.0)
    assert lab.tables() == {host.hid: tables[host.hid] for host in lab.hosts}
    assert lab.total("timeouts") == 0


def test_two_hosts_asked_at_once_lose_no_time() -> None:
    lab, a, b, c = worked_example(FaceConfig(way=Parallel(2)))
    a1, b2 = a.hosts[0], b.hosts[1]
    plain_s = look_up(lab, a1, c.node_id)
    lab.kill(b2)
    prefer(a1, b2)
    assert look_up(lab, a1, c.node_id) < 1.5 * plain_s
    lab.network.run(2.0)
    assert lab.known(a1, b).get(b2.hid) is None
    assert a1.face.counters["duplicates_suppressed"] > 0


def test_a_host_that_starts_becomes_known_with_the_next_answer() -> None:
    lab, a, b, c = worked_example()
    a1 = a.hosts[0]
    b4 = lab.add_host(b)
    known = lab.known(a1, b)
    assert known.get(b4.hid) is None
    prefer(a1, b.hosts[0])
    look_up(lab, a1, c.node_id)
    assert known.get(b4.hid) is not None
    assert len(known) == 4


def test_a_node_whose_only_host_dies_leaves_the_ring() -> None:
    lab, a, _b, c = worked_example()
    before = lab.tables()
    lab.kill(c.live[0])
    lab.network.run(180.0)
    for host in lab.hosts:
        assert before[host.hid] - host.table() == {c.node_id}, "the one structural change"
    look_up(lab, a.hosts[0], c.node_id)
    assert lab.total("nodes_given_up") > 0
    assert lab.total("pulls") > 0


# ---- many subnets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", OVERLAYS)
def test_a_dead_host_in_each_subnet_changes_no_table_and_misleads_no_lookup(config: OverlayConfig) -> None:
    lab = Lab(1, config)
    lab.grow(12, 3)
    assert lab.lookups_from_everybody(1) == (36, 36)
    rng = Random(1)
    dead = [rng.choice(subnet.hosts) for subnet in lab.subnets]
    for host in dead:
        lab.kill(host, noticed=False)
    assert lab.lookups_from_everybody(2, during=lab.run_watched) == (48, 48)
    for host in dead:
        lab.notice(host)
    assert lab.lookups_from_everybody(2, during=lab.run_watched) == (48, 48)
    assert lab.total("timeouts") == lab.total("nodes_given_up") == lab.total("unknown_nodes") == 0
    assert lab.total("alternates_used") > 0
    assert lab.largest <= lab.config.datagram_max
    assert lab.told == {host.address for subnet in lab.subnets for host in subnet.hosts}, "and no private address"


@pytest.mark.parametrize("way", [Parallel(2), Hedged()])
def test_so_it_is_whichever_way_hosts_are_asked(way: Parallel | Hedged) -> None:
    lab = Lab(2, CHORD, FaceConfig(way=way))
    lab.grow(8, 3)
    for subnet in lab.subnets:
        lab.kill(subnet.hosts[subnet.number % 3], noticed=False)
    assert lab.lookups_from_everybody(2, during=lab.run_watched) == (32, 32)
    assert lab.total("timeouts") == 0


def test_recursive_lookups_come_back_to_the_host_that_asked() -> None:
    lab = Lab(3, ChordConfig(lookup="recursive", successors=3))
    lab.grow(12, 3)
    for subnet in lab.subnets:
        lab.kill(subnet.hosts[subnet.number % 3], noticed=False)
    assert lab.lookups_from_everybody(3, during=lab.run_watched) == (72, 72)
    assert lab.total("timeouts") == 0


@pytest.mark.parametrize("config", OVERLAYS)
def test_lost_packets_change_no_table(config: OverlayConfig) -> None:
    lab = Lab(4, config)
    lab.grow(6, 3)
    lab.network.loss, lab.network.duplicate = 0.1, 0.05
    asked, right = lab.lookups_from_everybody(2, during=lab.run_watched)
    assert (asked, right) == (36, 36)
    assert lab.total("timeouts") == 0


@pytest.mark.parametrize("config", OVERLAYS)
def test_subnets_of_one_host_are_plain_nodes(config: OverlayConfig) -> None:
    lab = Lab(5, config)
    lab.grow(12, 1, settle_s=300.0)
    plain = Network(5)
    ids = [subnet.node_id for subnet in lab.subnets]
    addresses = {node_id: (f"10.0.0.{number}", 4000) for number, node_id in enumerate(ids, start=1)}
    for node_id in ids:
        core = make_node(node_id, config, plain.rng(node_id), plain.now, None)
        plain.add(core, addresses[node_id])
        contacts = [NodeRef(ids[0], addresses[ids[0]])] if node_id != ids[0] else []
        plain.perform(addresses[node_id], core.join(contacts, plain.now))
        plain.run(1.0)
    plain.run(300.0)
    for host in lab.hosts:
        assert host.table() == {node.id for node in contacts_of(plain.core(addresses[host.core.id]))}
    gone = lab.subnets[3]
    lab.kill(gone.hosts[0])
    lab.network.run(300.0)
    assert not any(gone.node_id in host.table() for host in lab.hosts)
    assert lab.lookups_from_everybody(2) == (22, 22)


def test_whose_hosts_are_all_unknown_is_found_by_its_neighbours() -> None:
    lab, a, b, c = worked_example()
    a1 = a.hosts[0]
    known = lab.known(a1, b)
    survivor = b.hosts[2]
    del known._hosts[survivor.hid]
    lab.kill(b.hosts[0])
    lab.kill(b.hosts[1])
    before = lab.tables()
    took_s = look_up(lab, a1, c.node_id)
    assert took_s < lab.config.patience_s
    assert a1.face.counters["pulls"] == 1
    assert known.get(survivor.hid) is not None
    assert lab.tables() == before
    lab.run_watched(60.0)
    assert lab.total("timeouts") == 0
