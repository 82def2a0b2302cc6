import math
from random import Random

import msgspec
import pytest

from dhtboot import shared
from dhtboot.chord.config import ChordConfig
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Send
from dhtboot.ids import Address, NodeRef, id_from
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, OverlayNode, make_node
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.face import Face
from mdht.subnet.face_config import face_config
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.in_step import NO_RING, InStep, StepEffect
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Here, Message, State
from mdht.subnet.messages import NodeState as NodeStateMessage
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.view import Input, Member
from tests.mdht.subnet.state_network import OVERLAY, RING, entry_of, id_of

US = named("us")
ME = US.node_id(OVERLAY)
TAG = b"ourtagus"
CHORD, KADEMLIA = ChordConfig(), KademliaConfig()
OVERLAYS = [pytest.param(CHORD, id="chord"), pytest.param(KADEMLIA, id="kademlia")]
PERIOD_S = 5.0
ROUND_THE_RING = sorted(range(12), key=lambda number: (id_from(id_of(number)) - ME) % 2**160)
"Other nodes, clockwise from this one."
CLOSEST = sorted(range(12), key=lambda number: id_from(id_of(number)) ^ ME)


def ref(number: int) -> NodeRef:
    identifier = id_from(id_of(number))
    return NodeRef(identifier, pseudo_address(identifier))


class Host:
    """One host of the subnet: its core, its face, and what keeps it in step."""

    def __init__(self, number: int, config: NodePartConfig) -> None:
        self.hid = b"host%04d" % number
        self.address: Address = (f"192.0.2.{number}", 4000)
        self.membership = Membership(self.hid, 1, (self.address,), bytes(20), MembershipConfig(), Random(number))
        self.membership.state = State.JOINING
        self.config = config
        self.alive = False
        self.told: list[tuple[float, Message]] = []
        self.sent: list[Send] = []
        rng = Random(f"in step {number}")
        self.face = Face(self.core_at(0.0), OVERLAY, self._own, self.membership.view, config.face, rng)
        self.step = InStep(self.face, self.core_at, TAG, self.membership, config, rng)

    def core_at(self, now: float) -> OverlayNode:
        config = shared.without_rounds(face_config(self.config.overlay, self.config.face))
        return make_node(ME, config, Random(f"core {self.hid!r}"), now, None)

    def _own(self) -> Own:
        return Own(identity=US, tag=TAG, hid=self.hid, addresses=(self.address,), ready=True)

    @property
    def core(self) -> OverlayNode:
        return self.face.core

    def learn(self, *numbers: int, epoch: int = 1) -> None:
        for number in numbers:
            assert self.face.nodes.learn(entry_of(number, epoch), 0.0, firsthand=True) is not None


class Siblings:
    """Hosts on a link on which nothing takes time."""

    def __init__(self, count: int, overlay: OverlayConfig, **settings: object) -> None:
        self.now = 0.0
        self.config = NodePartConfig(overlay=overlay, **settings)  # type: ignore[arg-type]
        self.hosts = [Host(number, self.config) for number in range(count)]
        for host in self.hosts:
            for other in self.hosts:
                if other is not host:
                    member = Member(other.hid, 1, (other.address,), State.JOINING, 0.0)
                    host.membership.view.add(member)

    def ready(self, host: Host) -> None:
        """All know that it answers for the node."""
        host.membership.state = State.READY
        for other in self.hosts:
            member = other.membership.view.get(host.hid)
            if member is not None:
                other.membership.view.step(member, Input.IS_READY, 1, self.now)

    def perform(self, host: Host, effects: list[StepEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    host.sent.append(effect)
                case Multicast(message=message):
                    host.told.append((self.now, message))
                    for other in self.hosts:
                        self._deliver(host, other, message, multicast=True)
                case Unicast(to=to, message=message):
                    host.told.append((self.now, message))
                    for other in self.hosts:
                        if other.address == to:
                            self._deliver(host, other, message, multicast=False)

    def _deliver(self, host: Host, to: Host, message: Message, *, multicast: bool) -> None:
        member = to.membership.view.get(host.hid)
        if to.alive and member is not None:
            self.perform(to, to.step.receive(member, message, self.now, multicast=multicast))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = min([host for host in self.hosts if host.alive], key=lambda host: host.step.next_deadline())
            if due.step.next_deadline() > end:
                self.now = end
                return
            self.now = max(self.now, due.step.next_deadline())
            self.perform(due, due.step.tick(self.now))
            assert due.step.next_deadline() > self.now, "or its driver would never sleep"

    def enter(self, host: Host, *numbers: int) -> None:
        """The core of a host has come into the ring between these by itself."""
        host.alive = True
        host.learn(*numbers)
        shared.follow(host.core, [ref(number) for number in numbers], [], self.now)
        self.perform(host, host.step.enter(RING, self.now))
        self.ready(host)

    def take_over(self, host: Host) -> None:
        host.alive = True
        self.perform(host, host.step.take_over(self.now))

    def changes(self, host: Host, *numbers: int) -> None:
        """The core of a host finds other neighbours."""
        shared.follow(host.core, [ref(number) for number in numbers], [], self.now)
        self.perform(host, host.step.tell_changes(self.now))


def between(overlay: OverlayConfig) -> list[int]:
    """Numbers of this node's neighbours, as `shared.neighbours` has them."""
    return [ROUND_THE_RING[-1], *ROUND_THE_RING[:4]] if isinstance(overlay, ChordConfig) else CLOSEST[1:5]


def two_in_step(overlay: OverlayConfig) -> tuple[Siblings, Host, Host]:
    link = Siblings(2, overlay)
    first, second = link.hosts
    link.enter(first, *between(overlay))
    link.take_over(second)
    link.run(1.0)
    assert second.step.inside
    link.ready(second)
    return link, first, second


# ---- coming in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_comes_later_has_all_that_a_sibling_has_and_asks_no_other_node(overlay: OverlayConfig) -> None:
    link = Siblings(2, overlay)
    first, second = link.hosts
    numbers = between(overlay)
    far = ROUND_THE_RING[6] if isinstance(overlay, ChordConfig) else CLOSEST[9]
    first.learn(far)
    if isinstance(first.core, ChordNode):
        first.core.fingers.set(159, ref(far))
    else:
        first.core.table.add(ref(far), 0.0)
    link.enter(first, *numbers)
    assert second.step.ring_id == NO_RING
    link.take_over(second)
    link.run(link.config.gather_s)
    assert second.step.inside
    assert second.step.ring_id == RING
    assert second.step.neighbours() == first.step.neighbours() == [ref(number) for number in numbers]
    assert second.step.state.hash == first.step.state.hash == second.membership.report.node_state_hash
    assert second.face.nodes.knows(ref(far))
    table = second.core.fingers.nodes if isinstance(second.core, ChordNode) else second.core.contacts
    assert ref(far) in table
    assert second.sent == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_enters_alone_tells_it_to_whoever_listens(overlay: OverlayConfig) -> None:
    link = Siblings(2, overlay)
    first, second = link.hosts
    link.enter(first)
    assert [type(message) for _, message in first.told] == [NodeStateMessage]
    assert first.step.ring_id == RING
    link.take_over(second)
    link.run(1.0)
    assert second.step.inside
    assert second.step.neighbours() == []


def test_who_takes_over_and_hears_nothing_stays_outside_and_asks_on() -> None:
    link = Siblings(2, CHORD)
    first, second = link.hosts
    link.enter(first, *between(CHORD))
    first.alive = False
    link.take_over(second)
    link.run(3.0)
    assert not second.step.inside
    assert len(second.told) == pytest.approx(3.0 / link.config.ask_s, abs=1)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_of_neighbours_whose_hosts_nobody_knows_it_asks_some_times_and_comes_in_without_them(
    overlay: OverlayConfig,
) -> None:
    link = Siblings(2, overlay)
    first, second = link.hosts
    before, *others = between(overlay)
    link.enter(first, before, *others)
    del first.face.nodes._nodes[ref(before).address]
    link.take_over(second)
    link.run(link.config.ask_s * (link.config.asks_max + 1) - 0.01)
    assert not second.step.inside
    link.run(0.02)
    assert second.step.inside
    assert len(second.told) == 1 + link.config.asks_max
    found = second.step.neighbours()
    if isinstance(overlay, ChordConfig):
        assert found.pop(0).id == ME, "an unknown predecessor"
    assert found == [ref(number) for number in others]
    assert second.step.tell_changes(link.now) == [], "that is no discovery of its own"


# ---- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_one_host_finds_all_have_and_it_is_one_structural_change(overlay: OverlayConfig) -> None:
    link, first, second = two_in_step(overlay)
    newcomer = ROUND_THE_RING[4] if isinstance(overlay, ChordConfig) else CLOSEST[0]
    before, *others = between(overlay)
    numbers = [before, *others, newcomer] if isinstance(overlay, ChordConfig) else [newcomer, before, *others]
    first.learn(newcomer)
    assert not second.face.nodes.knows(ref(newcomer))
    link.changes(first, *numbers)
    assert first.step.neighbours() == second.step.neighbours() == [ref(number) for number in numbers]
    assert second.face.nodes.knows(ref(newcomer)), "told in full"
    assert first.step.state.hash == second.step.state.hash
    assert (first.step.state.changes.made, first.step.state.changes.told) == (1, 0)
    assert (second.step.state.changes.made, second.step.state.changes.told) == (0, 1)
    assert second.sent == []


def test_that_a_neighbour_is_gone_is_followed_at_once() -> None:
    link, first, second = two_in_step(CHORD)
    link.changes(first, *between(CHORD)[:4])
    (_, told) = first.told[-1]
    assert isinstance(told, NodeStateMessage)
    assert told.changed is None, "there is nothing to tell in full"
    assert second.step.neighbours() == first.step.neighbours() == [ref(number) for number in between(CHORD)[:4]]


def test_of_two_views_of_a_neighbour_the_newer_one_is_told() -> None:
    link, first, second = two_in_step(CHORD)
    numbers = between(CHORD)[1:3]
    second.learn(*numbers, epoch=7)
    link.perform(second, second.step.tell_changes(link.now))
    known = [first.face.nodes.get(ref(number).address) for number in numbers]
    assert sorted([node.epoch or 0 for node in known if node is not None]) == [1, 7], "one of them was told in full"
    assert first.step.tell_changes(link.now) == []
    link.changes(first, *between(CHORD)[:4])
    epochs = {neighbour.node_id: neighbour.view_epoch for neighbour in second.step.state.state.neighbours}
    assert [epochs[id_of(number)] for number in numbers] == [7, 7]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_neighbours_other_hosts_are_told_and_are_no_structural_change(overlay: OverlayConfig) -> None:
    link, first, second = two_in_step(overlay)
    number = between(overlay)[1]
    first.learn(number, epoch=7)
    link.perform(first, first.step.tell_changes(link.now))
    remote = second.face.nodes.get(ref(number).address)
    assert remote is not None
    assert remote.epoch == 7
    assert first.step.state.hash == second.step.state.hash
    for host in (first, second):
        assert (host.step.state.changes.made, host.step.state.changes.told) == (0, 0)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_no_news_is_not_told(overlay: OverlayConfig) -> None:
    link, first, second = two_in_step(overlay)
    assert first.step.tell_changes(link.now) == []
    assert second.step.tell_changes(link.now) == [], "what was told by a sibling is no news of this host"


def test_nobody_follows_before_it_knows_hosts_of_each_neighbour() -> None:
    link, first, second = two_in_step(CHORD)
    had = second.step.neighbours()
    news = ROUND_THE_RING[4:6]
    first.learn(*news)
    numbers = [*between(CHORD), *news]
    told = [effect for effect in _found(first, link.now, numbers) if isinstance(effect, Multicast)]
    (state,) = [effect.message for effect in told]
    assert isinstance(state, NodeStateMessage)
    member = second.membership.view.get(first.hid)
    assert member is not None
    effects = second.step.receive(member, state, link.now, multicast=True)
    assert effects == []
    assert second.step.neighbours() == had, "of the two only one was told in full"
    assert second.step.tell_changes(link.now) == [], "and what it has still is no news either"
    assert _found(second, link.now, between(CHORD)[:3]) == [], "nor is what it finds meanwhile"
    link.run(link.config.ask_s)
    assert second.step.neighbours() == first.step.neighbours() == [ref(number) for number in numbers]


def _found(host: Host, now: float, numbers: list[int]) -> list[StepEffect]:
    shared.follow(host.core, [ref(number) for number in numbers], [], now)
    return host.step.tell_changes(now)


def test_who_was_deaf_finds_by_heartbeats_that_it_is_out_of_step() -> None:
    link, first, second = two_in_step(CHORD)
    second.alive = False
    link.changes(first, *between(CHORD)[:4])
    second.alive = True
    assert second.step.neighbours() != first.step.neighbours()
    for _ in range(2):
        link.now += 1.0
        member = second.membership.view.get(first.hid)
        assert member is not None
        link.perform(second, second.step.receive(member, here(first), link.now, multicast=True))
    link.run(1.0)
    assert second.step.neighbours() == first.step.neighbours()


def here(host: Host) -> Here:
    return Here(
        state=State.READY,
        addresses=(host.address,),
        load=0,
        size=1,
        heard=0,
        view_epoch=1,
        view_hash=bytes(8),
        node_state_hash=host.membership.report.node_state_hash,
        data_root=bytes(8),
        last_put=0,
    )


def test_a_heartbeat_is_nothing_to_a_host_outside() -> None:
    link = Siblings(2, CHORD)
    first, second = link.hosts
    link.enter(first, *between(CHORD))
    member = second.membership.view.get(first.hid)
    assert member is not None
    for _ in range(4):
        link.now += 1.0
        assert second.step.receive(member, here(first), link.now, multicast=True) == []


def test_a_host_that_is_outside_tells_nothing_but_counts_its_fingers() -> None:
    link = Siblings(1, CHORD)
    (host,) = link.hosts
    assert isinstance(host.core, ChordNode)
    host.core.fingers.set(159, ref(1))
    host.learn(*between(CHORD))
    shared.follow(host.core, [ref(number) for number in between(CHORD)], [], 0.0)
    assert host.step.tell_changes(0.0) == []
    host.core.fingers.set(159, ref(2))
    assert host.step.tell_changes(0.0) == []
    assert host.step.state.changes.made == 1
    assert host.step.tell_changes(0.0) == []
    assert host.step.state.changes.made == 1


def test_of_a_member_without_address_nothing_is_heard() -> None:
    link, first, second = two_in_step(CHORD)
    member = second.membership.view.get(first.hid)
    assert member is not None
    member.addresses = ()
    link.changes(first, *between(CHORD)[:3])
    assert second.step.neighbours() != first.step.neighbours()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_node_that_moves_to_another_ring_has_a_new_core_at_each_host(overlay: OverlayConfig) -> None:
    link, first, second = two_in_step(overlay)
    cores = [first.core, second.core]
    other = ROUND_THE_RING[8] if isinstance(overlay, ChordConfig) else CLOSEST[8]
    first.face.renew(first.core_at(link.now), link.now)
    first.learn(other)
    shared.follow(first.core, [ref(other)], [], link.now)
    link.perform(first, first.step.enter(b"newring!", link.now))
    link.run(1.0)
    for host, core in zip(link.hosts, cores, strict=True):
        assert host.step.ring_id == b"newring!"
        assert host.step.neighbours() == [ref(other)], "nothing of the former ring"
        assert host.core is not core


# ---- rounds ----------------------------------------------------------------------------------------------------------


def test_one_host_at_a_time_looks_after_the_neighbours_and_all_know_that_it_was_done() -> None:
    link = Siblings(3, CHORD)
    first, *others = link.hosts
    link.enter(first, *between(CHORD))
    for host in others:
        link.take_over(host)
        link.run(0.2)
        link.ready(host)
    link.run(60.0)
    rounds = [host.step.state.rota.done_here for host in link.hosts]
    assert sum(rounds) == pytest.approx(60.0 / (PERIOD_S + link.config.round_s), abs=1)
    assert max(rounds) - min(rounds) <= 1
    assert {host.step.state.rota.turn for host in link.hosts} == {sum(rounds)}
    assert all(host.sent for host in link.hosts)
    assert [host.step.state.changes.made for host in link.hosts] == [0, 0, 0]


def test_without_a_rota_each_host_does_so_in_each_period() -> None:
    link = Siblings(3, CHORD, rota=False)
    first, *others = link.hosts
    link.enter(first, *between(CHORD))
    for host in others:
        link.take_over(host)
        link.run(0.2)
        link.ready(host)
    link.run(60.0)
    rounds = [host.step.state.rota.done_here for host in link.hosts]
    assert rounds == [pytest.approx(60.0 / PERIOD_S, abs=1)] * 3


def test_a_host_that_is_not_ready_has_no_turn() -> None:
    link = Siblings(1, CHORD)
    (host,) = link.hosts
    host.learn(*between(CHORD))
    shared.follow(host.core, [ref(number) for number in between(CHORD)], [], 0.0)
    link.perform(host, host.step.enter(RING, 0.0))
    assert host.step.next_deadline() == math.inf
    link.ready(host)
    assert host.step.ready() == [host.hid]
    assert host.step.next_deadline() == PERIOD_S


def test_who_answers_for_the_node_follows_the_view() -> None:
    _link, first, second = two_in_step(CHORD)
    assert first.step.ready() == [first.hid, second.hid]
    assert first.step.ready() is first.step.ready(), "worked out once for each view"
    member = first.membership.view.get(second.hid)
    assert member is not None
    first.membership.view.step(member, Input.GOODBYE, 1, 2.0)
    assert first.step.ready() == [first.hid]
    first.membership.state = State.LEFT
    assert first.step.ready() == []


def test_a_state_that_nobody_could_believe_changes_nothing() -> None:
    link, first, second = two_in_step(CHORD)
    had, (_, told) = second.step.neighbours(), first.told[0]
    assert isinstance(told, NodeStateMessage)
    member = second.membership.view.get(first.hid)
    assert member is not None
    absurd = msgspec.structs.replace(told, epoch=2**31, neighbours=())
    assert second.step.receive(member, absurd, link.now, multicast=True) == []
    assert second.step.neighbours() == had
