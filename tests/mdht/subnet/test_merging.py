import math
from random import Random

import msgspec
import pytest

from mdht.subnet.identity import Identity, Kind, Subnet, named
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.merging import TRANSITIONS, Action, Gone, Input, Merging, Stage, Winner
from mdht.subnet.merging_config import MergingConfig
from mdht.subnet.messages import Here, State
from mdht.subnet.view import Member
from tests.mdht.subnet.link_network import hid_of

CONFIG = MergingConfig()
MINE = Subnet(Identity(Kind.RANDOM, bytes(16)), b"my subnt")
OTHER = Subnet(Identity(Kind.RANDOM, b"other identities"), b"other su")
THIRD = Subnet(Identity(Kind.RANDOM, b"third identities"), b"third su")
HEARD_S, STEADY_S = CONFIG.heard_s, CONFIG.steady_s
READY_S = HEARD_S + CONFIG.spread_s + 2 * CONFIG.look_s


def here(size: int, subnet: Subnet | None, founded_s: int) -> Here:
    return Here(
        state=State.READY,
        addresses=(),
        load=0,
        size=size,
        heard=0,
        view_epoch=1,
        view_hash=bytes(8),
        node_state_hash=bytes(8),
        data_root=bytes(8),
        last_put=0,
        identity=None if subnet is None else subnet.identity,
        founded_s=None if subnet is None else founded_s,
    )


class Subject:
    """One host of a subnet founded 1000 s ago, and what others of its link tell every second."""

    def __init__(self, members: int, *, me: int = 100, mine: Subnet = MINE) -> None:
        self.membership = Membership(hid_of(me), 1, (), bytes(20), MembershipConfig(), Random(1))
        self.membership.state = State.READY
        for number in range(members - 1):
            self.membership.view.add(Member(hid_of(number), 1, (("192.0.2.1", 1),), State.READY, 0.0))
        self.merging = Merging(self.membership, "test", CONFIG, Random(1))
        self.mine = mine
        self.now = 1000.0
        self.told: dict[Subnet, int] = {}
        self.age_s: dict[Subnet, int] = {}
        self.outcomes: list[tuple[float, Winner | Gone]] = []
        self.introduces = True

    def run(self, seconds: float) -> "Subject":
        end = self.now + seconds
        while self.now < end:
            for subnet, size in self.told.items():
                age_s = self.age_s.get(subnet, 1000)
                introduced = subnet if self.introduces else None
                hid = subnet.tag[:7] + b"1"
                self.merging.hear(subnet.tag, hid, here(size, introduced, age_s), self.mine, self.now)
            for _ in range(2):
                found = self.merging.look(self.mine, 0.0, self.now)
                for outcome in found:
                    self.outcomes.append((self.now, outcome))
                    if isinstance(outcome, Winner):
                        self.merging.moves(self.mine)
                        self.mine = outcome.subnet
                self.now += 0.5
        return self

    def leave(self, count: int) -> None:
        for member in self.membership.view.live[:count]:
            self.membership.view.remove(member)

    @property
    def stage(self) -> Stage:
        return self.merging.stage

    @property
    def winners(self) -> list[Subnet]:
        return [outcome.subnet for _, outcome in self.outcomes if isinstance(outcome, Winner)]


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("what", Input)
def test_every_pair_takes_the_step_of_the_table_or_none(stage: Stage, what: Input) -> None:
    merging = Subject(3).merging
    merging.stage = stage
    to, action = TRANSITIONS.get((stage, what), (stage, None))
    assert merging._step(what, 1000.0) is action
    assert merging.stage is to
    assert (merging._turn_at < math.inf) == (action is Action.TAKE_PLACE)
    assert (merging._behind_since < math.inf) == (action is Action.WATCH)


def test_every_action_and_stage_is_in_the_table() -> None:
    assert {action for _, action in TRANSITIONS.values()} == set(Action)
    assert {stage for stage, _ in TRANSITIONS} == set(Stage)


def test_where_no_other_subnet_is_heard_nothing_is_looked_at() -> None:
    subject = Subject(3)
    assert subject.merging.next_deadline() == math.inf
    subject.told[MINE] = 3
    subject.run(5.0)
    assert subject.merging.next_deadline() == math.inf
    assert subject.stage is Stage.APART


def test_the_smaller_one_goes_when_the_other_one_was_heard_for_thirty_seconds() -> None:
    subject = Subject(3)
    subject.told[OTHER] = 5
    subject.run(HEARD_S)
    assert subject.stage is Stage.LOSING
    subject.run(CONFIG.spread_s + 1.0)
    ((at, outcome),) = subject.outcomes
    assert isinstance(outcome, Winner)
    assert outcome.subnet == OTHER
    assert outcome.founded_at == pytest.approx(at - 1000.0, abs=1.1)
    assert subject.stage is Stage.APART


def test_the_larger_one_stays_and_says_that_the_other_one_has_given_way_when_it_is_gone() -> None:
    subject = Subject(5)
    subject.told[OTHER] = 3
    subject.run(100.0)
    assert subject.stage is Stage.MET
    assert subject.outcomes == []
    del subject.told[OTHER]
    subject.merging.hear(MINE.tag, OTHER.tag[:7] + b"1", here(6, MINE, 1000), MINE, subject.now)
    subject.run(CONFIG.fresh_s + 2.0)
    assert [outcome for _, outcome in subject.outcomes] == [Gone(OTHER.tag)]
    assert subject.stage is Stage.APART
    assert subject.merging.next_deadline() == math.inf


def test_one_that_passes_by_has_not_given_way() -> None:
    subject = Subject(5)
    subject.told[OTHER] = 3
    subject.run(100.0)
    del subject.told[OTHER]
    subject.run(100.0)
    assert subject.outcomes == []


def test_a_subnet_that_never_introduces_itself_may_not_hear_this_one_and_is_no_reason_to_go() -> None:
    subject = Subject(1)
    subject.introduces = False
    subject.told[OTHER] = 9
    subject.run(100.0)
    assert subject.outcomes == []
    assert subject.merging.lacks(OTHER.tag)
    subject.introduces = True
    subject.run(STEADY_S + 5.0)
    assert subject.winners == [OTHER]


def test_one_that_is_heard_with_long_pauses_was_not_heard_for_thirty_seconds() -> None:
    subject = Subject(1)
    for _ in range(5):
        subject.told = {OTHER: 9}
        subject.run(20.0)
        subject.told = {}
        subject.run(CONFIG.fresh_s + 2.0)
    assert subject.outcomes == []


def test_of_two_that_change_places_all_the_time_none_goes_before_it_is_clear() -> None:
    subject = Subject(4)
    for turn in range(20):
        subject.told[OTHER] = 3 + 2 * (turn % 2)
        subject.run(4.0 if turn % 2 else 8.0)
    assert subject.outcomes == []
    subject.told[OTHER] = 5
    subject.run(STEADY_S + 5.0)
    assert subject.winners == [OTHER]


def test_the_largest_number_that_a_host_has_told_lately_counts() -> None:
    """A host that is ready since a moment ago does not know all members yet."""
    subject = Subject(3)
    subject.told[OTHER] = 5
    for _ in range(8):
        subject.run(4.0)
        subject.merging.hear(OTHER.tag, b"newcomer", here(1, None, 0), MINE, subject.now)
    subject.run(READY_S - 32.0)
    assert subject.winners == [OTHER]


def test_own_siblings_numbers_count_too() -> None:
    subject = Subject(1)  # it has come a moment ago
    subject.told = {MINE: 6, OTHER: 5}
    subject.run(100.0)
    assert subject.outcomes == []


@pytest.mark.parametrize("age_s", [1020, 3000])
def test_of_equal_ones_the_younger_goes(age_s: int) -> None:
    subject = Subject(3)
    subject.told[OTHER], subject.age_s[OTHER] = 3, age_s + 100
    subject.run(READY_S)
    assert subject.winners == [OTHER]
    subject = Subject(3)
    subject.told[OTHER], subject.age_s[OTHER] = 3, 500
    subject.run(READY_S)
    assert subject.winners == []


def test_the_first_of_the_hosts_goes_last() -> None:
    subject = Subject(4, me=0)
    subject.leave(1)  # of the same name
    subject.told[OTHER] = 5
    subject.run(READY_S)
    assert subject.stage is Stage.GOING
    subject.leave(2)
    subject.run(1.0)
    assert subject.winners == [OTHER]


def test_the_last_one_does_not_wait_for_those_who_stay() -> None:
    subject = Subject(3, me=0)
    subject.told[OTHER] = 5
    subject.run(HEARD_S + CONFIG.last_s + 2.0)
    assert subject.winners == [OTHER]


@pytest.mark.parametrize("state", [State.JOINING, State.LEAVING])
def test_a_host_that_joins_or_leaves_goes_nowhere_before_it_is_ready(state: State) -> None:
    subject = Subject(3)
    subject.membership.state = state
    subject.told[OTHER] = 5
    subject.run(100.0)
    assert subject.outcomes == []
    subject.membership.state = State.READY
    subject.run(1.0)
    assert subject.winners == [OTHER]


def test_a_host_that_is_about_to_go_stays_when_others_have_come_first() -> None:
    subject = Subject(4, me=0)
    subject.told[OTHER] = 4
    subject.age_s[OTHER] = 3000
    subject.run(READY_S)
    assert subject.stage is Stage.GOING
    subject.told[MINE] = 5
    subject.run(1.0)
    assert subject.stage is Stage.MET


def test_a_host_that_is_about_to_go_stays_when_the_other_subnet_is_gone() -> None:
    subject = Subject(4, me=0)
    subject.told[OTHER] = 5
    subject.run(READY_S)
    subject.told.clear()
    subject.run(CONFIG.fresh_s + 2.0)
    assert subject.stage is Stage.APART
    assert subject.outcomes == []


def test_of_three_the_smaller_ones_go_to_the_largest() -> None:
    subject = Subject(2)
    subject.told = {OTHER: 3, THIRD: 4}
    subject.run(READY_S)
    assert subject.winners == [THIRD]


def test_who_has_gone_waits_as_long_again_before_it_goes_once_more() -> None:
    subject = Subject(2)
    subject.told = {OTHER: 3}
    subject.run(READY_S)
    assert subject.winners == [OTHER]
    subject.told = {MINE: 9, OTHER: 3}
    subject.run(HEARD_S - CONFIG.spread_s - 1.0)
    assert subject.winners == [OTHER]
    subject.run(READY_S)
    assert subject.winners == [OTHER, MINE]


def test_a_subnet_that_this_host_has_left_itself_is_not_said_to_be_gone_again() -> None:
    subject = Subject(2)
    subject.merging.moves(MINE)
    subject.mine, subject.told = OTHER, {MINE: 1}
    subject.run(3.0)
    subject.told = {}
    subject.merging.hear(OTHER.tag, MINE.tag[:7] + b"1", here(3, OTHER, 1000), OTHER, subject.now)
    subject.run(CONFIG.fresh_s + 2.0)
    assert subject.outcomes == []


def test_subnets_of_different_configured_names_stay_two() -> None:
    subject = Subject(1, mine=Subnet(named("lab"), b"taglab__"))
    subject.told = {Subnet(named("office"), b"tagoffic"): 9}
    subject.run(100.0)
    assert subject.outcomes == []
    assert subject.stage is Stage.MET


def test_all_that_is_known_of_others_is_bounded() -> None:
    subject = Subject(3)
    for number in range(1, 100):
        tag = number.to_bytes(8, "big")
        for host in range(2000 if number == 1 else 1):
            subject.merging.hear(tag, hid_of(host), here(70_000 - host, None, 0), MINE, 1000.0)
    assert len(subject.merging._others) == CONFIG.others_max
    other = subject.merging._others[(1).to_bytes(8, "big")]
    assert len(other.hids) == CONFIG.hosts_max
    assert len(other.sizes._told) == 64
    assert other.sizes.largest(1000.0) < 70_000


@pytest.mark.parametrize("bad", [{"heard_s": 0.0}, {"look_s": -1.0}, {"spread_s": -1.0}, {"others_max": 0}])
def test_settings_that_cannot_work_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        msgspec.structs.replace(CONFIG, **bad).__post_init__()
