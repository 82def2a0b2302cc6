import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.effects import Multicast
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import HostSet, NodeEntry, Reason
from mdht.subnet.push import Peer, Push, PushSchedule
from mdht.subnet.rota import place_in_rota
from tests.mdht.subnet.hostset_nodes import entry_of, host_ref

CONFIG = HostSetConfig()
JOIN, LEAVE, DEATH = Reason.JOIN, Reason.LEAVE, Reason.DEATH


def peer(number: int) -> Peer:
    return Peer(number, b"peer%04d" % number, (f"128.59.2.{number}", 4000))


def announced(effect: Multicast | Push) -> HostSet | None:
    """The copy for the siblings."""
    return effect.message if isinstance(effect, Multicast) and isinstance(effect.message, HostSet) else None


class Subject:
    """One member with nine neighbours, and what it has sent."""

    def __init__(self, neighbours: int = 9) -> None:
        self.neighbours = [peer(number) for number in range(1, neighbours + 1)]
        self.schedule = PushSchedule(CONFIG, self.entry, lambda: self.neighbours)
        self.epoch = 0
        self.pushes: list[tuple[float, Reason]] = []
        self.sent: list[tuple[float, Multicast | Push]] = []

    def entry(self, _now: float) -> NodeEntry:
        return entry_of(self.epoch, host_ref(1))

    def changed(self, reason: Reason, place: int, now: float) -> None:
        self.epoch += 1
        self.schedule.changed(reason, self.epoch, place, now)

    def run(self, until: float) -> None:
        while self.schedule.next_deadline() <= until:
            now = self.schedule.next_deadline()
            effects = self.schedule.tick(now)
            assert effects, "a deadline is one for something"
            self.pushes += [(now, one.reason) for one in map(announced, effects) if one is not None]
            self.sent += [(now, effect) for effect in effects]

    def receivers(self) -> list[tuple[str, int]]:
        return [effect.peer.address for _, effect in self.sent if isinstance(effect, Push)]


# Changes as (at, reason, place in the rota), sets seen as (at, how many changes they lack), and pushes expected.
SCHEDULES = [
    ("one change goes out after a second", [(0.0, JOIN, 0)], [], [(1.0, JOIN)]),
    ("changes within a second go out together", [(0.0, LEAVE, 0), (0.9, JOIN, 0)], [], [(1.0, LEAVE)]),
    ("a batch is called by its gravest change", [(0.0, JOIN, 0), (0.5, DEATH, 0)], [], [(1.0, DEATH)]),
    ("two seconds lie between pushes", [(0.0, JOIN, 0), (1.1, JOIN, 0)], [], [(1.0, JOIN), (3.0, JOIN)]),
    ("a later change waits a second only", [(0.0, JOIN, 0), (5.0, JOIN, 0)], [], [(1.0, JOIN), (6.0, JOIN)]),
    ("the next member repeats after three seconds", [(0.0, JOIN, 1)], [], [(4.0, JOIN)]),
    ("the one after it after six", [(0.0, JOIN, 2)], [], [(7.0, JOIN)]),
    ("nobody repeats what was seen", [(0.0, JOIN, 1)], [(1.0, 0)], []),
    ("an older set leaves the newer change to be told", [(0.0, JOIN, 1), (0.5, DEATH, 1)], [(1.0, 1)], [(4.0, DEATH)]),
    (
        "who comes first next time waits for the other's push",
        [(0.0, JOIN, 1), (1.5, JOIN, 0)],
        [(1.0, 0)],
        [(3.0, JOIN)],
    ),
    ("an older set that is seen puts the own push off", [(0.0, JOIN, 0), (0.2, JOIN, 0)], [(0.9, 1)], [(2.9, JOIN)]),
    ("the earliest place counts", [(0.0, JOIN, 3), (0.5, JOIN, 0)], [], [(1.5, JOIN)]),
]


@pytest.mark.parametrize(
    ("changes", "seen", "expected"), [row[1:] for row in SCHEDULES], ids=[row[0] for row in SCHEDULES]
)
def test_pushes_follow_the_schedule(
    changes: list[tuple[float, Reason, int]], seen: list[tuple[float, int]], expected: list[tuple[float, Reason]]
) -> None:
    subject = Subject()
    events = sorted(
        [(at, "changed", reason, place) for at, reason, place in changes] + [(at, "seen", lag, 0) for at, lag in seen]
    )
    for at, what, detail, place in events:
        subject.run(math.nextafter(at, 0.0))
        if what == "seen":
            subject.schedule.seen(subject.epoch - detail, at)
        else:
            subject.changed(Reason(detail), place, at)
    subject.run(100.0)
    assert [at for at, _ in subject.pushes] == pytest.approx([at for at, _ in expected])
    assert [reason for _, reason in subject.pushes] == [reason for _, reason in expected]
    assert subject.schedule.next_deadline() == math.inf


def test_neighbours_and_recent_askers_are_told_and_a_copy_goes_to_the_siblings() -> None:
    subject = Subject()
    for number in (20, 21, 3):
        subject.schedule.asked(peer(number), 0.0)
    subject.changed(JOIN, 0, 0.0)
    subject.run(5.0)
    assert subject.receivers() == [peer(number).address for number in (*range(1, 10), 20, 21)], "nobody twice"
    assert isinstance(subject.sent[0][1], Multicast)
    assert all(effect.reason is JOIN for _, effect in subject.sent if isinstance(effect, Push))


def test_of_askers_the_last_32_are_told_and_none_of_long_ago() -> None:
    subject = Subject(neighbours=0)
    for number in range(1, 41):
        subject.schedule.asked(peer(number), number)
    subject.schedule.asked(peer(10), 50.0)
    assert [asker.node_id for asker in subject.schedule.askers] == [9, *range(11, 41), 10]
    subject.changed(DEATH, 0, 639.0)
    subject.run(641.0)
    assert subject.receivers() == [peer(40).address, peer(10).address]


def test_at_most_nine_neighbours_are_told() -> None:
    subject = Subject(neighbours=20)
    subject.changed(JOIN, 0, 0.0)
    subject.run(5.0)
    assert len(subject.receivers()) == 9


def test_a_pull_is_no_change() -> None:
    with pytest.raises(ValueError, match="not pushed"):
        Subject().changed(Reason.PULL, 0, 0.0)


@given(st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 2), st.booleans()), max_size=30))
def test_no_peer_is_told_twice_within_two_seconds_and_all_changes_are_told(
    steps: list[tuple[float, int, bool]],
) -> None:
    subject, now = Subject(), 0.0
    seen: list[float] = []
    for after, place, by_other in steps:
        now += after
        subject.run(now)
        if by_other and (not seen or now - seen[-1] >= 2.0):
            seen.append(now)
            subject.schedule.seen(subject.epoch - 1, now)
        subject.changed(JOIN, place, now)
    subject.run(now + 100.0)
    times = sorted(at for at, _ in subject.pushes)
    assert all(later - earlier >= 2.0 - 1e-9 for earlier, later in itertools.pairwise(times))
    assert all(not 0.0 < at - other < 2.0 - 1e-9 for at in times for other in seen)
    told = [one.entry.view_epoch for one in [announced(effect) for _, effect in subject.sent] if one is not None]
    assert told[-1:] == ([subject.epoch] if steps else [])


# ---- rota ------------------------------------------------------------------------------------------------------------


def test_of_siblings_that_hear_each_other_one_pushes_and_when_it_is_dead_the_next() -> None:
    members = [b"host%04d" % number for number in range(4)]
    for dead in (None, 1):
        siblings = {number: Subject() for number in range(4)}
        for number, sibling in siblings.items():
            sibling.changed(JOIN, place_in_rota(members[number], members, 1), Random(number).random() * 0.1)
        if dead is not None:
            del siblings[dead]
        while True:
            number, first = min(siblings.items(), key=lambda pair: pair[1].schedule.next_deadline())
            now = first.schedule.next_deadline()
            if now == math.inf:
                break
            first.run(now)
            for other in siblings.values():
                if other is not first:
                    other.schedule.seen(first.epoch, now + 0.001)
        pushed = [number for number, sibling in siblings.items() if sibling.pushes]
        assert pushed == [1 if dead is None else 2]
