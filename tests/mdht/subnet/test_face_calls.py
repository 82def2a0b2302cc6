import math
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dhtboot.rtt import RttEstimator
from mdht.messages import Get
from mdht.subnet.face_call import Call
from mdht.subnet.face_calls import CallKey, Calls
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Asked
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.hostset_config import HostSetConfig
from tests.mdht.subnet.hostset_nodes import NOW, node_with

FACE = FaceConfig(hosts=HostSetConfig(allow_private=True))


class Request:
    """A call whose times the test says."""

    def __init__(self, due_at: float) -> None:
        self.due_at = due_at
        self.over = False
        self.needs_pull = False

    def next_deadline(self) -> float:
        return self.due_at


def key_of(number: int) -> CallKey:
    return pseudo_address(number << 32), number


ASKED = Asked(number=1, question=Get(bytes(20)))


def real_call(*hosts: int) -> Call:
    rtt = RttEstimator(FACE.timeouts)
    return Call(key_of(1)[0], node_with(*hosts), ASKED, receipt=False, asker=None, config=FACE, rtt=rtt, rng=Random(1))


times = st.integers(1, 20).map(float) | st.just(math.inf)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), times),
        st.tuples(st.just("move"), st.integers(0, 3), times),
        st.tuples(st.just("put off"), st.integers(0, 3), st.integers(0, 5)),
        st.tuples(st.just("end"), st.integers(0, 3), st.none()),
        st.tuples(st.just("wait"), st.integers(0, 9), st.none()),
    ),
    max_size=40,
)


@given(STEPS)
def test_each_call_is_looked_at_in_its_time_and_no_other(steps: list[tuple[str, int, float]]) -> None:
    calls, under_way, now = Calls(), {}, 0.0
    for what, number, value in steps:
        key = key_of(number)
        call = under_way.get(key)
        match what:
            case "add":
                call = under_way[key] = Request(now + value)
                calls.add(key, call)  # type: ignore[arg-type]
                assert not calls.look_at(key, call)  # type: ignore[arg-type]
            case "move" if call is not None:
                call.due_at = now + value
                assert not calls.look_at(key, call)  # type: ignore[arg-type]
            case "put off" if call is not None:
                call.due_at += value  # without a word
            case "end" if call is not None:
                call.over = True
                assert calls.look_at(key, call)  # type: ignore[arg-type]
                del under_way[key]
            case "wait":
                now += number
                due = {key for key, call in under_way.items() if call.due_at <= now}
                seen = []
                for found, looked_at in calls.due(now):
                    seen.append(found)
                    looked_at.due_at = now + 3.0  # type: ignore[attr-defined]
                    calls.look_at(found, looked_at)
                assert sorted(seen) == sorted(due), "each once"
        assert calls.next_deadline() == min([call.due_at for call in under_way.values()], default=math.inf)
        assert len(calls) == len(under_way)
        assert set(calls) == set(under_way.values())
        assert all(calls.get(key) is call for key, call in under_way.items())


def test_a_call_that_is_over_is_told_to_be_so_once_and_only_of_the_one_in_the_table() -> None:
    calls = Calls()
    first, second = Request(5.0), Request(6.0)
    calls.add(key_of(1), first)  # type: ignore[arg-type]
    calls.add(key_of(1), second)  # type: ignore[arg-type]
    first.over = second.over = True
    assert not calls.look_at(key_of(1), first), "another one has its number by now"  # type: ignore[arg-type]
    assert calls.look_at(key_of(1), second)  # type: ignore[arg-type]
    assert not calls.look_at(key_of(1), second)  # type: ignore[arg-type]
    assert calls.get(key_of(1)) is None


def test_those_in_need_of_a_node_are_those_to_it_that_wait_for_its_neighbours() -> None:
    calls = Calls()
    node = key_of(1)[0]
    needy, patient, elsewhere = real_call(1), real_call(1), real_call(1)
    elsewhere.to = key_of(2)[0]
    needy.needs_pull = elsewhere.needs_pull = True
    for number, call in enumerate((needy, patient, elsewhere)):
        calls.add((call.to, number), call)
    assert calls.in_need_of(node) == [((node, 0), needy)]


def test_a_real_call_is_in_the_table_until_its_last_silent_host_has_been_waited_for() -> None:
    calls, call = Calls(), real_call(1, 2)
    key = (call.to, 7)
    calls.add(key, call)
    (first,) = call.start(NOW)
    calls.look_at(key, call)
    deadline = calls.next_deadline()
    assert deadline == pytest.approx(NOW + FACE.timeouts.initial_s)
    assert list(calls.due(deadline - 0.01)) == []
    ((found, due),) = calls.due(deadline)
    assert (found, due) == (key, call)
    (second,) = due.tick(deadline)
    assert second.hid != first.hid
    assert not calls.look_at(key, due)
    assert call.on_answer(second.hid, deadline + 0.1)
    assert calls.look_at(key, call)
    assert len(calls) == 0
    assert calls.next_deadline() == math.inf


def test_what_is_forgotten_leaves_no_deadlines_behind() -> None:
    calls = Calls()
    for number in range(1000):
        call = Request(float(number))
        calls.add(key_of(number), call)  # type: ignore[arg-type]
        calls.look_at(key_of(number), call)  # type: ignore[arg-type]
        call.over = True
        calls.look_at(key_of(number), call)  # type: ignore[arg-type]
    assert calls.next_deadline() == math.inf
    assert calls._deadlines == []


TIME, PULLED = ("time", None), ("pulled", None)
ANSWERS, SILENT = ("answers elsewhere", 1), ("silent elsewhere", 1)
EVENTS = st.lists(
    st.one_of(
        st.just(TIME),
        st.tuples(st.just("silent elsewhere"), st.integers(1, 3)),
        st.tuples(st.just("answers elsewhere"), st.integers(1, 3)),
        st.just(PULLED),
    ),
    max_size=40,
)


@given(st.sets(st.integers(1, 3), min_size=1), EVENTS)
@example(
    {1}, [*[TIME, PULLED] * 2, ANSWERS, PULLED, SILENT, ANSWERS, SILENT, TIME, ANSWERS, TIME, *[SILENT] * 6, PULLED]
)
def test_whatever_hosts_say_to_others_meanwhile_a_call_ends(
    hosts: set[int], events: list[tuple[str, int | None]]
) -> None:
    call, now = real_call(*sorted(hosts)), NOW
    call.start(now)
    known = [host.hid for host in call.node.usable]
    for what, number in events:
        if what == "silent elsewhere" and number is not None:
            call.node.silent(known[number % len(known)], now, now + 1.0)
            now += 1.0
        elif what == "answers elsewhere" and number is not None:
            call.node.answered(known[number % len(known)], now)
        elif what == "pulled":
            call.pulled(now)
        elif not math.isinf(call.next_deadline()):
            now = max(now, call.next_deadline())
            call.tick(now)
    for _ in range(100):
        if call.failed:
            return
        if call.needs_pull:
            call.pulled(now)
        else:
            now = max(now, call.next_deadline())
            call.tick(now)
    raise AssertionError("it never ends")
