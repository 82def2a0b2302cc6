import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.following import Following
from mdht.subnet.node_state import NodeState
from tests.mdht.subnet.state_network import id_of, neighbours_of

ASK_S, ASKS_MAX, GATHER_S = 0.3, 5, 0.05


def following() -> Following:
    return Following(ask_s=ASK_S, asks_max=ASKS_MAX, gather_s=GATHER_S)


def state_of(*numbers: int, epoch: int = 1) -> NodeState:
    return NodeState(ring_id=b"ringring", epoch=epoch, author=b"hosthost", neighbours=neighbours_of(numbers))


def all_known(_node_id: bytes) -> bool:
    return True


def none_known(_node_id: bytes) -> bool:
    return False


def run(subject: Following, known: set[int], until: float, now: float = 0.0) -> tuple[NodeState | None, float, int]:
    """Drive it as its driver does: what it came to, when, and after how many questions."""
    asked = 0
    while subject.next_deadline() <= until:
        assert subject.next_deadline() >= now, "time goes on"
        now = subject.next_deadline()
        state = subject.complete({id_of(number) for number in known}.__contains__, now)
        if state is not None:
            return state, now, asked
        asked += subject.asks(now, anybody=True)
        assert subject.next_deadline() > now, "or its driver would never sleep"
    return None, until, asked


def test_nothing_is_followed_that_was_not_told() -> None:
    subject = following()
    assert not subject.under_way
    assert subject.next_deadline() == math.inf
    assert subject.complete(all_known, 1.0) is None
    assert not subject.asks(1.0, anybody=True)


def test_a_change_is_followed_at_once_where_all_its_neighbours_are_known_and_only_once() -> None:
    subject = following()
    subject.told(state_of(1, 2), 1.0)
    assert subject.under_way
    assert subject.complete(all_known, 1.0) == state_of(1, 2)
    assert not subject.under_way
    assert subject.complete(all_known, 1.1) is None
    assert subject.next_deadline() == math.inf


def test_a_sibling_is_asked_for_what_is_lacking_and_not_before_the_teller_has_had_its_time() -> None:
    subject = following()
    subject.told(state_of(1, 2), 1.0)
    assert subject.complete({id_of(1)}.__contains__, 1.0) is None
    assert not subject.asks(1.29, anybody=True)
    assert subject.asks(1.3, anybody=True)
    assert not subject.asks(1.3, anybody=True), "not twice"
    assert subject.complete({id_of(1), id_of(2)}.__contains__, 1.4) == state_of(1, 2)


def test_of_neighbours_that_nobody_knows_no_more_is_asked_than_so_often() -> None:
    subject = following()
    subject.told(state_of(1, 2), 0.0)
    state, at, asked = run(subject, {1}, 10.0)
    assert (state, asked) == (state_of(1, 2), ASKS_MAX)
    assert at == pytest.approx(ASK_S * (ASKS_MAX + 1))


def test_the_answer_to_the_last_question_may_come_in_parts() -> None:
    subject = following()
    subject.told(state_of(1, 2), 0.0)
    state, now, asked = run(subject, set(), ASK_S * (ASKS_MAX + 0.5))
    assert (state, asked) == (None, ASKS_MAX)
    assert subject.complete({id_of(1)}.__contains__, now) is None
    assert subject.complete({id_of(1), id_of(2)}.__contains__, now) == state_of(1, 2)


def test_a_newer_state_begins_anew() -> None:
    subject = following()
    subject.told(state_of(1), 0.0)
    assert run(subject, set(), ASK_S * 5.5)[2] == 5
    subject.told(state_of(2, epoch=2), 2.0)
    assert subject.complete(none_known, 2.0) is None
    assert run(subject, set(), 10.0, now=2.0)[0] == state_of(2, epoch=2)


def test_who_begins_asks_at_once_and_gathers_what_the_sibling_tells_beside() -> None:
    subject = following()
    subject.begin(1.0)
    assert subject.begins
    assert subject.next_deadline() == 1.0
    assert subject.complete(all_known, 1.0) is None
    assert subject.asks(1.0, anybody=True)
    subject.told(state_of(1), 1.01)
    assert subject.complete(all_known, 1.05) is None, "the entries come one by one"
    assert subject.next_deadline() == pytest.approx(1.06)
    assert subject.complete(all_known, 1.07) == state_of(1)
    assert not subject.begins


def test_a_change_while_it_gathers_does_not_put_it_off() -> None:
    subject = following()
    subject.begin(1.0)
    assert subject.asks(1.0, anybody=True)
    subject.told(state_of(1), 1.01)
    subject.told(state_of(2, epoch=2), 1.05)
    assert subject.complete(all_known, 1.07) == state_of(2, epoch=2)


def test_who_begins_and_lacks_something_still_sleeps_between_its_questions() -> None:
    subject = following()
    subject.begin(0.0)
    assert subject.asks(0.0, anybody=True)
    subject.told(state_of(1), 0.01)
    state, _, asked = run(subject, set(), 10.0)
    assert (state, asked) == (state_of(1), ASKS_MAX)


def test_who_hears_from_nobody_asks_on() -> None:
    subject = following()
    subject.begin(0.0)
    state, _, asked = run(subject, set(), 10.0)
    assert state is None
    assert asked == pytest.approx(10.0 / ASK_S, abs=2)


def test_questions_that_nobody_has_answered_do_not_count_when_somebody_tells_at_last() -> None:
    subject = following()
    subject.begin(0.0)
    run(subject, set(), 10.0)
    subject.told(state_of(1), 10.0)
    state, at, asked = run(subject, set(), 20.0, now=10.0)
    assert (state, asked) == (state_of(1), ASKS_MAX)
    assert at >= 10.0 + ASK_S * ASKS_MAX


def test_as_long_as_there_is_nobody_to_ask_that_is_no_question_but_looked_up_soon() -> None:
    subject = following()
    subject.begin(1.0)
    assert not subject.asks(1.0, anybody=False)
    assert subject.under_way
    assert subject.next_deadline() == pytest.approx(1.0 + GATHER_S)
    assert subject.asks(1.0 + GATHER_S, anybody=True)
    assert subject.next_deadline() == pytest.approx(1.0 + GATHER_S + ASK_S)


def test_many_changes_do_not_put_off_the_questions_of_one_that_begins() -> None:
    subject = following()
    subject.begin(0.0)
    assert subject.asks(0.0, anybody=True)
    asked = []
    for epoch in range(1, 40):
        now = 0.1 * epoch
        subject.told(state_of(epoch, epoch=epoch), now)
        state = subject.complete(none_known, now)
        if state is not None:
            break
        asked += [now] if subject.asks(now, anybody=True) else []
    assert state is not None, "it does not wait for ever"
    assert len(asked) == ASKS_MAX


def test_when_there_is_nobody_to_follow_nothing_is_left() -> None:
    subject = following()
    subject.begin(0.0)
    subject.told(state_of(1), 0.0)
    subject.stop()
    assert not subject.begins
    assert not subject.under_way
    assert subject.next_deadline() == math.inf
    assert subject.complete(all_known, 9.0) is None


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.just(frozenset())),
        st.tuples(st.just("told"), st.frozensets(st.integers(0, 5), max_size=4)),
        st.tuples(st.just("learnt"), st.frozensets(st.integers(0, 5), max_size=2)),
        st.tuples(st.sampled_from(["0.02", "0.2", "0.5"]), st.just(frozenset())),
    ),
    max_size=40,
)


@given(EVENTS)
def test_it_never_follows_before_all_neighbours_are_known_unless_it_has_asked_often_enough(
    events: list[tuple[str, frozenset[int]]],
) -> None:
    subject, now, epoch = following(), 0.0, 0
    known: set[int] = set()
    wanted: frozenset[int] | None = None
    gathers_until, asked, asked_at = -math.inf, 0, -math.inf

    def look() -> None:
        nonlocal asked, asked_at, wanted
        state = subject.complete({id_of(number) for number in known}.__contains__, now)
        if state is not None:
            assert wanted is not None, "once"
            assert state.epoch == epoch, "the newest"
            assert wanted <= known or (asked >= ASKS_MAX and now >= asked_at + ASK_S)
            assert now >= gathers_until
            assert not subject.under_way
            wanted = None
        if subject.asks(now, anybody=True):
            asked, asked_at = asked + 1, now

    for what, numbers in events:
        match what:
            case "begin":
                subject.begin(now)
                wanted, gathers_until = None, math.inf
            case "told":
                epoch += 1
                if wanted is None or not subject.begins:
                    asked = 0
                subject.told(state_of(*sorted(numbers), epoch=epoch), now)
                wanted = numbers
                gathers_until = min(gathers_until, now + GATHER_S)
            case "learnt":
                known |= numbers
                look()
            case seconds:
                until = now + float(seconds)
                while subject.next_deadline() <= until:
                    now = max(now, subject.next_deadline())
                    look()
                now = until
