"""Two live foundings of one identifier, and a third node that knows one of them."""

from random import Random

import msgspec
import pytest

from dhtboot.effects import Send
from dhtboot.ids import Address
from dhtboot.kademlia.node import KademliaNode
from dhtboot.overlay import make_node
from mdht.subnet.face import Face
from mdht.subnet.face_config import FaceConfig, face_config
from mdht.subnet.face_messages import Contest, Contested, Knock, Occupied, OverlayDatagram
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.face_rivals import CONTEST_S
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import Identity, named
from mdht.subnet.messages import HostRef, NodeEntry
from mdht.subnet.view import View
from tests.mdht.subnet.face_network import KADEMLIA, OVERLAY

NOW = 10_000.0
FIRST, SECOND, THIRD = ("128.59.1.1", 4000), ("128.59.2.1", 4000), ("128.59.3.1", 4000)
CONFIG = FaceConfig(verify=False)


class World:
    """One host each of two foundings of one name, and of another node; what they send arrives at once."""

    def __init__(self, first_age_s: float, second_age_s: float, tags: tuple[bytes, bytes] = (b"1st__tag", b"2nd__tag")):
        self.faces: dict[Address, Face] = {}
        self.said: list[OverlayDatagram] = []
        self.first = self.face(FIRST, named("same"), tags[0], first_age_s)
        self.second = self.face(SECOND, named("same"), tags[1], second_age_s)
        self.third = self.face(THIRD, named("third"), b"3rd__tag", 0.0)

    def face(self, address: Address, identity: Identity, tag: bytes, age_s: float) -> Face:
        own = Own(identity=identity, tag=tag, hid=b"host%04d" % len(self.faces), addresses=(address,), ready=True)
        core = make_node(identity.node_id(OVERLAY), face_config(KADEMLIA, CONFIG), Random(1), NOW, None)
        face = Face(core, OVERLAY, lambda: own, View(), CONFIG, Random(2), ring_id=lambda: b"ringring")
        face.rivals.founded_at = NOW - age_s
        self.faces[address] = face
        return face

    def knock(self, face: Face, to: Address, now: float = NOW) -> None:
        self.carry(face, face.knock(to, 7, now), now)

    def carry(self, sender: Face, effects: list[object], now: float) -> None:
        source = next(address for address, face in self.faces.items() if face is sender)
        for effect in effects:
            assert isinstance(effect, Send)
            self.said.append(effect.packet)
            if effect.to in self.faces:
                other = self.faces[effect.to]
                self.carry(other, list(other.receive(effect.packet, source, now)), now)

    def bodies(self, kind: type) -> list[object]:
        return [datagram.body for datagram in self.said if isinstance(datagram.body, kind)]


def refusal() -> OverlayDatagram:
    """The third node names a host of the first founding that nobody reaches."""
    host = HostRef(hid=b"host0000", address=("128.59.9.9", 4000), age_s=0)
    entry = NodeEntry(identity=named("same"), tag=b"1st__tag", view_epoch=1, size=1, hosts=(host,))
    return OverlayDatagram(
        identity=named("third"),
        tag=b"3rd__tag",
        hid=b"host0002",
        view_epoch=0,
        held=None,
        named=(entry,),
        body=Occupied(),
    )


@pytest.mark.parametrize(
    ("ages", "tags", "gives_way"),
    [
        ((500.0, 20.0), (b"1st__tag", b"2nd__tag"), (False, True)),
        ((20.0, 500.0), (b"1st__tag", b"2nd__tag"), (True, False)),
        ((20.2, 20.7), (b"1st__tag", b"2nd__tag"), (False, True)),
        ((20.7, 20.2), (b"9th__tag", b"2nd__tag"), (True, False)),
    ],
)
def test_who_is_refused_and_who_is_there_come_to_one_answer(
    ages: tuple[float, float], tags: tuple[bytes, bytes], gives_way: tuple[bool, bool]
) -> None:
    world = World(*ages, tags)
    world.knock(world.first, THIRD)
    world.knock(world.second, THIRD)
    assert len(world.bodies(Occupied)) == 1
    assert world.bodies(Contest) == [Contest(age_s=int(ages[1]))]
    assert world.bodies(Contested) == [Contested(age_s=int(ages[0]), other_age_s=int(ages[1]))]
    assert (world.first.rivals.gives_way, world.second.rivals.gives_way) == gives_way
    assert not world.third.rivals.gives_way


def test_who_hears_nothing_of_the_other_founding_gives_way_after_a_while() -> None:
    world = World(20.0, 500.0)
    world.knock(world.first, THIRD)
    first = world.faces.pop(FIRST)
    world.knock(world.second, THIRD)
    assert world.bodies(Contest) == []
    world.faces[FIRST] = first
    world.carry(world.second, list(world.second.receive(refusal(), THIRD, NOW)), NOW)
    assert len(world.bodies(Contest)) == 1
    assert world.second.next_deadline() <= NOW + CONTEST_S
    world.second.tick(NOW + CONTEST_S - 0.1)
    assert not world.second.rivals.gives_way
    world.second.tick(NOW + CONTEST_S)
    assert world.second.rivals.gives_way


def test_who_stays_is_not_put_off_by_hosts_of_the_other_one_that_are_gone_already() -> None:
    world = World(20.0, 500.0)
    world.knock(world.first, THIRD)
    world.knock(world.second, THIRD)
    assert world.first.rivals.gives_way
    world.carry(world.second, list(world.second.receive(refusal(), THIRD, NOW + 5.0)), NOW + 5.0)
    assert len(world.bodies(Contest)) == 2
    world.second.tick(NOW + 5.0 + CONTEST_S)
    assert not world.second.rivals.gives_way


def test_a_node_that_others_know_is_not_refused_whatever_somebody_says() -> None:
    world = World(20.0, 500.0)
    world.knock(world.second, THIRD)
    core = world.third.core
    assert isinstance(core, KademliaNode)
    (contact,) = world.third.nodes.usable()
    world.carry(world.third, list(world.third.perform(core.learn(contact, NOW), NOW)), NOW)
    assert [one.id for one in contacts_of(world.second.core)] == [core.id]
    assert list(world.second.receive(refusal(), THIRD, NOW)) == []
    world.second.tick(NOW + 2 * CONTEST_S)
    assert not world.second.rivals.gives_way


def test_a_salted_subnet_does_not_change_again() -> None:
    world = World(20.0, 500.0)
    salted = named("same").salted(b"1st__tag")
    own = Own(identity=salted, tag=b"new__tag", hid=b"host0000", addresses=(FIRST,), ready=True)
    world.first._own = world.first.rivals._own = lambda: own
    contest = OverlayDatagram(
        identity=salted, tag=b"evil_tag", hid=b"evilevil", view_epoch=0, held=None, body=Contest(age_s=10**9)
    )
    world.first.receive(contest, SECOND, NOW)
    assert not world.first.rivals.gives_way


def test_an_answer_that_nobody_has_asked_for_changes_nothing() -> None:
    world = World(20.0, 500.0)
    lie = OverlayDatagram(
        identity=named("same"),
        tag=b"evil_tag",
        hid=b"evilevil",
        view_epoch=0,
        held=None,
        body=Contested(age_s=10**9, other_age_s=1),
    )
    assert list(world.first.receive(lie, SECOND, NOW)) == []
    assert not world.first.rivals.gives_way
    same = msgspec.structs.replace(lie, tag=b"1st__tag", body=Contest(age_s=10**9))
    assert list(world.first.receive(same, SECOND, NOW)) == [], "a sibling's echo"
    assert not world.first.rivals.gives_way


def test_a_claim_to_a_node_whose_hosts_are_gone_is_not_refused() -> None:
    world = World(500.0, 20.0)
    world.knock(world.first, THIRD)
    del world.faces[FIRST]
    world.knock(world.second, THIRD)
    effects = world.third.tick(NOW + CONFIG.claim_s + 0.1)
    world.carry(world.third, list(effects), NOW + CONFIG.claim_s + 0.1)
    assert world.bodies(Occupied) == []
    assert len(world.bodies(Knock)) == 3
    node = world.third.nodes.usable()
    assert [world.third.nodes.get(one.address).tag for one in node] == [b"2nd__tag"]  # type: ignore[union-attr]
