import math

from hypothesis import given
from hypothesis import strategies as st

from z2z.mdns.budget import SAY_AGAIN_S, BudgetWatch
from z2z.mdns.messages import MdnsMessage
from z2z.mdns.outbox import PACE_PACKETS, Outbox, burst_of


def message(number: int) -> MdnsMessage:
    return MdnsMessage(id=number)


def sent(outbox: Outbox, start: float, seconds: float) -> list[tuple[float, int]]:
    """What goes out when the outbox is asked at its own deadlines."""
    found = []
    now = start
    while (now := max(now, outbox.next_deadline())) <= start + seconds:
        before = outbox.backlog
        taken = outbox.take(now)
        assert taken or outbox.backlog < before, "a deadline at which nothing can be done is a busy loop"
        found += [(now, each.id) for each in taken]
    return found


def test_a_full_queue_leaves_at_the_rate_of_the_budget_and_nothing_of_it_is_lost():
    outbox = Outbox(1_200, 400, 2.0)
    for number in range(1_000):
        outbox.push(message(number))
    found = sent(outbox, 1_000.0, 60)
    assert [number for _, number in found] == list(range(1_000))
    assert sum(when < 1_001 for when, _ in found) <= 400 + 20
    assert round(found[-1][0] - 1_000) == 30
    assert outbox.drops == 0
    assert 550 <= outbox.delays <= 600


def test_what_only_we_can_say_goes_before_answers_and_defence_before_all():
    outbox = Outbox(60, 4, 100.0)
    outbox.push_answer(message(1), 0)
    outbox.push(message(2))
    outbox.push_defence(message(3), 0)
    outbox.push_last(message(4))
    assert [each.id for each in outbox.take(0)] == [3, 2, 1, 4]


def test_defence_does_not_wait_for_a_budget_that_answers_have_used_up():
    outbox = Outbox(60, 4, 2.0)
    for number in range(10):
        outbox.push_answer(message(number), 0)
    assert len(outbox.take(0)) == 4
    outbox.push_defence(message(99), 0.1)
    assert outbox.next_deadline() <= 0.1
    assert [each.id for each in outbox.take(0.1)] == [99]
    assert outbox.delays == 6


def test_a_flood_of_probes_gets_a_burst_more_and_then_the_rate():
    outbox = Outbox(60, 4, 2.0)
    for number in range(100):
        outbox.push_defence(message(number), 0)
    found = sent(outbox, 0, 10)
    assert [number for _, number in found] == list(range(10))
    assert outbox.drops == 90


def test_late_answers_are_dropped_while_others_wait():
    outbox = Outbox(60, 1, 2.0)
    for number in range(3):
        outbox.push(message(number))
        outbox.push_answer(message(10 + number), 0)
    assert [number for _, number in sent(outbox, 0, 10)] == [0, 1, 2]
    assert (outbox.drops, outbox.backlog) == (3, 0)


def test_a_goodbye_that_is_repeated_leaves_after_the_answer_that_it_is_about():
    outbox = Outbox(60, 1, 10.0)
    outbox.take(0)
    outbox.spend(0, 1)
    outbox.push_answer(message(1), 0)
    outbox.push_last(message(2))
    outbox.push(message(3))
    assert [number for _, number in sent(outbox, 0, 10)] == [3, 1, 2]


steps = st.one_of(
    st.tuples(st.sampled_from(["own", "answer", "defence", "last"]), st.integers(1, 40)),
    st.tuples(st.just("wait"), st.floats(0.001, 3)),
    st.tuples(st.just("goodbye"), st.integers(1, 30)),
)


@given(st.integers(60, 6_000), st.lists(steps, max_size=30), st.floats(1, 1e6))
def test_in_any_time_no_more_leaves_than_the_budget_and_two_bursts(rate, work, start):
    outbox = Outbox(rate, burst_of(rate), 2.0)
    now, number, found, lasting = start, 0, [], set()
    for kind, amount in [*work, ("wait", 3.0)]:
        if kind == "wait":
            found += sent(outbox, now, amount)
            now += amount
        elif kind == "goodbye":
            outbox.spend(now, amount)
        else:
            for _ in range(amount):
                number += 1
                if kind in {"own", "last"}:
                    lasting.add(number)
                    (outbox.push if kind == "own" else outbox.push_last)(message(number))
                else:
                    (outbox.push_answer if kind == "answer" else outbox.push_defence)(message(number), now)
    for index, (when, _) in enumerate(found):
        later = found[index:]
        span_s = later[-1][0] - when
        assert len(later) <= 2 * burst_of(rate) + span_s * rate / 60 + 1
    assert len({each for _, each in found}) == len(found)
    assert number == len(found) + outbox.drops + outbox.backlog
    drained = {each for _, each in found} | {each for _, each in sent(outbox, now, 60.0 * number)}
    assert lasting <= drained
    assert outbox.next_deadline() == math.inf


def test_packets_are_paced():
    outbox = Outbox(6_000, 2_000, 2.0)
    for number in range(100):
        outbox.push(message(number))
    assert len(outbox.take(0)) == PACE_PACKETS
    assert outbox.take(0.001) == []
    assert outbox.delays == 0, "pacing is no want of budget"


def test_the_user_is_told_that_the_budget_is_used_up_but_not_all_the_time():
    outbox, watch = Outbox(60, 2, 2.0), BudgetWatch("eth0", 60)
    assert watch.look(outbox, 0) == ""
    for number in range(5):
        outbox.push(message(number))
        outbox.push_answer(message(number), 0)
    sent(outbox, 0, 4)
    said = watch.look(outbox, 4)
    assert "link eth0: the budget of 60 multicast packets a minute is used up: 8 waited for it, 5 answers" in said
    assert "--multicast-max" in said
    outbox.afford(4)
    outbox.afford(4)
    assert watch.look(outbox, 5) == ""
    assert "0 waited for it, 1 answers" in watch.look(outbox, 4 + SAY_AGAIN_S)
    assert watch.look(outbox, 5 + 2 * SAY_AGAIN_S) == ""
