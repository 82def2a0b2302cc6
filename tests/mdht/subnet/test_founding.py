import math
from random import Random

import msgspec
import pytest

from mdht.subnet.effects import Merged
from mdht.subnet.founding import TRANSITIONS, Action, Founding, Input, Stage
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.founding_effects import Adopt, BeRing, Found, JoinRing, LookForOverlay, SayHello, Withdraw
from mdht.subnet.identity import NO_TAG, Identity, Kind, Subnet, named
from mdht.subnet.kept import Kept
from mdht.subnet.messages import Bye, Hello, Here, State
from mdht.subnet.wire import Header
from tests.mdht.subnet.link_network import hid_of

ME = hid_of(5)
ADDRESSES = (("192.0.2.9", 4000),)
LOW_TAG, HIGH_TAG = b"\0lowest!", b"\xffhighest"
OURS, THEIRS = Identity(Kind.RANDOM, bytes(16)), named("theirs")
HELLO = Hello(addresses=ADDRESSES, overlay_hash=bytes(20))
WINDOW_S, PATIENCE_S = 1.25, 5.0


def here(state: State = State.READY, *, introduce: bool = True, founded_s: int = 0, policy: str | None = None) -> Here:
    return Here(
        state=state,
        addresses=ADDRESSES,
        load=0,
        size=1,
        heard=0,
        view_epoch=1,
        view_hash=bytes(8),
        node_state_hash=bytes(8),
        data_root=bytes(8),
        last_put=0,
        identity=THEIRS if introduce else None,
        founded_s=founded_s if introduce else None,
        policy=policy,
    )


class Subject:
    """One host's founding, and what it has wanted."""

    def __init__(self, kept: Kept | None = None, policy: str = "") -> None:
        self.founding = Founding(ME, lambda: OURS, kept, FoundingConfig(policy=policy), Random(1))
        self.now = 0.0
        self.effects = list(self.founding.start(0.0))

    def hear(self, number: int, message: Hello | Here | Bye, tag: bytes = NO_TAG, *, multicast: bool = True) -> None:
        header = Header(subnet_tag=tag, hid=hid_of(number), incarnation=1, seq=1)
        self.effects += self.founding.receive(header, message, self.now, multicast=multicast)

    def run(self, until: float) -> "Subject":
        while self.founding.next_deadline() <= until:
            self.now = max(self.now, self.founding.next_deadline())
            self.effects += self.founding.tick(self.now)
        self.now = until
        return self

    def take(self) -> list[object]:
        effects, self.effects = self.effects, []
        return list(effects)

    @property
    def stage(self) -> Stage:
        return self.founding.stage


def subject_in(stage: Stage) -> Subject:
    subject = Subject()
    match stage:
        case Stage.LISTENING:
            pass
        case Stage.WAITING:
            subject.hear(3, HELLO)
            subject.run(1.5)
        case Stage.ADOPTED:
            subject.hear(3, here(), HIGH_TAG)
        case _:
            subject.run(1.5)
            if stage is Stage.ALONE:
                subject.effects += subject.founding.unreached(1.5)
            elif stage is Stage.SETTLED:
                subject.effects += subject.founding.reached(b"ringring", 1.5)
    assert subject.stage is stage
    subject.take()
    return subject


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("what", Input)
def test_every_pair_takes_the_step_of_the_table_or_none(stage: Stage, what: Input) -> None:
    subject = subject_in(stage)
    subject.founding._step(what, 2.0)
    to, action = TRANSITIONS.get((stage, what), (stage, None))
    assert subject.stage is to
    wanted = [type(effect) for effect in subject.founding._collect()]
    expected = {
        Action.ADOPT: [Adopt] if subject.founding.subnet else [],
        Action.FOUND: [Found, LookForOverlay],
        Action.FOUND_SALTED: [Found, LookForOverlay],
        Action.WITHDRAW: [Withdraw],
        Action.BE_RING: [BeRing],
    }
    assert wanted == expected.get(action, []) if action else not wanted


def test_every_action_and_stage_is_in_the_table() -> None:
    assert {action for _, action in TRANSITIONS.values()} == set(Action)
    assert {stage for stage, _ in TRANSITIONS} == set(Stage)


# ---- a host that is not alone ----------------------------------------------------------------------------------------


def test_a_joiner_adopts_what_a_ready_sibling_tells_and_asks_no_server() -> None:
    subject = Subject()
    subject.hear(9, here(founded_s=100), HIGH_TAG)
    assert subject.take() == [Adopt(Subnet(THEIRS, HIGH_TAG), -100.0)]
    assert subject.founding.tag == HIGH_TAG
    subject.run(100.0)
    assert subject.take() == []
    assert subject.founding.next_deadline() == math.inf


@pytest.mark.parametrize("stage", [Stage.WAITING, Stage.FOUNDING])
def test_whoever_serves_nobody_yet_adopts_too(stage: Stage) -> None:
    subject = subject_in(stage)
    subject.hear(9, here(), HIGH_TAG)
    assert [type(effect) for effect in subject.take()] == [Adopt]
    subject.effects += subject.founding.reached(b"ringring", 2.0)
    assert subject.stage is Stage.ADOPTED, "an answer of the server that comes too late changes nothing"
    assert subject.take() == []


def test_a_sibling_that_does_not_tell_its_identity_is_asked_when_the_hellos_are_out() -> None:
    subject = Subject()
    subject.hear(9, here(introduce=False), HIGH_TAG)
    assert subject.stage is Stage.WAITING
    subject.run(WINDOW_S + 0.5)
    assert subject.take() == [SayHello()]
    subject.hear(9, here(introduce=False), HIGH_TAG)
    subject.run(WINDOW_S + 0.9)
    assert subject.take() == [], "not twice within a second"
    subject.run(WINDOW_S + 2.1)
    assert subject.take() == [SayHello()]


def test_another_hosts_question_serves_too() -> None:
    subject = Subject()
    subject.hear(9, here(introduce=False), HIGH_TAG)
    subject.hear(8, here(), HIGH_TAG)
    subject.run(10.0)
    assert [type(effect) for effect in subject.take()] == [Adopt]


def test_what_one_host_is_told_alone_and_what_it_says_itself_is_nothing() -> None:
    subject = Subject()
    subject.hear(9, here(), HIGH_TAG, multicast=False)
    subject.hear(5, here(), HIGH_TAG)
    subject.hear(3, Bye(handed_over=True), HIGH_TAG)
    assert subject.stage is Stage.LISTENING
    subject.run(1.5)
    assert subject.stage is Stage.FOUNDING


# ---- election --------------------------------------------------------------------------------------------------------


def test_a_host_that_hears_nobody_founds_after_the_window() -> None:
    subject = Subject().run(WINDOW_S - 0.01)
    assert subject.take() == []
    subject.run(WINDOW_S)
    found, look = subject.take()
    assert isinstance(found, Found)
    assert found.subnet.identity == OURS
    assert found.founded_at == WINDOW_S
    assert look == LookForOverlay()
    assert subject.founding.tag == found.subnet.tag != NO_TAG


@pytest.mark.parametrize(("others", "founds"), [([6, 7], True), ([4, 6], False), ([1], False)])
def test_the_smallest_name_seen_founds(others: list[int], founds: bool) -> None:
    subject = Subject()
    for number in others:
        subject.hear(number, HELLO)
    subject.run(WINDOW_S)
    assert subject.stage is (Stage.FOUNDING if founds else Stage.WAITING)


def test_who_only_listens_founds_nothing_and_is_not_waited_for() -> None:
    subject = Subject()
    subject.hear(1, Hello(overlay_hash=bytes(20)))
    subject.run(WINDOW_S)
    assert subject.stage is Stage.FOUNDING


def test_without_a_word_of_the_founder_the_next_one_founds_after_five_seconds() -> None:
    subject = Subject()
    subject.hear(1, HELLO)
    subject.run(WINDOW_S + PATIENCE_S - 0.01)
    assert subject.stage is Stage.WAITING
    subject.run(WINDOW_S + PATIENCE_S)
    assert subject.stage is Stage.FOUNDING


def test_of_dead_founders_two_are_waited_for_then_the_others_have_been_silent_for_too_long() -> None:
    subject = Subject()
    for number in (1, 2, 3, 4):
        subject.hear(number, HELLO)
    subject.run(WINDOW_S + 2 * PATIENCE_S - 0.01)
    assert subject.stage is Stage.WAITING
    subject.run(WINDOW_S + 2 * PATIENCE_S)
    assert subject.stage is Stage.FOUNDING


def test_a_founder_at_work_is_waited_for_but_not_for_ever() -> None:
    subject = Subject()
    for second in range(60):
        subject.run(float(second))
        if subject.stage is Stage.FOUNDING:
            break
        subject.hear(9, here(State.JOINING), HIGH_TAG)
    assert 30.0 <= subject.now <= 37.0


def test_who_comes_late_waits_for_a_founder_of_any_name() -> None:
    subject = Subject()
    subject.hear(9, here(State.JOINING), HIGH_TAG)
    subject.run(2.0)
    assert subject.stage is Stage.WAITING


@pytest.mark.parametrize(("tag", "stage"), [(LOW_TAG, Stage.WAITING), (HIGH_TAG, Stage.FOUNDING)])
def test_of_two_that_found_at_once_the_larger_tag_withdraws(tag: bytes, stage: Stage) -> None:
    subject = subject_in(Stage.FOUNDING)
    subject.hear(9, here(State.JOINING), tag)
    assert subject.stage is stage
    assert subject.take() == ([Withdraw()] if stage is Stage.WAITING else [])
    assert (subject.founding.subnet is None) == (stage is Stage.WAITING)


def test_who_remembers_a_subnet_founds_before_smaller_names_and_takes_it_up_again() -> None:
    kept = Kept(subnet=Subnet(THEIRS, HIGH_TAG), fingerprint=b"linklink", founded_s=1000.0, left_s=50.0)
    subject = Subject(kept)
    assert subject.founding.tag == HIGH_TAG, "others see by that that it remembers one"
    subject.hear(1, HELLO)
    subject.run(WINDOW_S)
    assert subject.take()[0] == Found(kept.subnet, WINDOW_S - 1050.0)
    other = Subject()
    other.hear(9, HELLO, HIGH_TAG)
    other.run(WINDOW_S)
    assert other.stage is Stage.WAITING


# ---- replication policy ----------------------------------------------------------------------------------------------


def test_a_founder_chooses_the_policy_and_a_joiner_adopts_it_with_the_subnet() -> None:
    founder = Subject(policy="full")
    founder.run(WINDOW_S)
    (found, _look) = founder.take()
    assert isinstance(found, Found)
    assert found.subnet.policy == "full"
    joiner = Subject(policy="single")
    joiner.hear(9, here(policy="full"), HIGH_TAG)
    assert joiner.take() == [Adopt(Subnet(THEIRS, HIGH_TAG, "full"), 0.0)]


def test_a_subnet_that_is_taken_up_again_has_the_policy_that_it_had() -> None:
    kept = Kept(subnet=Subnet(THEIRS, HIGH_TAG, "fixed:2"), fingerprint=b"linklink", founded_s=1000.0, left_s=50.0)
    subject = Subject(kept, policy="full")
    subject.run(WINDOW_S)
    assert subject.take()[0] == Found(kept.subnet, WINDOW_S - 1050.0)


def test_who_yields_to_another_subnet_takes_over_its_policy() -> None:
    subject = Subject(policy="full")
    subject.run(WINDOW_S)
    subject.founding.unreached(subject.now)
    subject.take()
    mine, theirs = subject.founding.tag, Subnet(THEIRS, HIGH_TAG, "fixed:2")
    subject.hear(9, here(founded_s=1000, policy="fixed:2"), HIGH_TAG)
    assert subject.take() == [Merged(mine, theirs), Adopt(theirs, subject.now - 1000.0), SayHello()]


# ---- overlay ---------------------------------------------------------------------------------------------------------


def test_a_founder_joins_the_overlay_that_the_server_names() -> None:
    subject = subject_in(Stage.FOUNDING)
    assert subject.founding.reached(b"ringring", 2.0) == [JoinRing(b"ringring")]
    assert subject.founding.ring_id == b"ringring"
    assert subject.run(10_000.0).take() == []


def test_without_an_overlay_the_founder_is_a_ring_and_looks_again_ever_more_rarely() -> None:
    subject = subject_in(Stage.FOUNDING)
    (ring,) = subject.founding.unreached(0.0)
    assert isinstance(ring, BeRing)
    assert ring.ring_id == subject.founding.ring_id
    times = []
    while len(times) < 8:
        subject.now = subject.founding.next_deadline()
        assert subject.founding.tick(subject.now) == [LookForOverlay()]
        times.append(subject.now)
        assert subject.founding.unreached(subject.now) == []
    waits = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


@pytest.mark.parametrize(("ring", "joins"), [(bytes(8), True), (b"\xff" * 8, False)])
def test_of_two_rings_that_meet_the_smaller_number_survives(ring: bytes, joins: bool) -> None:
    subject = subject_in(Stage.ALONE)
    mine = subject.founding.ring_id
    assert subject.founding.reached(ring, 40.0) == ([JoinRing(ring)] if joins else [])
    assert subject.founding.ring_id == (ring if joins else mine)
    assert subject.stage is Stage.SETTLED


def test_a_join_that_fails_leaves_a_ring_of_one() -> None:
    subject = subject_in(Stage.SETTLED)
    (ring,) = subject.founding.unreached(3.0)
    assert isinstance(ring, BeRing)
    assert subject.founding.next_deadline() == 33.0


def test_the_search_for_the_overlay_is_inherited() -> None:
    subject = subject_in(Stage.ADOPTED)
    assert subject.founding.inherit(b"ringring", 100.0) == []
    assert subject.founding.next_deadline() == 130.0
    assert subject.founding.tick(130.0) == [LookForOverlay()]
    assert subject_in(Stage.FOUNDING).founding.inherit(b"ringring", 2.0) == []


# ---- two foundings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.ALONE, Stage.SETTLED, Stage.ADOPTED])
def test_a_young_subnet_gives_way_to_a_smaller_tag(stage: Stage) -> None:
    for tag, yields in ((LOW_TAG, True), (HIGH_TAG, False)):
        subject = subject_in(stage)
        subject.hear(8, here(founded_s=2), tag)
        assert [type(effect) for effect in subject.take()] == ([Merged, Adopt, SayHello] if yields else [])


def test_an_old_subnet_does_not_give_way_here_nor_asks() -> None:
    subject = subject_in(Stage.SETTLED)
    subject.run(40.0)
    subject.hear(8, here(introduce=False), LOW_TAG)
    subject.hear(8, here(founded_s=1000), LOW_TAG)
    subject.run(50.0)
    assert subject.take() == []


def test_a_young_one_asks_a_ready_host_of_another_tag() -> None:
    subject = subject_in(Stage.SETTLED)
    subject.hear(8, here(introduce=False), HIGH_TAG)
    subject.run(5.0)
    assert subject.take() == [SayHello()]


@pytest.mark.parametrize("stage", [Stage.FOUNDING, Stage.ALONE, Stage.SETTLED, Stage.ADOPTED])
def test_a_subnet_whose_identifier_is_taken_is_founded_anew_with_its_tag_as_salt(stage: Stage) -> None:
    subject = subject_in(stage)
    former = subject.founding.subnet
    assert former is not None
    subject.effects += subject.founding.salt(100.0)
    found, look = subject.take()
    assert isinstance(found, Found)
    assert found.subnet.identity == former.identity.salted(former.tag)
    assert found.subnet.tag != former.tag
    assert found.founded_at == 100.0
    assert look == LookForOverlay()
    former_here = msgspec.structs.replace(here(founded_s=500), identity=former.identity)
    subject.hear(8, former_here, former.tag)
    assert subject.take() == [], "its siblings come after it, not it back to them"


def test_siblings_follow_at_once_however_old_they_are() -> None:
    subject = subject_in(Stage.ADOPTED)
    former = subject.founding.subnet
    assert former is not None
    subject.run(1000.0)
    salted = msgspec.structs.replace(here(founded_s=1), identity=former.salted)
    subject.hear(8, salted, LOW_TAG)
    assert [type(effect) for effect in subject.take()] == [Merged, Adopt, SayHello]
    assert subject.founding.subnet == Subnet(former.salted, LOW_TAG)


def test_memory_of_cold_hosts_is_bounded() -> None:
    subject = Subject()
    for number in range(6, 3000):
        subject.hear(number, HELLO)
    assert len(subject.founding._election._heard) == 1024
    subject.run(WINDOW_S)
    assert subject.stage is Stage.FOUNDING


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="patience_max_s"):
        FoundingConfig(patience_s=5.0, patience_max_s=4.0)
    with pytest.raises(ValueError, match="window_s"):
        FoundingConfig(window_s=0.0)
    with pytest.raises(ValueError, match="hosts_max"):
        FoundingConfig(hosts_max=0)
