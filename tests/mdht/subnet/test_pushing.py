from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.ring import clockwise
from dhtboot.ids import id_bytes
from dhtboot.overlay import make_node
from mdht.subnet.face import Face
from mdht.subnet.face_config import FaceConfig, face_config
from mdht.subnet.face_messages import HostsChanged, HostsHeard
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.messages import Reason
from mdht.subnet.push import Peer, Push
from mdht.subnet.pushing import ANSWER_S, DEPTH, TRIES_MAX, Before, Pushing
from mdht.subnet.view import View
from tests.mdht.subnet.face_network import OVERLAY
from tests.mdht.subnet.hostset_nodes import NOW, entry_of, host_ref

ME = 1000


def back(*places: int) -> list[int]:
    """The nodes at these places before this one, ten identifiers from one to the next."""
    return [ME - 10 * place for place in places]


def walk(before: Before, ring: list[int]) -> list[int]:
    """Push once around a ring given as the nodes before this one, nearest first: who is told."""
    circle = [*ring, ME]
    pending = before.begin(ring[0])
    told: list[int] = []
    while pending:
        node = pending.pop(0)
        told.append(node)
        if node in ring:
            following = before.heard(node, circle[circle.index(node) + 1])
            pending += [] if following is None else [following]
    return told


def test_the_first_push_finds_the_eight_nodes_before_one_after_another() -> None:
    ring = back(*range(1, 20))
    before = Before(ME)
    assert before.begin(ring[0]) == ring[:1]
    assert walk(before, ring) == ring[:DEPTH]
    assert before.begin(ring[0]) == ring[:DEPTH], "the next one tells them at once"


def test_a_small_ring_ends_where_it_began() -> None:
    before = Before(ME)
    assert walk(before, back(1, 2)) == back(1, 2)
    assert before.begin(back(1)[0]) == back(1, 2)
    assert walk(Before(ME), back(1)) == back(1)


def test_a_node_that_comes_in_between_is_told_and_one_that_has_gone_is_forgotten() -> None:
    before = Before(ME)
    walk(before, back(*range(1, 20)))
    between = ME - 25
    with_another = [*back(1, 2), between, *back(*range(3, 20))]
    assert sorted(walk(before, with_another)) == sorted([between, *back(*range(1, 9))])
    assert before.begin(ME - 10) == [*back(1, 2), between, *back(*range(3, 8))]
    walk(before, [*back(1, 2), between, *back(*range(4, 20))])
    assert before.begin(ME - 10) == [*back(1, 2), between, *back(*range(4, 9))]


def test_another_predecessor_comes_first() -> None:
    before = Before(ME)
    walk(before, back(*range(1, 20)))
    assert before.begin(ME - 5) == [ME - 5, *back(*range(1, 8))]
    assert before.begin(ME - 20) == back(*range(2, 8))


def test_the_word_of_a_node_that_was_not_told_counts_for_nothing() -> None:
    before = Before(ME)
    before.begin(ME - 10)
    assert before.heard(ME - 90, ME - 100) is None
    assert before.begin(ME - 10) == back(1)


@given(st.sets(st.integers(1, 99), min_size=1, max_size=20), st.sets(st.integers(1, 99), min_size=1, max_size=20))
def test_whatever_was_known_before_two_pushes_later_all_eight_are_told(former: set[int], present: set[int]) -> None:
    before = Before(ME)
    walk(before, back(*sorted(former)))
    ring = back(*sorted(present))
    walk(before, ring)
    walk(before, ring)  # those that are gone may have taken the places of the last ones
    assert set(ring[:DEPTH]) <= set(walk(before, ring))
    assert before.begin(ring[0]) == ring[:DEPTH]


class Subject:
    """A face that knows hosts of some nodes, and its pushes."""

    def __init__(self) -> None:
        own = Own(identity=named("me"), tag=b"tagtagta", hid=b"hidhidhi", addresses=(("128.59.0.1", 4000),), ready=True)
        config = FaceConfig(hosts=HostSetConfig(allow_private=True))
        core = make_node(own.identity.node_id(OVERLAY), face_config(ChordConfig(), config), Random(1), NOW, None)
        self.face = Face(core, OVERLAY, lambda: own, View(), config, Random(2))
        contact = self.face.nodes.learn(entry_of(1, *[host_ref(number) for number in range(1, 6)]), NOW, firsthand=True)
        assert contact is not None
        self.node_id = contact.id
        self.pushing = Pushing(self.face, Random(3))

    def tell(self, now: float) -> list[HostsChanged]:
        peer = self.face.nodes.hosts_of(self.node_id)[0]
        return [send.packet.body for send in self.pushing.tell(Push(peer, Reason.DEATH), now)]


def test_a_silent_host_is_followed_by_another_one_and_counted() -> None:
    subject = Subject()
    (first,) = subject.tell(NOW)
    assert first.reason is Reason.DEATH
    sent = [first]
    for attempt in range(1, TRIES_MAX + 2):
        now = NOW + attempt * ANSWER_S
        again = subject.pushing.tick(now)
        sent += [send.packet.body for send in again]
    assert len(sent) == TRIES_MAX
    assert len({body.number for body in sent}) == TRIES_MAX
    node = subject.face.nodes.get(pseudo_address(subject.node_id))
    assert node is not None
    assert sorted(host.fails for host in map(node.get, [host_ref(n).hid for n in range(1, 6)]) if host) == [
        0,
        0,
        1,
        1,
        1,
    ]


def test_an_answer_ends_it_and_names_whom_to_tell_next() -> None:
    subject = Subject()
    subject.pushing.nodes_before(subject.node_id)
    (body,) = subject.tell(NOW)
    unknown = HostsHeard(number=body.number, before=id_bytes(7))
    assert subject.pushing.heard(unknown, 8, NOW) == [], "it is another node's number"
    assert subject.pushing.heard(unknown, subject.node_id, NOW) == [], "no host of that one is known"
    assert subject.pushing.tick(NOW + ANSWER_S) == []
    me = subject.face.core.id
    names = [named(f"other {number}") for number in range(100)]
    farther = next(name for name in names if clockwise(name.node_id(OVERLAY), me) > clockwise(subject.node_id, me))
    entry = msgspec.structs.replace(entry_of(2, host_ref(9)), identity=farther)
    other = subject.face.nodes.learn(entry, NOW, firsthand=True)
    assert other is not None
    subject.pushing.nodes_before(subject.node_id)
    (body,) = subject.tell(NOW)
    answer = HostsHeard(number=body.number, before=id_bytes(other.id))
    (send,) = subject.pushing.heard(answer, subject.node_id, NOW)
    assert (send.to, send.packet.body.reason) == (host_ref(9).address, Reason.DEATH)


@pytest.mark.parametrize("peer", [Peer(5, b"nobodyhd", ("128.59.7.7", 4000))])
def test_a_node_that_is_forgotten_meanwhile_is_let_be(peer: Peer) -> None:
    subject = Subject()
    assert len(subject.pushing.tell(Push(peer, Reason.JOIN), NOW)) == 1
    assert subject.pushing.tick(NOW + ANSWER_S) == []
    assert subject.pushing.next_deadline() == float("inf")
