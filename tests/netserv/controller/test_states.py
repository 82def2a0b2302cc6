"""The table of one installation: its form, and what the docs show of it."""

from netserv.controller.states import PREPARING, RUNNING, TRANSITIONS, Action, Input, State


def test_every_state_is_reached_and_left_and_every_input_and_action_is_used() -> None:
    reached = {after for after, _ in TRANSITIONS.values()} | {State.NEW}
    left = {state for state, _ in TRANSITIONS} | {State.GONE}
    assert reached == left == set(State)
    assert {what for _, what in TRANSITIONS} == set(Input)
    assert {action for _, action in TRANSITIONS.values()} == set(Action)


def test_an_end_leads_out_of_every_state_that_has_begun() -> None:
    for state in State:
        if state in {State.NEW, State.GONE}:
            continue
        after, action = TRANSITIONS[state, Input.END]
        if state in RUNNING:
            assert (after, action) == (State.REMOVING, Action.UNINSTALL)
        elif state in PREPARING:
            assert (after, action) == (State.GONE, Action.ABANDON)
        else:
            assert after in {State.REMOVING, State.GONE}


def test_what_was_loaded_is_gone_or_failed_only_after_it_was_removed() -> None:
    for (state, what), (after, _action) in TRANSITIONS.items():
        if state is State.ACTIVE:
            assert after in {State.ACTIVE, State.REMOVING}
        if state is State.REMOVING and after is not State.REMOVING:
            assert what in {Input.REMOVED, Input.REMOVED_BROKEN}


def test_nothing_is_installed_that_was_not_fetched_and_verified() -> None:
    for (state, what), (after, _action) in TRANSITIONS.items():
        if after is State.INSTALLING:
            assert (state, what) in {
                (State.VERIFYING, Input.VERIFIED),
                (State.GATHERING, Input.COMPLETE),
                (State.WAITING, Input.PLACE_FREE),
            }
        if after is State.WAITING:
            assert (state, what) in {
                (State.VERIFYING, Input.VERIFIED_BEHIND),
                (State.GATHERING, Input.COMPLETE_BEHIND),
            }
        if after is State.GATHERING:
            assert what is Input.LACKING
            assert state in {State.VERIFYING, State.GATHERING}
        if after is State.VERIFYING:
            assert (state, what) == (State.FETCHING, Input.FETCHED)
