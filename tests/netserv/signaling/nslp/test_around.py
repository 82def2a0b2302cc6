"""Requests for the nodes around a place: who acts, how often, and what comes back to who has asked.

        b1                  b2
        |                   |
sender - n1 ------- n2 ---- n3 - receiver        each line is one IP hop
"""

from collections.abc import Sequence

import msgspec
import pytest

from mdht.signing import SigningKey
from netserv.signaling.gist.addresses import PackedAddress, packed
from netserv.signaling.gist.objects.mri import Area, Direction, OffPathMri
from netserv.signaling.gist.service import (
    NetworkNotification,
    NotificationKind,
    RecvMessage,
    SendMessage,
    SiiHandle,
)
from netserv.signaling.nslp.effects import SetStateLifetime
from netserv.signaling.nslp.node import NslpNode
from netserv.signaling.nslp.requests import Request, encode
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.text import padded
from netserv.signaling.nslp.values import Around
from tests.netserv.signaling.nslp.memory_path import ALICE, RECEIVER, SENDER, TO_RECEIVER, UNIX, Accepting, Path, probe

BRANCHES = {"b1": (1, packed("10.0.1.9")), "b2": (3, packed("10.0.3.9"))}
"Name: the node of the path that it hangs on, and its address."


class Town(Path):
    """A path with a node beside its first and one beside its last node."""

    def __init__(self, *, sender_is_node: bool = False) -> None:
        super().__init__(Accepting(), Accepting(), Accepting())
        self.beside = {name: Accepting() for name in BRANCHES}
        self.places = {self.addresses[number]: number for number in range(4)}
        for name, (_, address) in BRANCHES.items():
            self.places[address] = len(self.nodes)
            self.addresses.append(address)
            self.nodes.append(self._named(name, address, self.beside[name]))
        self.own = Accepting()
        if sender_is_node:
            self.nodes[0] = self._named("sender", SENDER, self.own)
        for number in (1, 2, 3):
            self.nodes[number] = self._named(f"n{number}", self.addresses[number], self.handlers[number - 1])
        self.dead: set[PackedAddress] = set()
        self.told = 0

    def _named(self, name: str, address: PackedAddress, handler: Accepting) -> NslpNode:
        return NslpNode(
            config=self.config,
            node_id=name,
            addresses=[".".join(map(str, address))],
            handler=handler,
            rng=self.rng,
            unix_time=lambda: UNIX + self.now,
            neighbours=lambda: self._neighbours(address),
        )

    def _neighbours(self, address: PackedAddress) -> Sequence[PackedAddress]:
        return [other for other in self.places if other not in {address, SENDER} and self._hops(address, other) == 1]

    def _hops(self, one: PackedAddress, other: PackedAddress) -> int:
        places = {address: (place, 1) for place, address in BRANCHES.values()}
        (here, up), (there, down) = (places.get(address, (self.places[address], 0)) for address in (one, other))
        return abs(here - there) + up + down

    def acted(self) -> dict[str, int]:
        handlers = {f"n{number}": handler for number, handler in enumerate(self.handlers, 1)} | self.beside
        counts = {name: len(handler.acted) for name, handler in handlers.items()}  # type: ignore[attr-defined]
        return {name: count for name, count in counts.items() if count}

    def _deliver(self, index: int, message: SendMessage) -> None:
        if not isinstance(message.mri, OffPathMri):
            super()._deliver(index, message)
            return
        self.told += 1
        mri = message.mri
        to = mri.destination if mri.direction is Direction.DOWNSTREAM else mri.source
        if to in self.dead:
            return
        if to not in self.places:
            self._tell_nobody(index, message)
            return
        received = RecvMessage(
            nslp_id=message.nslp_id,
            sid=message.sid,
            mri=mri,
            data=message.data,
            attributes=message.attributes,
            sii=SiiHandle(b"peer", self.addresses[index], 270, 1),
            ip_distance=self._hops(self.addresses[index], to) - 1,
            to_flow_endpoint=True,
        )
        self.at(self.now + 0.001, lambda: self._receive(self.places[to], received))

    def _receive(self, index: int, message: RecvMessage) -> None:
        # The first node is on the sender's own link; the path of the other tests has a router before each node.
        super()._receive(index, msgspec.structs.replace(message, ip_distance=max(0, message.ip_distance - 1)))

    def _tell_nobody(self, index: int, message: SendMessage) -> None:
        notification = NetworkNotification(
            nslp_id=message.nslp_id, sid=message.sid, mri=message.mri, kind=NotificationKind.LAST_NODE
        )
        self.at(self.now + 0.001, lambda: self.perform(index, self.node(index).notified(notification, self.now)))

    def found(self) -> dict[str, int]:
        """Who has answered, and how far it says that it is."""
        return {entry.node_id: entry.hops for entry in self.answer.response.stack}


def around(area: Area, radius: int, key: SigningKey = ALICE) -> Request:
    return probe(key=key, around=Around(area, radius))


@pytest.mark.parametrize(
    ("radius", "within"),
    [
        (1, {"n1": 0}),
        (2, {"n1": 0, "n2": 2, "b1": 2}),
        (3, {"n1": 0, "n2": 2, "b1": 2, "n3": 3}),
        (4, {"n1": 0, "n2": 2, "b1": 2, "n3": 3, "b2": 4}),
    ],
)
def test_a_bubble_reaches_exactly_the_nodes_around_the_sender(radius: int, within: dict[str, int]) -> None:
    town = Town()
    town.ask(around(Area.BUBBLE, radius))
    town.run()
    assert town.found() == within
    assert town.acted() == dict.fromkeys(within, 1)


@pytest.mark.parametrize(
    ("radius", "within"),
    [(1, {"n3"}), (2, {"n3", "b2", "n2"}), (3, {"n3", "b2", "n2", "n1"}), (4, {"n3", "b2", "n2", "n1", "b1"})],
)
def test_a_balloon_reaches_exactly_the_nodes_around_the_receiver(radius: int, within: set[str]) -> None:
    town = Town()
    town.ask(around(Area.BALLOON, radius))
    town.run()
    assert set(town.found()) == within
    assert town.acted() == dict.fromkeys(within, 1)


def test_a_hose_reaches_the_path_and_the_nodes_around_it_once_each() -> None:
    town = Town()
    town.ask(around(Area.HOSE, 1))
    town.run()
    assert set(town.found()) == {"n1", "n2", "n3", "b1", "b2"}
    assert len(town.answer.response.stack) == 5
    assert town.acted() == dict.fromkeys(("n1", "n2", "n3", "b1", "b2"), 1)


def test_what_nobody_has_signed_goes_no_further_than_to_the_first_node() -> None:
    town = Town()
    town.ask(around(Area.BUBBLE, 4, key=SigningKey.from_seed(bytes(32))))
    town.run()
    (entry,) = town.answer.response.stack
    assert (entry.node_id, entry.code) == ("n1", 401)
    assert town.told == 0


def test_a_sender_that_is_a_node_itself_is_the_middle_of_the_bubble() -> None:
    town = Town(sender_is_node=True)
    town.ask(around(Area.BUBBLE, 2))
    town.run()
    assert town.found() == {"n1": 1, "n2": 2, "b1": 2}
    assert town.own.acted == []


def test_a_neighbour_that_is_dead_delays_the_answer_and_takes_nothing_from_it() -> None:
    town = Town()
    town.dead = {BRANCHES["b1"][1]}
    town.ask(around(Area.BUBBLE, 3))
    town.run()
    assert set(town.found()) == {"n1", "n2", "n3"}
    assert 10.0 < town.done[0][0] < 25.0


def test_a_neighbour_without_the_nslp_is_known_to_be_none_at_once() -> None:
    town = Town()
    gone = BRANCHES["b1"][1]
    del town.places[gone]
    town.nodes[1] = NslpNode(
        config=town.config,
        node_id="n1",
        addresses=["10.0.1.1"],
        handler=town.handlers[0],
        rng=town.rng,
        unix_time=lambda: UNIX + town.now,
        neighbours=lambda: [gone, town.addresses[2]],
    )
    town.ask(around(Area.BUBBLE, 2))
    town.run(5.0)
    assert set(town.found()) == {"n1", "n2"}


def test_a_request_is_answered_as_before_where_it_comes_again() -> None:
    town = Town()
    request = around(Area.BUBBLE, 3)
    town.ask(request, sid=bytes(16))
    town.run(5.0)
    told = town.told
    town.done.clear()
    town.ask(request, sid=bytes(16))
    town.run(10.0)
    assert set(town.found()) == {"n1", "n2", "n3", "b1"}
    assert town.told == told
    assert set(town.acted().values()) == {1}


def told_by_a_neighbour(town: Town, request: Request, radius: int) -> None:
    mri = OffPathMri(area=Area.BUBBLE, source=town.addresses[1], destination=town.addresses[2], radius=radius)
    message = RecvMessage(nslp_id=32704, sid=bytes(16), mri=mri, data=padded(encode(request)))
    town.perform(2, town.node(2).received(message, town.now))


def test_nobody_tells_further_than_the_publisher_has_signed() -> None:
    town = Town()
    told_by_a_neighbour(town, around(Area.BUBBLE, 2), 3)
    told_by_a_neighbour(town, probe(), 3)
    assert (town.acted(), town.told, town.node(2).counters.malformed) == ({}, 0, 2)


def test_an_answer_of_neighbours_without_a_question_is_counted() -> None:
    town = Town()
    mri = OffPathMri(
        area=Area.BUBBLE, source=town.addresses[2], destination=RECEIVER, radius=3, direction=Direction.UPSTREAM
    )
    data = b"RESPONSE * NETSERV/0.1\nrequest:" + b"0" * 32 + b"\ncode:200\n\n"
    message = RecvMessage(nslp_id=32704, sid=bytes(16), mri=mri, data=padded(data))
    assert town.node(2).received(message, 0.0) == []
    assert town.node(2).counters.unasked == 1


def test_routing_state_between_neighbours_is_let_go_when_all_is_over() -> None:
    town = Town()
    town.ask(around(Area.BUBBLE, 3))
    town.run(200.0)
    kept = {(index, message.mri) for index, message in town.sent if isinstance(message.mri, OffPathMri)}
    released = {(index, one.mri) for index, one in town.lifetimes if isinstance(one, SetStateLifetime)}
    assert kept
    assert kept <= released


def test_a_flood_of_requests_from_neighbours_is_bounded() -> None:
    town = Town()
    for number in range(2000):
        request = signed(msgspec.structs.replace(probe(), around=Around(Area.BUBBLE, 1), flow=TO_RECEIVER), ALICE)
        mri = OffPathMri(area=Area.BUBBLE, source=town.addresses[1], destination=town.addresses[2], radius=1)
        message = RecvMessage(
            nslp_id=32704, sid=number.to_bytes(16, "big"), mri=mri, data=padded(encode(request)), ip_distance=0
        )
        town.perform(2, town.node(2).received(message, 0.0))
    surroundings = town.node(2)._surroundings
    assert len(surroundings._told) == len(surroundings.epidemic) == 1024
