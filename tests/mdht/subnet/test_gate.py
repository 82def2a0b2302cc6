from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.messages import FindSuccessor, JoinReply, Packet
from dhtboot.effects import Send
from dhtboot.ids import Address
from mdht.subnet.face_messages import (
    Body,
    Carried,
    HostsChanged,
    HostsHeard,
    ItIs,
    Knock,
    OverlayDatagram,
    Prove,
    Taken,
    Welcome,
    WhoIs,
)
from mdht.subnet.gate import ANSWER_S, REPEATED_MAX, ROTATION_S, Gate
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.messages import Reason

A: Address = ("128.59.1.1", 4000)
B: Address = ("128.59.2.1", 4000)
ASKING: list[Body] = [Knock(number=1), WhoIs(number=1, node_id=bytes(20)), HostsChanged(number=1, reason=Reason.JOIN)]
ANSWERS: list[Body] = [
    Taken(request_id=1),
    ItIs(number=1),
    Welcome(number=1, ring_id=bytes(8), alone=False),
    HostsHeard(number=1),
]


def carried(number: int, message: Any) -> Carried:
    return Carried(packet=Packet(bytes(20), number, message))


class Party:
    """A host with a gate, and what has passed it."""

    def __init__(self, address: Address, now: float = 0.0) -> None:
        self.address = address
        self.admitted: list[Body] = []
        self.own = Own(
            identity=named(f"{address[0]}"), tag=b"tagtagta", hid=b"hidhidhi", addresses=(address,), ready=True
        )
        self.gate = Gate(lambda: self.own, Random(address[0]), now)

    def says(self, body: Body, to: Address, now: float = 0.0) -> Send:
        datagram = OverlayDatagram(
            identity=self.own.identity, tag=self.own.tag, hid=self.own.hid, view_epoch=1, held=None, body=body
        )
        return self.gate.outgoing(datagram, to, now)

    def hears(self, sent: Send, source: Address, now: float = 0.0) -> list[Send]:
        assert sent.to == self.address
        if self.gate.admits(sent.packet, source, now):
            self.admitted.append(sent.packet.body)
            return []
        return self.gate.turned_away(sent.packet, source, now)


def talk(first: Party, second: Party, sent: Send, now: float = 0.0) -> int:
    """Carry datagrams to and fro until there are none; how many there were."""
    count = 0
    speaker, listener = first, second
    pending = [sent]
    while pending:
        count += len(pending)
        assert count < 20, "they never come to an end"
        pending = [answer for one in pending for answer in listener.hears(one, speaker.address, now)]
        speaker, listener = listener, speaker
    return count


@pytest.mark.parametrize("body", ASKING)
def test_a_stranger_is_heard_after_he_has_shown_where_he_is(body: Body) -> None:
    a, b = Party(A), Party(B)
    assert talk(a, b, a.says(body, B)) == 3, "said, proof wanted, said again"
    assert b.admitted == [body]
    assert talk(a, b, a.says(body, B)) == 1
    assert b.admitted == [body, body]


def test_what_was_said_at_once_is_all_said_again() -> None:
    a, b = Party(A), Party(B)
    sent = [a.says(Knock(number=number), B) for number in range(REPEATED_MAX)]
    for one in sent:
        talk(a, b, one)
    assert sorted(body.number for body in b.admitted if isinstance(body, Knock)) == list(range(REPEATED_MAX))


def test_an_answer_to_a_join_outlasts_the_requests_that_follow_it_to_who_wants_proof() -> None:
    a, b = Party(A), Party(B)
    answer = carried(7, JoinReply(None, True, ()))
    first = a.says(answer, B)
    # Whoever was let in is passed JOINs, and asked for his neighbours, before he has heard of it himself.
    later = [a.says(carried(number, FindSuccessor(bytes(20))), B) for number in range(2 * REPEATED_MAX)]
    for one in (first, *later):
        talk(a, b, one)
    assert b.admitted[0] == answer
    assert len(b.admitted) == REPEATED_MAX, "not more than that, and the latest"
    assert b.admitted[-1] == later[-1].packet.body


def test_of_answers_alone_the_latest_are_said_again() -> None:
    a, b = Party(A), Party(B)
    sent = [a.says(carried(number, JoinReply(None, True, ())), B) for number in range(REPEATED_MAX + 1)]
    asked = a.says(WhoIs(number=1, node_id=bytes(20)), B)
    for one in (*sent, asked):
        talk(a, b, one)
    assert b.admitted == [one.packet.body for one in (*sent, asked)][-REPEATED_MAX:]


@pytest.mark.parametrize("body", ANSWERS)
def test_an_answer_from_where_something_was_asked_needs_no_proof(body: Body) -> None:
    a, b = Party(A), Party(B)
    assert talk(a, b, a.says(body, B)) == 3, "somebody else has passed the question on to this host"
    a, b = Party(A), Party(B)
    b.says(Knock(number=1), A)
    assert b.hears(a.says(body, B), A, ANSWER_S) == []
    assert b.admitted == [body]
    assert b.hears(a.says(body, B), A, ANSWER_S + 0.1) != [], "much later it is none"


def test_a_cookie_of_another_address_is_none() -> None:
    a, b, thief = Party(A), Party(B), Party(("128.59.9.9", 4000))
    talk(a, b, a.says(Knock(number=1), B))
    stolen = a.says(Knock(number=2), B)
    (back,) = b.hears(stolen, thief.address)
    assert isinstance(back.packet.body, Prove)
    assert back.to == thief.address
    assert len(b.admitted) == 1


def test_a_receiver_that_was_started_again_wants_another_cookie_and_gets_it() -> None:
    a, b = Party(A), Party(B)
    talk(a, b, a.says(Knock(number=1), B))
    b = Party(B, now=10.0)
    b.gate._jar._secret = b.gate._jar._former = b"another secret.."
    assert talk(a, b, a.says(Knock(number=2), B, 10.0), 10.0) == 3
    assert b.admitted == [Knock(number=2)]


def test_a_cookie_lives_for_one_to_two_rotations() -> None:
    a, b = Party(A), Party(B)
    talk(a, b, a.says(Knock(number=1), B))
    sent = a.says(Knock(number=2), B)
    assert b.hears(sent, A, ROTATION_S) == []
    assert b.hears(sent, A, 2.0 * ROTATION_S) != []


def test_who_wants_proof_for_ever_is_told_again_once() -> None:
    a = Party(A)
    a.says(Knock(number=1), B)
    prove = OverlayDatagram(
        identity=named("b"), tag=bytes(8), hid=bytes(8), view_epoch=0, held=None, body=Prove(cookie=b"8 bytes.")
    )
    assert len(a.gate.turned_away(prove, B, 0.0)) == 1
    assert a.gate.turned_away(prove, B, 0.0) == []
    assert a.gate.counters["unwanted_cookies"] == 1


def test_a_cookie_that_nobody_waits_for_is_not_kept() -> None:
    a = Party(A)
    prove = OverlayDatagram(
        identity=named("b"), tag=bytes(8), hid=bytes(8), view_epoch=0, held=None, body=Prove(cookie=b"8 bytes.")
    )
    assert not a.gate.admits(prove, B, 0.0)
    assert a.gate.turned_away(prove, B, 0.0) == []
    assert a.says(Knock(number=1), B).packet.cookie is None


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(ASKING), st.floats(0.0, 100.0))))
def test_two_hosts_that_say_something_now_and_then_are_always_heard(said: list[tuple[int, Body, float]]) -> None:
    parties = [Party(A), Party(B)]
    now = 0.0
    for who, body, pause_s in said:
        now += pause_s
        speaker, listener = parties[who], parties[1 - who]
        before = len(listener.admitted)
        talk(speaker, listener, speaker.says(body, listener.address, now), now)
        assert listener.admitted[before:] in ([body], [body, body]) or body in listener.admitted[before:]


def test_what_was_said_with_the_cookie_is_not_said_again_when_it_comes_once_more() -> None:
    a, b = Party(A), Party(B)
    first, second = a.says(Knock(number=1), B), a.says(Knock(number=2), B)
    (early,) = b.hears(first, A)
    (late,) = b.hears(second, A)
    for again in a.hears(early, B):
        b.hears(again, A)
    b.hears(a.says(Knock(number=3), B), A)
    assert a.hears(late, B) == []
    assert b.admitted == [Knock(number=number) for number in (1, 2, 3)]
