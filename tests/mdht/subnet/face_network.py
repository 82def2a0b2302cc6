"""Subnets of some hosts each, every host with a core of the overlay and a face, on a simulated network in virtual time.

Siblings see each other by magic: when a host comes or goes, the views of the others change as membership would have it.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from dhtboot.chord.config import ChordConfig
from dhtboot.effects import Joined
from dhtboot.ids import Address, NodeRef
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, OverlayNode, find_owner, make_node
from mdht.subnet.face import Face
from mdht.subnet.face_config import FaceConfig, face_config
from mdht.subnet.face_messages import OverlayDatagram, entry_bytes, head_bytes, packet_bytes
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.face_packets import contacts_of, named_in
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_handout import Own, set_for
from mdht.subnet.identity import Subnet, named
from mdht.subnet.messages import NodeEntry, State
from mdht.subnet.view import Input, Member, View
from tests.dhtboot.memory_network import Network

OVERLAY = "lab"
KADEMLIA = KademliaConfig(refresh_interval_s=60.0)
CHORD = ChordConfig()


class LabHost:
    def __init__(self, hid: bytes, address: Address, view: View) -> None:
        self.hid = hid
        self.address = address
        self.view = view
        self.alive = True
        self.joined = 0
        self.face: Face

    @property
    def core(self) -> OverlayNode:
        return self.face.core

    def table(self) -> set[int]:
        return {contact.id for contact in contacts_of(self.core)}

    def on_event(self, effect: Any) -> None:
        self.joined += isinstance(effect, Joined)


class LabSubnet:
    def __init__(self, number: int) -> None:
        self.number = number
        self.subnet = Subnet(named(f"subnet {number}"), b"tag%05d" % number)
        self.node_id = self.subnet.identity.node_id(OVERLAY)
        self.address = pseudo_address(self.node_id)
        self.hosts: list[LabHost] = []

    @property
    def live(self) -> list[LabHost]:
        return [host for host in self.hosts if host.alive]


class Lab:
    def __init__(
        self,
        seed: int,
        overlay: OverlayConfig,
        config: FaceConfig | None = None,
        *,
        delay: tuple[float, float] = (0.02, 0.005),
    ) -> None:
        self.network = Network(seed, delay=delay)
        self.network.observers.append(self._check)
        self.config = config or FaceConfig()
        self.overlay = face_config(overlay, self.config)
        self.subnets: list[LabSubnet] = []
        self.largest = 0
        self.told: set[Address] = set()

    def _check(self, _source: Address, _to: Address, datagram: OverlayDatagram, _size: int) -> None:
        size = head_bytes(datagram.identity)
        entries = [*datagram.named, *([datagram.entry] if datagram.entry else [])]
        self.told |= {host.address for entry in entries for host in entry.hosts}
        size += sum(map(entry_bytes, entries))
        packet = getattr(datagram.body, "packet", None)
        size += packet_bytes(len(named_in(packet.message))) if packet is not None else 0
        self.largest = max(self.largest, size)

    @property
    def hosts(self) -> list[LabHost]:
        return [host for subnet in self.subnets for host in subnet.live]

    def found(self, hosts: int) -> LabSubnet:
        """A subnet of so many hosts, not yet in the overlay."""
        subnet = LabSubnet(len(self.subnets))
        self.subnets.append(subnet)
        for _ in range(hosts):
            self.add_host(subnet)
        return subnet

    def add_host(self, subnet: LabSubnet) -> LabHost:
        number = len(subnet.hosts) + 1
        host = LabHost(b"%03d h%03d" % (subnet.number, number), (f"128.59.{subnet.number}.{number}", 4000), View())
        for other in subnet.live:
            other.view.add(Member(host.hid, 1, (host.address,), State.READY, self.network.now))
            host.view.add(Member(other.hid, 1, (other.address,), State.READY, self.network.now))
        subnet.hosts.append(host)
        epoch = max(other.view.epoch for other in subnet.live)
        for other in subnet.live:
            other.view.hear_epoch(epoch)
        host.face = self._face(subnet, host)
        self.network.add(host.face, host.address, host.on_event)
        return host

    def _face(self, subnet: LabSubnet, host: LabHost) -> Face:
        own = Own(
            identity=subnet.subnet.identity,
            tag=subnet.subnet.tag,
            hid=host.hid,
            addresses=(("192.168.1.7", 4000), host.address),
            ready=True,
        )
        core = make_node(subnet.node_id, self.overlay, self.network.rng(host.hid), self.network.now, None)
        return Face(core, OVERLAY, lambda: own, host.view, self.config, self.network.rng(host.address))

    def entry(self, subnet: LabSubnet) -> NodeEntry:
        """What a server would tell of a subnet."""
        host = subnet.live[0]
        own = Own(
            identity=subnet.subnet.identity, tag=subnet.subnet.tag, hid=host.hid, addresses=(host.address,), ready=True
        )
        return set_for(b"", own, host.view, self.network.now, allow_private=False)

    def join(self, host: LabHost, *contacts: LabSubnet) -> None:
        now = self.network.now
        learnt = [host.face.nodes.learn(self.entry(contact), now, firsthand=False) for contact in contacts]
        known = [contact for contact in learnt if contact is not None]
        self.network.perform(host.address, host.face.join(known, now))

    def grow(self, subnets: int, hosts: int, settle_s: float = 240.0) -> None:
        """An overlay of so many subnets, one after another."""
        for _ in range(subnets):
            subnet = self.found(hosts)
            contacts = [self.subnets[0]] if subnet.number else []
            for host in subnet.hosts:
                if not contacts and host is not subnet.hosts[0]:
                    continue
                self.join(host, *contacts)
                self.network.run(1.0)
        for host in self.subnets[0].hosts[1:]:
            self.join(host, self.subnets[1])
        self.network.run_until(lambda: all(host.joined for host in self.hosts), limit_s=120.0)
        self.network.run(settle_s)

    def kill(self, host: LabHost, *, noticed: bool = True) -> None:
        """A host dies without a word; its siblings have noticed at once, or do not yet."""
        host.alive = False
        self.network.kill(host.address)
        if noticed:
            self.notice(host)

    def notice(self, dead: LabHost) -> None:
        """Its siblings find out."""
        for subnet in self.subnets:
            for host in subnet.live if dead in subnet.hosts else ():
                member = host.view.get(dead.hid)
                assert member is not None
                host.view.step(member, Input.ACCUSED, 1, self.network.now)
                host.view.step(member, Input.UNREFUTED, 1, self.network.now)

    def run_watched(self, duration_s: float) -> None:
        """Let time pass; no table may lose a node meanwhile, not even for a moment between two looks."""
        before = self.tables()
        for _ in range(round(4 * duration_s)):
            self.network.run(0.25)
            for host in self.hosts:
                assert host.table() >= before[host.hid], f"{host.hid!r} lost a node at {self.network.now} s"

    def known(self, host: LabHost, subnet: LabSubnet) -> RemoteNode:
        """What a host knows of a subnet."""
        node = host.face.nodes.get(subnet.address)
        assert node is not None
        return node

    def total(self, name: str) -> int:
        """A counter of all faces, their tables, and their cores."""
        return sum(
            counters[name]
            for host in self.hosts
            for counters in (host.face.counters, host.face.nodes.counters, host.core.counters)
        )

    def tables(self) -> dict[bytes, set[int]]:
        return {host.hid: host.table() for host in self.hosts}

    def look_up(self, host: LabHost, key: int, on_owner: Callable[[NodeRef | None, int, float], None]) -> None:
        find_owner(host.core, key, self.network.now, on_owner)
        self.network.perform(host.address, host.face.collect(self.network.now))

    def owner(self, key: int) -> int:
        """Of the subnets with a live host, the one that is responsible for a key."""
        ids = [subnet.node_id for subnet in self.subnets if subnet.live]
        if isinstance(self.overlay, ChordConfig):
            return min(ids, key=lambda node_id: (node_id - key) % 2**160)
        return min(ids, key=lambda node_id: node_id ^ key)

    def lookups_from_everybody(self, keys: int, during: Callable[[float], None] | None = None) -> tuple[int, int]:
        """Lookups from every host; how many there were, and how many found the right owner."""
        right: list[bool] = []
        rng = Random(f"keys {self.network.seed}")
        asked = 0
        for host in self.hosts:
            for key in [rng.getrandbits(160) for _ in range(keys)]:
                self.look_up(host, key, self._judge(host, key, right))
                asked += 1
        (during or self.network.run)(30.0)
        return asked, sum(right)

    def _judge(self, host: LabHost, key: int, right: list[bool]) -> Callable[[NodeRef | None, int, float], None]:
        def judge(owner: NodeRef | None, _hops: int, _now: float) -> None:
            right.append((host.core.id if owner is None else owner.id) == self.owner(key))

        return judge
