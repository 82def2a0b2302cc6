"""Entry points that siblings did not have: knocked at until the node behind each is known."""

import itertools
from random import Random

import pytest

from dhtboot.effects import Effect, Send
from dhtboot.ids import Address
from mdht.subnet.face_nodes import contact
from mdht.subnet.meeting import ALONE_MAX_S, AT_ONCE, KNOCK_S, RETRY_MAX_S, RETRY_MIN_S, Meeting

FIRST, SECOND = ("192.0.2.1", 27183), ("192.0.2.2", 27183)


class Subject:
    """One host, and where it has knocked."""

    def __init__(self, *entry_points: Address) -> None:
        self.entry_points = list(entry_points)
        self.known = {7}
        self.knocks: list[tuple[Address, int, float]] = []
        self.meeting = Meeting(lambda: self.entry_points, self._knock, lambda: self.known, Random(1))

    def _knock(self, address: Address, number: int, now: float) -> list[Effect]:
        self.knocks.append((address, number, now))
        return [Send(address, number)]

    def run(self, until: float) -> None:
        while (now := self.meeting.next_deadline()) <= until:
            assert len(self.meeting.tick(now)) <= AT_ONCE


@pytest.mark.parametrize(("known", "longest_s"), [({7, 8}, RETRY_MAX_S), ({7}, ALONE_MAX_S)])
def test_it_knocks_soon_and_then_ever_less_often_where_nobody_answers(known: set[int], longest_s: float) -> None:
    subject = Subject(FIRST)
    subject.known = known
    subject.run(10.0)
    assert subject.knocks == [], "not before the host is in the overlay"
    subject.meeting.begin(100.0)
    subject.run(1000.0)
    times = [at for _address, _number, at in subject.knocks]
    assert times[0] == 100.0 + KNOCK_S
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] < 6.0
    assert max(pauses) <= 1.1 * longest_s
    assert pauses[-1] > 0.9 * longest_s


def test_whoever_answers_for_an_unknown_node_is_met_and_not_knocked_at_again_while_he_is_known() -> None:
    subject = Subject(FIRST)
    subject.meeting.begin(0.0)
    subject.run(1.0)
    ((_address, number, _at),) = subject.knocks
    assert not subject.meeting.welcomed(number + 1, contact(9)), "an answer to somebody else's knock"
    assert subject.meeting.welcomed(number, contact(9))
    assert not subject.meeting.welcomed(number, contact(9)), "once"
    subject.known.add(9)
    subject.run(300.0)
    assert len(subject.knocks) == 1
    subject.known.discard(9)
    subject.run(300.0 + 1.1 * RETRY_MIN_S)
    assert len(subject.knocks) == 2, "soon, however long it was known"


def test_a_node_that_is_known_already_is_not_met() -> None:
    subject = Subject(FIRST)
    subject.meeting.begin(0.0)
    subject.run(1.0)
    assert not subject.meeting.welcomed(subject.knocks[0][1], contact(7))
    subject.run(300.0)
    assert len(subject.knocks) == 1


def test_of_many_entry_points_a_few_are_tried_at_a_time() -> None:
    subject = Subject(*[(f"198.51.100.{number}", 27183) for number in range(50)], SECOND, SECOND)
    subject.meeting.begin(0.0)
    subject.run(1.0)
    assert len(subject.knocks) == AT_ONCE
    subject.run(2000.0)
    assert len({address for address, _number, _at in subject.knocks}) == 51
