import heapq
import itertools
import math
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from dhtboot.bootstrap import BootstrapConfig, BootstrapServer
from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.bootstrap_messages import BootstrapPacket, JoinReport, LeaveReport
from dhtboot.chord.config import ChordConfig
from dhtboot.effects import Send
from dhtboot.ids import Address, NodeRef
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Carried, HostsChanged, Knock, OverlayDatagram, Welcome
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import Subnet, named
from mdht.subnet.in_step import NO_RING
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import HostSet, Reason, State
from mdht.subnet.messages import NodeState as NodeStateMessage
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.node_part_stage import TRANSITIONS, Input, Stage
from mdht.subnet.part_outcome import Entered, Inherits, Reached, Unreached
from mdht.subnet.view import Input as MemberInput
from mdht.subnet.view import Member
from mdht.subnet.wire import Header

OVERLAY = "test"
SERVER: Address = ("192.0.2.1", 27184)
RING = b"ringring"
DELAY_S = 0.01
CHORD, KADEMLIA = ChordConfig(), KademliaConfig()
OVERLAYS = [pytest.param(CHORD, id="chord"), pytest.param(KADEMLIA, id="kademlia")]
LAB = FaceConfig(hosts=HostSetConfig(allow_private=True))


class Host:
    """One host's part of a node, what it has sent, and what has come of its work."""

    def __init__(self, world: "World", subnet: Subnet, number: int, *, server: bool) -> None:
        self.subnet = subnet
        self.hid = b"host%04d" % number
        self.address: Address = (f"10.0.0.{number}", 27183)
        self.membership = Membership(self.hid, 1, (self.address,), bytes(20), MembershipConfig(), Random(number))
        self.membership.state = State.JOINING
        self.alive = True
        self.entry_points: list[Address] = []
        self.outcomes: list[object] = []
        self.said: list[object] = []
        rng = Random(f"part {number}")

        def make_client(on_contact: OnContact) -> BootstrapClient:
            node_id = subnet.identity.node_id(OVERLAY)
            return BootstrapClient(node_id, SERVER, ClientConfig(), rng, on_contact=on_contact)

        client = make_client if server else None
        addresses = (self.address,)
        self.part = NodePart(
            subnet,
            OVERLAY,
            self.membership,
            lambda: addresses,
            world.config,
            client,
            rng,
            world.now,
            entry_points=lambda: self.entry_points,
        )

    @property
    def ref(self) -> NodeRef:
        return NodeRef(self.part.face.core.id, self.part.face._address)

    def take(self) -> list[object]:
        outcomes, self.outcomes = self.outcomes, []
        return outcomes


class World:
    """Hosts of some subnets, a bootstrap server, and a network that delays everything equally."""

    def __init__(self, overlay: OverlayConfig = CHORD, *, server: bool = True, **settings: Any) -> None:
        self.now = 0.0
        self.config = NodePartConfig(overlay=overlay, face=LAB, **settings)
        self.hosts: list[Host] = []
        self.has_server = server
        self.server = BootstrapServer(BootstrapConfig(), Random(1), 0.0)
        self._on_the_way: list[tuple[float, int, Any]] = []
        self._order = itertools.count()

    def subnet(self, name: str, hosts: int = 1) -> list[Host]:
        """Hosts that know each other, none of them ready."""
        subnet = Subnet(named(name), b"tag %4s" % name.encode())
        added = [Host(self, subnet, len(self.hosts) + 1 + place, server=self.has_server) for place in range(hosts)]
        self.hosts += added
        for host, other in itertools.permutations(added, 2):
            host.membership.view.add(Member(other.hid, 1, (other.address,), State.JOINING, self.now))
        return added

    def siblings(self, host: Host) -> list[Host]:
        return [other for other in self.hosts if other.subnet == host.subnet and other is not host]

    def become(self, host: Host, state: State) -> None:
        """A host is something else from now on, and its siblings know it."""
        inputs = {State.READY: MemberInput.IS_READY, State.LEFT: MemberInput.GOODBYE, State.DEAD: MemberInput.UNREFUTED}
        if host.alive:
            host.membership.state = state
            host.membership.view.changed()
        for other in self.siblings(host):
            member = other.membership.view.get(host.hid)
            assert member is not None
            if state is State.DEAD:
                other.membership.view.step(member, MemberInput.ACCUSED, 1, self.now)
            other.membership.view.step(member, inputs[state], 1, self.now)
        self.share_epoch(host)
        for one in (host, *self.siblings(host)):
            if one.alive:
                self.perform(one, one.part.on_member(state, self.now))

    def share_epoch(self, host: Host) -> None:
        """As heartbeats have it among siblings."""
        views = [one.membership.view for one in (host, *self.siblings(host))]
        epoch = max(view.epoch for view in views)
        for view in views:
            view.hear_epoch(epoch)

    def kill(self, host: Host) -> None:
        host.alive = False
        self.become(host, State.DEAD)

    def perform(self, host: Host, effects: Iterable[object]) -> None:
        for effect in effects:
            match effect:
                case Send(to=to, packet=packet):
                    host.said.append(packet if isinstance(packet, BootstrapPacket) else packet.body)
                    self._send((to, packet, host.address))
                case Multicast(message=message) | Unicast(message=message):
                    host.said.append(message)
                    header = Header(subnet_tag=host.subnet.tag, hid=host.hid, incarnation=1, seq=1)
                    for other in self.siblings(host):
                        if isinstance(effect, Multicast) or effect.to == other.address:
                            self._send((other, header, message, isinstance(effect, Multicast)))
                case Entered():
                    host.outcomes.append(effect)
                    if host.membership.state is not State.READY:
                        self.become(host, State.READY)
                case _:
                    host.outcomes.append(effect)

    def _send(self, what: Any) -> None:
        heapq.heappush(self._on_the_way, (self.now + DELAY_S, next(self._order), what))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            living = [host for host in self.hosts if host.alive]
            due = min(living, key=lambda host: host.part.next_deadline())
            at = self._on_the_way[0][0] if self._on_the_way else math.inf
            if min(at, due.part.next_deadline()) > end:
                self.now = end
                return
            if at <= due.part.next_deadline():
                self.now = at
                self._arrive(heapq.heappop(self._on_the_way)[2])
            else:
                self.now = max(self.now, due.part.next_deadline())
                self.perform(due, due.part.tick(self.now))

    def _arrive(self, what: Any) -> None:
        if isinstance(what[0], Host):
            host, header, message, multicast = what
            if host.alive:
                self.perform(host, host.part.receive(header, message, self.now, multicast=multicast))
            return
        to, packet, source = what
        if to == SERVER:
            for effect in self.server.receive(packet, source, self.now):
                if isinstance(effect, Send):
                    self._send((effect.to, effect.packet, SERVER))
        for host in self.hosts:
            if host.address == to and host.alive:
                self.perform(host, host.part.receive_overlay(packet, source, self.now))

    # ---- what tests begin with ---------------------------------------------------------------------------------------

    def ring_of_one(self, name: str = "one", hosts: int = 1) -> list[Host]:
        """The first host of a subnet is a ring of its own, and on the server's list."""
        first, *others = self.subnet(name, hosts)
        self.perform(first, first.part.begin(RING, self.now))
        self.run(0.1)
        for host in others:
            self.perform(host, host.part.take_over(self.now))
            self.run(0.5)
        return [first, *others]

    def look(self, host: Host) -> list[object]:
        self.perform(host, host.part.look(self.now))
        self.run(1.0)
        return host.take()

    def join(self, host: Host) -> list[object]:
        self.perform(host, host.part.join(self.now))
        self.run(2.0)
        return host.take()


def neighbours(host: Host) -> list[int]:
    return [node.id for node in host.part.step.neighbours()]


# ---- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "what"), list(itertools.product(Stage, Input)))
def test_every_pair_takes_the_step_of_the_table_or_none(stage: Stage, what: Input) -> None:
    (host,) = World(server=False).subnet("one")
    part = host.part
    part.stage, part._alone_at = stage, 5.0
    taken = part._step(what)
    assert taken == ((stage, what) in TRANSITIONS)
    assert part.stage is TRANSITIONS.get((stage, what), stage)
    assert part._alone_at == (math.inf if taken else 5.0)
    assert part.next_deadline() >= part._alone_at or not taken


def test_every_stage_and_input_is_in_the_table() -> None:
    assert {stage for stage, _ in TRANSITIONS} == set(TRANSITIONS.values()) | {Stage.FOLLOWING} == set(Stage)
    assert {what for _, what in TRANSITIONS} == set(Input)


# ---- a founder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_founder_begins_a_ring_answers_for_it_and_is_put_on_the_list(overlay: OverlayConfig) -> None:
    world = World(overlay)
    (host,) = world.ring_of_one()
    assert host.take() == [Entered()]
    assert host.part.stage is Stage.IN
    assert host.part.step.ring_id == RING
    assert [packet.message for packet in host.said if isinstance(packet, BootstrapPacket)][:1] == [JoinReport()]
    owners: list[NodeRef | None] = []
    world.perform(host, host.part.find_owner(123, world.now, lambda owner, _hops, _now: owners.append(owner)))
    assert owners == [None], "everything is its own"


def test_without_a_server_the_overlay_is_not_found_at_once() -> None:
    world = World(server=False)
    (host,) = world.subnet("one")
    assert host.part.look(0.0) == [Unreached()]
    assert host.part.join(0.0) == [Unreached()], "there is no way"
    assert host.part.stage is Stage.OUT
    assert host.part.next_deadline() == math.inf or isinstance(world.config.overlay, KademliaConfig)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_founder_finds_the_overlay_by_the_server_and_a_knock_and_joins_it(overlay: OverlayConfig) -> None:
    world = World(overlay)
    (first,) = world.ring_of_one()
    (second,) = world.subnet("two")
    assert world.look(second) == [Reached(RING, alone=True)]
    assert sum(isinstance(body, Knock) for body in second.said) >= 1
    assert Welcome in {type(body) for body in first.said}
    assert second.part.face.nodes.knows(first.ref), "and its hosts"
    assert second.part.stage is Stage.OUT
    assert world.join(second) == [Entered()]
    assert second.part.step.ring_id == RING
    world.run(10.0)
    assert set(neighbours(first)) == {second.ref.id}
    assert set(neighbours(second)) == {first.ref.id}
    reports = [one for one in second.said if isinstance(one, BootstrapPacket) and one.message == JoinReport()]
    assert reports, "it is on the list too"


def test_a_ring_of_one_that_has_found_the_overlay_moves_with_all_its_hosts() -> None:
    world = World()
    first, sibling = world.ring_of_one(hosts=2)
    (other,) = world.subnet("two")
    world.server = BootstrapServer(BootstrapConfig(), Random(1), world.now)  # which knows nobody yet
    world.perform(other, other.part.begin(b"otherone", world.now))
    world.run(0.2)
    first.take()
    assert world.look(first) == [Reached(b"otherone", alone=True)]
    assert first.part.stage is Stage.IN, "it serves meanwhile"
    world.perform(first, first.part.join(world.now))
    assert not first.part.step.inside
    header = Header(subnet_tag=sibling.subnet.tag, hid=sibling.hid, incarnation=1, seq=1)
    (last,) = [one for one in [*first.said, *sibling.said] if isinstance(one, NodeStateMessage)][-1:]
    world.perform(first, first.part.receive(header, last, world.now, multicast=True))
    assert first.part.stage is Stage.JOINING, "what siblings say of the former ring does not bring it back there"
    world.run(2.0)
    assert first.take() == [Entered()]
    world.run(2.0)
    for host in (first, sibling):
        assert host.part.stage is Stage.IN
        assert host.part.step.ring_id == b"otherone"
        assert set(neighbours(host)) == {other.ref.id}


def test_a_join_that_nobody_answers_is_tried_by_other_ways_and_then_given_up() -> None:
    world = World(joins_max=2)
    (first,) = world.ring_of_one()
    (second,) = world.subnet("two")
    assert world.look(second) == [Reached(RING, alone=True)]
    first.alive = False
    world.perform(second, second.part.join(world.now))
    assert second.part.stage is Stage.JOINING
    world.run(120.0)
    assert second.take() == [Unreached()]
    assert second.part.stage is Stage.OUT
    said = len(second.said)
    world.perform(second, second.part.begin(RING, world.now))
    assert second.take() == [Entered()]
    assert len(second.said) > said


def test_who_does_not_answer_a_second_search_ends_the_join() -> None:
    world = World(joins_max=3)
    (first,) = world.ring_of_one()
    (second,) = world.subnet("two")
    assert world.look(second) == [Reached(RING, alone=True)]
    first.alive = False
    world.perform(second, second.part.join(world.now))
    knocks = sum(isinstance(body, Knock) for body in second.said)
    world.run(40.0)
    assert sum(isinstance(body, Knock) for body in second.said) > knocks, "another way is looked for"
    assert second.take() == [Unreached()]


def test_who_joins_and_is_told_by_a_sibling_that_it_is_in_is_in_too() -> None:
    world = World()
    (first,) = world.ring_of_one()
    second, sibling = world.subnet("two", 2)
    assert world.look(second) == [Reached(RING, alone=True)]
    first.alive = False
    world.perform(second, second.part.join(world.now))
    assert second.part.stage is Stage.JOINING
    world.perform(sibling, sibling.part.begin(b"otherone", world.now))
    world.run(1.0)
    assert second.take() == [Entered()]
    assert (second.part.stage, second.part.step.ring_id) == (Stage.IN, b"otherone")
    world.run(60.0)
    assert second.take() == [], "its join is over"


def test_a_search_that_is_broken_off_reaches_nothing() -> None:
    world = World()
    world.ring_of_one()
    (second,) = world.subnet("two")
    world.perform(second, second.part.look(world.now))
    world.run(0.03)
    world.perform(second, second.part.stop(world.now))
    world.run(30.0)
    assert second.take() == []


# ---- a host that comes later -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_takes_over_enters_without_a_word_to_other_nodes_or_the_server(overlay: OverlayConfig) -> None:
    world = World(overlay)
    _first, second = world.ring_of_one(hosts=2)
    assert second.take() == [Entered()]
    assert second.part.stage is Stage.IN
    assert second.part.step.ring_id == RING
    assert {type(message) for message in second.said} == {NodeStateMessage}


def test_where_all_who_could_tell_are_gone_it_begins_by_itself() -> None:
    world = World()
    first, second = world.subnet("one", 2)
    world.perform(first, first.part.begin(RING, world.now))
    world.kill(first)
    world.perform(second, second.part.take_over(world.now))
    world.run(world.config.alone_s - 0.1)
    assert second.part.stage is Stage.FOLLOWING
    assert second.take() == []
    world.run(0.2)
    assert second.part.stage is Stage.IN
    entered, inherits = second.take()
    assert (entered, type(inherits)) == (Entered(), Inherits)
    assert second.part.step.ring_id == inherits.ring_id not in {RING, NO_RING}  # type: ignore[attr-defined]


def test_while_somebody_who_could_tell_is_there_it_waits() -> None:
    world = World()
    first, second = world.subnet("one", 2)
    second.alive = False
    world.perform(first, first.part.begin(RING, world.now))
    world.become(first, State.READY)
    world.run(1.0)
    first.alive, second.alive = False, True  # and nobody knows
    world.perform(second, second.part.take_over(world.now))
    world.run(3 * world.config.alone_s)
    assert second.part.stage is Stage.FOLLOWING
    world.kill(first)
    world.run(world.config.alone_s)
    assert second.part.stage is Stage.IN


@pytest.mark.parametrize("stage", [Stage.FOLLOWING, Stage.JOINING])
def test_what_is_not_in_the_table_does_nothing(stage: Stage) -> None:
    world = World()
    (host,) = world.subnet("one")
    host.part.stage = stage
    assert host.part.take_over(0.0) == []
    assert host.part.stage is stage
    if stage is Stage.JOINING:
        assert host.part.begin(RING, 0.0) == []
        assert host.part.join(0.0) == [Unreached()]


def test_strangers_gone_members_and_other_subnets_are_not_listened_to() -> None:
    world = World()
    first, second = world.subnet("one", 2)
    world.perform(second, second.part.take_over(world.now))
    state = NodeStateMessage(ring_id=RING, epoch=4, neighbours=())
    for hid, tag in ((b"stranger", first.subnet.tag), (first.hid, b"othertag")):
        header = Header(subnet_tag=tag, hid=hid, incarnation=1, seq=1)
        assert second.part.receive(header, state, 0.1, multicast=True) == []
    world.kill(first)
    header = Header(subnet_tag=first.subnet.tag, hid=first.hid, incarnation=1, seq=1)
    assert second.part.receive(header, state, 0.1, multicast=True) == []
    assert second.part.step.state.state.epoch == 0


# ---- who comes and goes ----------------------------------------------------------------------------------------------


def overlay_of_two(overlay: OverlayConfig = CHORD) -> tuple[World, Host, Host, Host]:
    """A node of two hosts and one of one host, in one ring."""
    world = World(overlay)
    first, sibling = world.ring_of_one(hosts=2)
    (other,) = world.subnet("two")
    assert world.look(other) == [Reached(RING, alone=True)]
    assert world.join(other) == [Entered()]
    world.run(10.0)
    for host in world.hosts:
        host.take()
        host.said.clear()
    return world, first, sibling, other


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_death_is_pushed_to_the_neighbours_and_to_siblings_and_changes_no_neighbours(overlay: OverlayConfig) -> None:
    world, first, sibling, other = overlay_of_two(overlay)
    before = [neighbours(host) for host in (sibling, other)]
    known = other.part.face.nodes.get(first.ref.address)
    assert known is not None
    assert known.get(first.hid) is not None
    world.kill(first)
    world.run(2.0)
    assert [body.reason for body in sibling.said if isinstance(body, HostsChanged)] == [Reason.DEATH]
    assert [message.reason for message in sibling.said if isinstance(message, HostSet)] == [Reason.DEATH]
    assert other.part.face.counters["pushes_received"] == 1
    assert known.get(first.hid) is None
    assert [neighbours(host) for host in (sibling, other)] == before
    assert sibling.take() == [], "a ring of two needs nobody who looks for the overlay"
    assert any(isinstance(one, BootstrapPacket) and one.message == JoinReport() for one in sibling.said)


def test_of_a_newcomer_only_the_first_in_the_rota_tells() -> None:
    world, first, sibling, other = overlay_of_two()
    (third,) = world.subnet("one")
    for host in (first, sibling):
        host.membership.view.add(Member(third.hid, 1, (third.address,), State.JOINING, world.now))
        third.membership.view.add(Member(host.hid, 1, (host.address,), State.READY, world.now))
    world.share_epoch(third)
    world.perform(third, third.part.take_over(world.now))
    world.run(15.0)
    assert third.part.stage is Stage.IN
    pushed = [host for host in (first, sibling, third) if any(isinstance(body, HostsChanged) for body in host.said)]
    assert len(pushed) == 1
    known = other.part.face.nodes.get(first.ref.address)
    assert known is not None
    assert known.get(third.hid) is not None


def test_the_next_host_of_a_ring_of_one_inherits_the_search_for_the_overlay() -> None:
    world = World()
    first, second, third = world.ring_of_one(hosts=3)
    for host in world.hosts:
        host.take()
    world.kill(first)
    assert second.take() == [Inherits(RING)]
    assert third.take() == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_last_host_says_goodbye_to_the_overlay_and_to_the_server(overlay: OverlayConfig) -> None:
    world, first, sibling, other = overlay_of_two(overlay)
    assert first.part.leave(world.now) == [], "somebody stays who answers for the node"
    world.become(first, State.LEFT)
    world.perform(other, other.part.leave(world.now))
    kinds = [type(one.packet.message).__name__ if isinstance(one, Carried) else one for one in other.said]
    assert "Leaving" in kinds
    messages = [one.message for one in other.said if isinstance(one, BootstrapPacket)]
    assert LeaveReport() in messages
    world.run(2.0)
    other.alive = False
    world.run(10.0)
    assert other.ref.id not in neighbours(sibling)


def test_who_is_not_in_leaves_without_a_word_and_tells_of_nobody() -> None:
    world = World()
    first, _second = world.subnet("one", 2)
    assert first.part.leave(0.0) == []
    assert first.part.on_member(State.DEAD, 0.0) == []
    assert first.part.on_member(State.SUSPECT, 0.0) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_overlays_become_one_when_a_host_of_one_is_given_an_entry_point_of_the_other(
    overlay: OverlayConfig,
) -> None:
    world = World(overlay)
    for names in (("one", "two"), ("six", "four", "five")):
        world.server = BootstrapServer(BootstrapConfig(), Random(1), world.now)  # which knows nobody yet
        world.ring_of_one(names[0])
        for name in names[1:]:
            (host,) = world.subnet(name)
            world.look(host)
            world.join(host)
    world.run(30.0)
    assert sorted(len(set(neighbours(host))) for host in world.hosts) == [1, 1, 2, 2, 2]
    one, _two, three, *_rest = world.hosts
    one.entry_points.append(three.address)
    one.part.meet_soon(world.now)
    world.run(60.0)
    everybody = {host.ref.id for host in world.hosts}
    for host in world.hosts:
        assert set(neighbours(host)) == everybody - {host.ref.id}


# ---- knocks ----------------------------------------------------------------------------------------------------------


def knock_at(world: World, host: Host) -> list[OverlayDatagram]:
    """What is answered to whoever knocks, from a place that the host believes."""
    (stranger,) = world.subnet("far")
    (knock,) = stranger.part.face.knock(host.address, 99, world.now)
    assert isinstance(knock, Send)
    for _ in range(2):  # the second time with the cookie that the host wants to see
        answers = host.part.receive_overlay(knock.packet, stranger.address, world.now)
        prove = [one for one in answers if isinstance(one, Send) and hasattr(one.packet.body, "cookie")]
        if prove:
            again = stranger.part.receive_overlay(prove[0].packet, host.address, world.now)
            (knock,) = [one for one in again if isinstance(one, Send)]
    return [one.packet for one in answers if isinstance(one, Send) and isinstance(one.packet, OverlayDatagram)]


def test_who_knocks_gets_to_know_the_subnet_its_hosts_and_its_ring() -> None:
    world = World()
    first, second = world.ring_of_one(hosts=2)
    (answer,) = knock_at(world, first)
    assert answer.body == Welcome(number=99, ring_id=RING, alone=True, seen=("10.0.0.3", 27183))
    assert answer.identity == first.subnet.identity
    assert answer.entry is not None
    assert {host.hid for host in answer.entry.hosts} == {first.hid, second.hid}


def test_who_is_in_no_ring_lets_nobody_in() -> None:
    world = World()
    (host,) = world.subnet("one")
    assert [answer for answer in knock_at(world, host) if isinstance(answer.body, Welcome)] == []


def test_a_host_tells_itself_while_it_joins_for_the_node() -> None:
    world = World()
    (host,) = world.subnet("one")
    assert host.part._own_entry(0.0).hosts == ()
    host.part.stage = Stage.JOINING
    assert [one.hid for one in host.part._own_entry(0.0).hosts] == [host.hid]
