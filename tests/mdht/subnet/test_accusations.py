from random import Random

import pytest

from mdht.subnet.accusations import Accusations, Verdict, verdict
from mdht.subnet.checks import Checks
from mdht.subnet.effects import Effect, Multicast, Unicast
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.messages import Ping, State, Suspect
from mdht.subnet.view import Input, Member, View

CONFIG = MembershipConfig()
ME = b"me......"
REFUTE_S = CONFIG.refute_s


@pytest.mark.parametrize(
    ("accusers", "hosts", "mine", "late", "follows"),
    [
        # Nobody else is there who could look: k = 2, or all others are accused too.
        (1, 1, True, False, Verdict.DEAD),
        (1, 1, False, False, Verdict.LOOK),
        # There are others: one accuser is not enough, whoever that is.
        (1, 2, True, False, Verdict.WAIT),
        (1, 2, False, False, Verdict.LOOK),
        (1, 15, True, False, Verdict.WAIT),
        (1, 15, False, False, Verdict.LOOK),
        (2, 2, True, False, Verdict.DEAD),
        (2, 2, False, False, Verdict.DEAD),
        (2, 15, False, False, Verdict.DEAD),
        (3, 15, True, True, Verdict.DEAD),
        # Nobody has said so for a long time: this host believes itself, and still no other one.
        (1, 2, True, True, Verdict.DEAD),
        (1, 15, True, True, Verdict.DEAD),
        (1, 2, False, True, Verdict.LOOK),
        (1, 1, False, True, Verdict.LOOK),
        # Its accuser has died meanwhile, and nobody else is left: it looks for itself all the same.
        (0, 1, False, False, Verdict.LOOK),
    ],
)
def test_what_follows_from_accusations(accusers: int, hosts: int, mine: bool, late: bool, follows: Verdict) -> None:
    assert verdict(accusers=accusers, hosts=hosts, mine=mine, late=late) is follows


def test_one_accuser_that_is_not_this_host_never_ends_anybody() -> None:
    for accusers in (0, 1):
        for hosts in range(1, 20):
            for late in (False, True):
                assert verdict(accusers=accusers, hosts=hosts, mine=False, late=late) is not Verdict.DEAD


class Scene:
    """One host that knows some others, at an address each."""

    def __init__(self, others: int, *, proven: bool = True, same_address: bool = False) -> None:
        self.view = View()
        self.checks = Checks(CONFIG, Random(1), lambda _member: None)
        self.accusations = Accusations(ME, self.view, self.checks, CONFIG, proven=proven)
        self.members = []
        for number in range(others):
            address = ("192.0.2.1" if same_address and number else f"192.0.2.{number + 10}", 4000 + number)
            self.members.append(Member(bytes((number,)) * 8, 1, (address,), State.READY, 0.0))
            self.view.add(self.members[-1])

    def accuse(self, member: Member, by: Member | None, now: float) -> bool:
        suspects = self.accusations.add(member, by, REFUTE_S, now)
        if suspects:
            self.view.step(member, Input.ACCUSED, member.incarnation, now)
        return suspects

    def run(self, until: float) -> dict[bytes, float]:
        """Let time pass in which no member answers; when each was found dead."""
        dead: dict[bytes, float] = {}
        while (now := min(self.accusations.next_deadline(), self.checks.next_deadline())) <= until:
            now = max(now, 0.0)
            for member in self.checks.tick(now):
                self.accuse(member, None, now)
            for member in self.accusations.due(now):
                self.view.step(member, Input.UNREFUTED, member.incarnation, now)
                dead[member.hid] = now
        return dead

    @property
    def said(self) -> list[Effect]:
        said, self.checks.effects = self.checks.effects, []
        return said


def test_where_hosts_do_not_sign_one_accusation_is_enough() -> None:
    scene = Scene(3, proven=False)
    assert scene.accuse(scene.members[0], scene.members[1], 0.0)
    assert scene.run(5.0) == {scene.members[0].hid: REFUTE_S}


def test_two_accusers_end_a_member_when_it_had_its_time() -> None:
    scene = Scene(4)
    accused, first, second, _ = scene.members
    assert not scene.accuse(accused, first, 0.0)
    assert accused.state is State.READY, "one accuser does not even make it suspect"
    assert scene.accuse(accused, second, 0.3)
    assert scene.run(5.0) == {accused.hid: REFUTE_S}


def test_a_second_accuser_that_comes_late_needs_no_time_of_its_own() -> None:
    scene = Scene(2)
    accused, other = scene.members
    scene.accuse(accused, None, 0.0)
    assert not scene.run(4.0)
    scene.accuse(accused, other, 4.1)
    assert scene.run(9.0) == {accused.hid: 4.1}


def test_two_accusers_of_one_machine_are_one() -> None:
    scene = Scene(4, same_address=True)
    accused, first, second, _ = scene.members
    scene.accuse(accused, first, 0.0)
    assert not scene.accuse(accused, second, 0.0)


def test_a_host_that_hears_one_accusation_looks_for_itself_in_time() -> None:
    scene = Scene(2)
    accused, other = scene.members
    scene.accuse(accused, other, 0.0)
    assert scene.run(5.0) == {accused.hid: REFUTE_S}
    assert sum(isinstance(one, Unicast) and isinstance(one.message, Ping) for one in scene.said) == 2


def test_what_lives_is_dropped_and_nothing_is_due_any_more() -> None:
    scene = Scene(2)
    accused, other = scene.members
    scene.accuse(accused, other, 0.0)
    scene.checks.end(accused.hid)
    scene.accusations.drop(accused.hid)
    assert scene.accusations.next_deadline() == float("inf")
    assert not scene.run(30.0)


def test_nobody_waits_for_ever_for_one_who_does_not_say_what_he_must_see() -> None:
    scene = Scene(2)
    accused, silent = scene.members
    scene.accuse(accused, None, 0.0)
    dead = scene.run(30.0)
    assert dead == {accused.hid: pytest.approx(CONFIG.alone_s, abs=CONFIG.check_interval_s)}
    assert silent.state is State.READY
    asked = sum(isinstance(one, Multicast) and isinstance(one.message, Suspect) for one in scene.said)
    assert 10 <= asked <= CONFIG.alone_s / CONFIG.check_interval_s


@pytest.mark.parametrize("apart_s", [0.0, 0.3, 1.1])
def test_of_three_the_one_left_decides_alone_when_it_has_found_neither(apart_s: float) -> None:
    """Two crash at once: their last heartbeats were up to a period apart."""
    scene = Scene(2)
    first, second = scene.members
    scene.accuse(first, None, 0.0)
    dead = scene.run(apart_s - 0.001)
    scene.accuse(second, None, apart_s)
    dead |= scene.run(30.0)
    assert dead[second.hid] == pytest.approx(apart_s + REFUTE_S)
    assert dead[first.hid] <= max(REFUTE_S, apart_s) + CONFIG.check_interval_s


def test_a_member_that_is_forgotten_meanwhile_ends_the_case() -> None:
    scene = Scene(2)
    accused, other = scene.members
    scene.accuse(accused, other, 0.0)
    scene.view.remove(accused)
    scene.checks.end(accused.hid)
    assert not scene.accusations.due(REFUTE_S)
    assert scene.accusations.next_deadline() == float("inf")
