import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.modules.blocks import timers as block
from netserv.modules.blocks.timers import OneTimer, Timers


def called(timers: Timers, now: float) -> list[object]:
    return [function() for function in timers.due(now)]


def test_what_is_due_comes_in_its_order() -> None:
    timers = Timers()
    assert timers.next_deadline() == math.inf
    timers.after(10.0, 2.0, lambda: "late")
    timers.after(10.0, 1.0, lambda: "early")
    timers.after(10.0, 1.0, lambda: "early too")
    assert timers.next_deadline() == 11.0
    assert called(timers, 10.9) == []
    assert called(timers, 12.0) == ["early", "early too", "late"]
    assert called(timers, 99.0) == []


def test_a_repeated_call_does_not_make_up_for_missed_times() -> None:
    timers = Timers()
    timer = timers.every(0.0, 1.0, lambda: "tick")
    assert called(timers, 1.0) == ["tick"]
    assert timers.next_deadline() == 2.0
    assert called(timers, 7.5) == ["tick"]
    assert timers.next_deadline() == 8.5
    timer.cancel()
    assert timer.cancelled
    assert timers.next_deadline() == math.inf


def test_a_call_may_cancel_another_that_is_due() -> None:
    timers = Timers()
    others: list[OneTimer] = []
    timers.after(0.0, 1.0, lambda: others.pop().cancel())
    others.append(timers.after(0.0, 1.0, lambda: "never"))
    assert called(timers, 1.0) == [None]


def test_an_interval_has_a_least_length_and_a_time_is_to_come() -> None:
    timers = Timers()
    timers.every(0.0, 0.0, lambda: None)
    assert timers.next_deadline() == 0.01
    for seconds in (-1.0, math.inf, math.nan):
        with pytest.raises(LocalProtocolError, match="0 or more are possible"):
            timers.after(0.0, seconds, lambda: None)


def test_cancelled_timers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "TIMERS_MAX", 3)
    timers = Timers()
    kept = [timers.after(0.0, 1.0, lambda: None) for _ in range(3)]
    with pytest.raises(LocalProtocolError, match="more than 3 timers"):
        timers.after(0.0, 1.0, lambda: None)
    kept[0].cancel()
    timers.after(0.0, 1.0, lambda: None)
    assert len(timers) == 3


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.floats(0, 120), max_size=10))
def test_each_is_called_once_and_never_early(delays: list[float], times: list[float]) -> None:
    timers = Timers()
    for delay in delays:
        timers.after(0.0, delay, lambda delay=delay: delay)
    seen: list[object] = []
    for now in sorted(times):
        for delay in called(timers, now):
            assert isinstance(delay, float)
            assert delay <= now
            seen.append(delay)
    seen += called(timers, 1_000.0)
    assert seen == sorted(delays)
