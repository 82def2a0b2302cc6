from typing import Any

import pytest

from dhtboot.bootstrap import BootstrapServer
from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, Phase
from dhtboot.bootstrap_config import BootstrapConfig
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.chord.config import ChordConfig
from dhtboot.effects import Effect, Joined
from dhtboot.ids import Address, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, find_owner, make_node, packet_type
from dhtboot.peer import Peer
from dhtboot.sim.metrics import Census, Metrics
from dhtboot.sim.note import TestMessage
from dhtboot.sim.workload import Workload
from dhtboot.wire import Codec, PeerCodec
from tests.dhtboot.memory_network import Network

SERVER = ("192.0.2.1", 27184)


class Town:
    """Peers that know nothing but the server's address."""

    def __init__(self, config: OverlayConfig, seed: int, protocol: Any) -> None:
        overlay: Codec[Any] = Codec(packet_type(config, TestMessage), network="test")
        codec: Any = PeerCodec(overlay, Codec(BootstrapPacket, network="test"))
        self.config = config
        self.network = Network(seed, codec=codec)
        self.server = BootstrapServer(BootstrapConfig(), self.network.rng("server"), 0.0)
        self.network.add(self.server, SERVER)
        self.census = Census(protocol)
        self.metrics = Metrics(self.census, 5.0)
        self.peers: dict[Address, Peer] = {}

    def add(self, number: int) -> Peer:
        rng = self.network.rng((number, self.network.now))
        identifier = random_id(rng)
        workload = Workload(self.metrics, rng, 1.0)
        workload.node = make_node(identifier, self.config, rng, self.network.now, workload)
        address = (f"10.0.0.{number}", 4000)
        peer = Peer(
            workload.node,
            lambda on_contact: BootstrapClient(identifier, SERVER, ClientConfig(), rng, on_contact=on_contact),
            workload,
        )

        def on_event(effect: Effect) -> None:
            if isinstance(effect, Joined):
                self.census.add(identifier)
            self.network.perform(address, peer.on_event(effect, self.network.now))

        self.peers[address] = peer
        self.network.add(peer, address, on_event=on_event)
        self.network.perform(address, peer.start(self.network.now))
        return peer


CONFIGS = {"chord": ChordConfig(adaptive=False), "kademlia": KademliaConfig()}


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_peers_that_know_only_the_server_form_an_overlay_and_deliver(protocol: str) -> None:
    town = Town(CONFIGS[protocol], 1, protocol)
    for number in range(1, 26):
        town.add(number)
        town.network.run(0.05)
    town.network.run_until(lambda: len(town.census.identifiers) == 25, limit_s=120.0)
    assert len(town.server) >= 20
    town.network.run(30.0)
    assert len(town.server) == 25
    assert all(peer.client.phase is Phase.LISTED for peer in town.peers.values())
    town.metrics.close(0.0, 25)
    town.network.run(20.0)
    interval = town.metrics.close(20.0, 25)
    assert interval.sent == pytest.approx(500, rel=0.1)
    assert interval.right_rate == pytest.approx(1.0, abs=0.03)
    assert interval.delivery_rate == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_a_peer_whose_contact_is_dead_asks_the_server_for_another(protocol: str) -> None:
    town = Town(CONFIGS[protocol], 2, protocol)
    for number in range(1, 4):
        town.add(number)
        town.network.run(2.0)
    dead = [("10.0.0.2", 4000), ("10.0.0.3", 4000)]
    for address in dead:  # they stay on the server's list
        town.network.kill(address)
    town.network.run(60.0)
    newcomers = [town.add(number) for number in range(4, 8)]
    town.network.run_until(lambda: all(peer.traffic.joined for peer in newcomers), limit_s=300.0)


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_a_peer_that_leaves_is_off_the_list_and_its_keys_go_to_another(protocol: str) -> None:
    town = Town(CONFIGS[protocol], 3, protocol)
    for number in range(1, 9):
        town.add(number)
        town.network.run(1.0)
    town.network.run(30.0)
    address = ("10.0.0.5", 4000)
    gone = town.peers.pop(address)
    town.network.perform(address, gone.leave(town.network.now))
    town.network.kill(address)
    town.network.run(5.0)
    assert len(town.server) == 7
    owners: list[Any] = []
    asker = town.peers["10.0.0.1", 4000]
    find_owner(asker.node, gone.node.id, town.network.now, lambda owner, _hops, _now: owners.append(owner))
    town.network.perform(("10.0.0.1", 4000), asker.node.collect())
    town.network.run_until(lambda: owners, limit_s=30.0)
    town.census.remove(gone.node.id)
    found = asker.node.id if owners[0] is None else owners[0].id
    assert found == town.census.owner(gone.node.id)
