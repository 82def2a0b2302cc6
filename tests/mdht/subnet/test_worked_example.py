"""The worked example of appendix B of the design, with whole hosts.

Subnets A and B of three hosts and C of one, clockwise in this order: so the way of a1 to a key of C leads over B. Which
host of B it asks first is for chance to say: that is seen in a first run, and the host dies in a second one, which is
alike until then.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import FindSuccessor, Route
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Send
from dhtboot.ids import ID_BITS, Address, NodeRef
from mdht.experiments.asking import find_owner
from mdht.experiments.internet import DELAY_S, JITTER_S, QUIET_S, Internet
from mdht.experiments.sim_core import OVERLAY
from mdht.experiments.sim_host import SimHost
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Carried, OverlayDatagram
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_choice import Parallel
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import named
from mdht.subnet.messages import State
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig

A, B, C = sorted(range(3), key=lambda link: named(f"link {link}").node_id(OVERLAY))
CHORD = ChordConfig()
FACE = FaceConfig(hosts=HostSetConfig(allow_private=True))
TICK_S = 0.001
ROUND_TRIP_S = 2 * (DELAY_S + JITTER_S)


class Watched(Internet):
    """Notes what is sent to other subnets."""

    def __init__(self, seed: int, config: NodePartConfig) -> None:
        super().__init__(seed, config)
        self.sent: list[tuple[float, SimHost, Send]] = []
        self.everybody: dict[Address, SimHost] = {}

    def perform(self, host: SimHost, effects: Iterable[Any]) -> None:
        self.everybody[host.address] = host
        wanted = list(effects)
        self.sent += [(self.now, host, effect) for effect in wanted if isinstance(effect, Send)]
        super().perform(host, wanted)


def part_of(host: SimHost) -> NodePart:
    assert host.core is not None
    assert host.core.part is not None
    return host.core.part


def hid_of(host: SimHost) -> bytes:
    return host.number.to_bytes(8, "big")


class Example:
    """The three subnets, at rest."""

    def __init__(self, seed: int = 1, *, overlay: ChordConfig = CHORD, face: FaceConfig = FACE) -> None:
        self.net = Watched(seed, NodePartConfig(overlay=overlay, face=face))
        for link in (A, B, C, A, B, A, B):
            self.net.add(link)
            self.net.run(0.2)
        self.until(lambda: self.net.at_rest, 300.0, 1.0)
        self.net.sent.clear()
        self.a1 = self.hosts(A)[0]
        self.key = self.id_of(C) - 1

    # ---- what there is -----------------------------------------------------------------------------------------------

    def hosts(self, link: int) -> list[SimHost]:
        return list(self.net.links[link].values())

    def host(self, number: int) -> SimHost:
        return self.net.hosts[number]

    def id_of(self, link: int) -> int:
        return self.net.node_id(link)

    def known(self, host: SimHost, link: int) -> RemoteNode:
        """What a host knows of another subnet."""
        node = part_of(host).face.nodes.get(pseudo_address(self.id_of(link)))
        assert node is not None
        return node

    def names(self, host: SimHost, link: int) -> set[int]:
        """Numbers of the hosts that a host would ask."""
        return {int.from_bytes(one.hid, "big") for one in self.known(host, link).usable}

    def tables(self) -> dict[int, tuple[int | None, list[int], list[int | None]]]:
        """Identifiers of predecessor, successors and fingers of each host."""
        found = {}
        for host in self.net.hosts.values():
            core = part_of(host).face.core
            assert isinstance(core, ChordNode)
            before = core.neighbours.predecessor
            fingers = [core.fingers.get(index) for index in range(ID_BITS)]
            found[host.number] = (
                before and before.id,
                [node.id for node in core.neighbours.successors.nodes],
                [finger and finger.id for finger in fingers],
            )
        return found

    def total(self, name: str) -> int:
        """A counter of all faces and cores."""
        faces = [part_of(host).face for host in self.net.hosts.values()]
        return sum(face.counters[name] + face.core.counters[name] for face in faces)

    def asked(self) -> list[tuple[int, float]]:
        """Numbers of the hosts that a1 has asked for the way, and when: who wants to see a cookie is asked again."""
        first: dict[int, float] = {}
        for at, host, effect in self.net.sent:
            body = effect.packet.body if isinstance(effect.packet, OverlayDatagram) else None
            message = body.packet.message if isinstance(body, Carried) else None
            if host is self.a1 and isinstance(message, FindSuccessor | Route):
                first.setdefault(self.net.everybody[effect.to].number, at)
        return list(first.items())

    # ---- what happens ------------------------------------------------------------------------------------------------

    def until(self, done: Callable[[], object], limit_s: float, step_s: float = TICK_S) -> float:
        """Let time pass; how long it took."""
        begun = self.net.now
        while not done():
            assert self.net.now < begun + limit_s, f"seed {self.net.seed}"
            self.net.run(step_s)
        return self.net.now - begun

    def look_up(self, *, watch: Callable[[], object] = lambda: None) -> float:
        """Have a1 find the owner of the key; how long it took."""
        owners: list[NodeRef | None] = []
        self.net.sent.clear()
        find_owner(self.net, self.a1, self.key, lambda owner, _hops, _now: owners.append(owner))
        took_s = self.until(lambda: watch() or owners, 10.0)
        assert owners == [NodeRef(self.id_of(C), pseudo_address(self.id_of(C)))]
        return took_s

    def timeout_s(self, host: SimHost) -> float:
        """How long a1 waits for a host before it asks another one."""
        return part_of(self.a1).face.nodes.rtt.timeout_s(host.address)

    def kill(self, number: int) -> SimHost:
        host = self.host(number)
        self.net.crash(host)
        return host

    def noticed(self, dead: SimHost) -> bool:
        """Whether all its siblings have its death in their views."""
        views = [host.core.membership.view for host in self.hosts(dead.link) if host.core is not None]
        members = [view.get(hid_of(dead)) for view in views]
        return all(member is not None and member.state is State.DEAD for member in members)


def dead_first(seed: int = 1, *, overlay: ChordConfig = CHORD, face: FaceConfig = FACE) -> tuple[Example, int, float]:
    """The example, the number of the host that a1 is about to ask first, and how long that takes if all live."""
    plain = Example(seed, overlay=overlay, face=face)
    plain_s = plain.look_up()
    return Example(seed, overlay=overlay, face=face), plain.asked()[0][0], plain_s


def test_the_way_from_a_to_the_key_leads_over_b_of_which_all_hosts_are_known() -> None:
    example = Example()
    core = part_of(example.a1).face.core
    assert isinstance(core, ChordNode)
    assert [node.id for node in core.next_step(example.key).nodes] == [example.id_of(B)]
    for host in example.hosts(A):
        assert example.names(host, B) == {one.number for one in example.hosts(B)}
        assert example.names(host, C) == {one.number for one in example.hosts(C)}
    took_s = example.look_up()
    assert [example.host(number).link for number, _ in example.asked()] == [B, C], "who confirms that it is its own"
    assert took_s < 4 * ROUND_TRIP_S, "one to each, and one for the cookie of each"


@pytest.mark.parametrize("lookup", ["iterative", "recursive"])
def test_a_dead_host_costs_one_timeout_and_no_identifier_in_any_table(lookup: Any) -> None:
    example, first, plain_s = dead_first(overlay=ChordConfig(lookup=lookup))
    tables, changes, known = example.tables(), example.net.structural_changes, example.known(example.a1, B)
    dead = example.kill(first)
    timeout_s = example.timeout_s(dead)
    fails: list[int] = []
    took_s = example.look_up(watch=lambda: fails.append(getattr(known.get(hid_of(dead)), "fails", -1)))
    assert sorted(set(fails)) == [0, 1], "it gains one fail"
    (asked, at), (other, then), (last, _) = example.asked()
    assert (asked, example.host(other).link, example.host(last).link) == (dead.number, B, C)
    assert then - at == pytest.approx(timeout_s, abs=2 * TICK_S), "one timeout"
    assert took_s < timeout_s + plain_s + ROUND_TRIP_S, "and a cookie for the other one"
    example.net.run(60.0)  # an error there if anything changes in the structure
    for host in example.hosts(A):
        assert example.names(host, B) == {one.number for one in example.hosts(B)}
        assert example.known(host, B).get(hid_of(dead)) is None
    del tables[dead.number]
    assert example.tables() == tables
    assert example.net.structural_changes == changes
    assert example.total("timeouts") == example.total("nodes_given_up") == 0


def dead_and_noticed(seed: int, place: int) -> tuple[Example, SimHost]:
    """One host of B is dead; its siblings know it by now, and A is not told before it asks."""
    example = Example(seed, face=FaceConfig(hosts=HostSetConfig(allow_private=True, push=False)))
    dead = example.kill(example.hosts(B)[place].number)
    example.until(lambda: example.noticed(dead), 10.0)
    return example, dead


def asks_first(example: Example, dead: SimHost) -> bool:
    """Whether a1 asks that host first, while nobody else of A asks B."""
    known, until = example.known(example.a1, B), example.net.now + example.timeout_s(dead)
    epochs = {known.epoch}

    def watch() -> None:
        if example.net.now < until:
            epochs.add(known.epoch)

    example.look_up(watch=watch)
    return example.asked()[0][0] == dead.number and len(epochs) == 1


def noticed_and_first() -> tuple[Example, SimHost]:
    """The same, and a1 is about to ask it first."""
    for seed, place in itertools.product(range(1, 20), range(3)):
        if asks_first(*dead_and_noticed(seed, place)):
            return dead_and_noticed(seed, place)
    raise AssertionError("chance never has a1 ask the dead host first")


def test_the_answer_of_another_host_brings_a_newer_set_without_the_dead_one() -> None:
    example, dead = noticed_and_first()
    known, timeout_s = example.known(example.a1, B), example.timeout_s(dead)
    tables, epoch = example.tables(), known.epoch
    assert epoch is not None
    seen: list[tuple[int | None, int | None]] = []

    def watch() -> None:
        host = known.get(hid_of(dead))
        seen.append((known.epoch, None if host is None else host.fails))

    took_s = example.look_up(watch=watch)
    assert [number == dead.number for number, _ in example.asked()] == [True, False, False]
    assert timeout_s < took_s < timeout_s + 3 * ROUND_TRIP_S
    before, silent, (newer, gone) = sorted(set(seen), key=seen.index)
    assert (before, silent) == ((epoch, 0), (epoch, 1)), "one fail when it was silent"
    assert gone is None, "with the answer"
    assert newer is not None
    assert newer > epoch
    assert example.names(example.a1, B) == {host.number for host in example.hosts(B)}
    example.net.run(30.0)
    assert example.tables() == tables


@pytest.mark.parametrize("push", [True, False])
def test_a_host_that_starts_becomes_known_by_a_push_or_by_the_next_answer(push: bool) -> None:
    hosts = HostSetConfig(allow_private=True, push=push)
    example = Example(face=FaceConfig(hosts=hosts))
    tables, members = example.tables(), {host.number for host in example.hosts(B)}
    b4 = example.net.add(B)
    example.until(lambda: b4.ready, 5.0)
    example.net.run(0.01)  # it has said so to its siblings
    assert all(example.names(host, B) == members for host in example.hosts(A)), "A has not heard of it"
    if push:
        told_s = example.until(lambda: b4.number in example.names(example.a1, B), 5.0)
        assert told_s < hosts.batch_s + 0.2
        assert example.total("pushes_received") > 0
    else:
        example.look_up()
        assert example.asked()[0][0] in members
        assert example.total("pushes_received") == 0
    assert example.names(example.a1, B) == members | {b4.number}
    example.net.run(30.0)
    assert all(example.names(host, B) == members | {b4.number} for host in example.hosts(A))
    after = example.tables()
    assert after.pop(b4.number)[:2] == tables[min(members)][:2], "it is the same node"
    assert after == tables


def test_a_node_whose_only_host_dies_leaves_the_ring_the_one_structural_change() -> None:
    example = Example()
    before, changes = example.tables(), example.net.structural_changes
    (c1,) = example.hosts(C)
    example.kill(c1.number)
    del before[c1.number]
    assert example.net.node_events[-1] == (example.net.now, C, False)
    example.until(lambda: example.net.at_rest, 200.0, 1.0)
    a, b, c = (example.id_of(link) for link in (A, B, C))
    for number, (predecessor, successors, fingers) in example.tables().items():
        other = b if example.host(number).link == A else a
        assert (predecessor, successors) == (other, [other])
        assert before[number][1] in ([b, c], [c, a])
        assert c not in fingers
    assert example.net.structural_changes > changes
    assert example.total("timeouts") == example.total("nodes_given_up") > 0, "of which each core hears at once"
    owners: list[NodeRef | None] = []
    find_owner(example.net, example.a1, example.key, lambda owner, _hops, _now: owners.append(owner))
    example.until(lambda: owners, 5.0)
    assert owners == [None], "what was C's is A's now"


def test_with_two_hosts_asked_at_once_a_dead_one_costs_no_time() -> None:
    face = FaceConfig(way=Parallel(2), hosts=HostSetConfig(allow_private=True))
    example, first, plain_s = dead_first(face=face)
    dead = example.kill(first)
    took_s = example.look_up()
    (asked, at), (other, then), (last, _) = example.asked()
    assert (asked, example.host(other).link, example.host(last).link) == (dead.number, B, C)
    assert at == then
    assert took_s <= plain_s + ROUND_TRIP_S, "but for the cookie"
    known = example.known(example.a1, B).get(hid_of(dead))
    example.net.run(example.timeout_s(dead))
    assert known is not None
    assert known.fails == 1, "it gains a fail all the same"
    example.net.run(QUIET_S)
    assert example.total("timeouts") == 0
