import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.messages import State
from mdht.subnet.view import LIVE, NEW_START_ONLY, TRANSITIONS, Input, Member, View, rank

HID = b"hosthost"


def view_of(state: State, before: State = State.READY) -> tuple[View, Member]:
    view = View()
    member = Member(HID, 1, (("192.0.2.1", 4000),), state, 0.0)
    member.before = before
    view.add(member)
    return view, member


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("what", Input)
def test_every_pair_takes_the_step_of_the_table_or_none(state: State, what: Input) -> None:
    for incarnation in (0, 1, 2):
        view, member = view_of(state)
        epoch = view.epoch
        allowed = (state, what) in TRANSITIONS and incarnation > (1 if (state, what) in NEW_START_ONLY else 0)
        assert view.step(member, what, incarnation, 5.0) == allowed
        expected = TRANSITIONS[state, what] if allowed else state
        assert member.state is (State.READY if expected is None else expected)
        assert view.epoch == epoch + allowed
        assert member.incarnation == max(1, incarnation)


def test_nobody_comes_back_by_hearsay() -> None:
    gone = {State.DEAD, State.LEFT}
    own_words = {Input.JOINS, Input.IS_READY, Input.LEAVES, Input.GOODBYE, Input.SIGN_OF_LIFE}
    back = {what for (state, what), to in TRANSITIONS.items() if state in gone and (to is None or to in LIVE)}
    assert back <= own_words
    assert TRANSITIONS.keys() >= NEW_START_ONLY


@given(st.lists(st.tuples(st.sampled_from(Input), st.integers(0, 4)), max_size=40))
def test_an_incarnation_never_falls_and_the_epoch_counts_changes(steps: list[tuple[Input, int]]) -> None:
    view, member = view_of(State.JOINING, State.JOINING)
    for what, incarnation in steps:
        known, epoch, state = member.incarnation, view.epoch, member.state
        changed = view.step(member, what, incarnation, 1.0)
        assert member.incarnation == max(known, incarnation)
        assert view.epoch == epoch + changed
        assert changed or member.state is state
        assert member.before is not State.SUSPECT or member.state is not State.SUSPECT


def test_siblings_with_the_same_live_members_have_one_hash() -> None:
    first, _ = view_of(State.READY)
    second, suspect = view_of(State.READY)
    second.add(Member(b"gonegone", 1, (), State.LEFT, 0.0))
    second.step(suspect, Input.ACCUSED, 1, 1.0)
    assert first.hash(b"me", 1) == second.hash(b"me", 1), "a suspicion or a tombstone is no difference"
    second.step(suspect, Input.UNREFUTED, 1, 2.0)
    assert first.hash(b"me", 1) != second.hash(b"me", 1)


def test_tombstones_fall_those_of_the_dead_later() -> None:
    view, _ = view_of(State.READY)
    view.add(Member(b"leftleft", 1, (), State.LEFT, 10.0))
    view.add(Member(b"deaddead", 1, (), State.DEAD, 10.0))
    view.forget(left_before=11.0, dead_before=5.0)
    assert {member.hid for member in view} == {HID, b"deaddead"}
    view.forget(left_before=11.0, dead_before=11.0)
    assert {member.hid for member in view} == {HID}


@given(st.sets(st.binary(min_size=8, max_size=8), min_size=2, max_size=20), st.binary(min_size=8, max_size=8))
def test_without_one_host_the_others_keep_their_order(hids: set[bytes], subject: bytes) -> None:
    ranked = rank(subject, sorted(hids))
    gone = ranked[0]
    assert rank(subject, [hid for hid in hids if hid != gone]) == ranked[1:]
