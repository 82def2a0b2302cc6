import math

from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.timers import Timers


@given(st.lists(st.floats(0.0, 100.0)), st.lists(st.floats(0.0, 100.0)))
def test_calls_are_made_when_due_in_the_order_of_their_times(times: list[float], looks: list[float]) -> None:
    timers = Timers()
    made: list[tuple[float, int]] = []
    for number, when in enumerate(times):
        timers.at(when, lambda _now, number=number, when=when: made.append((when, number)))  # type: ignore[misc]
    for now in sorted(looks):
        timers.tick(now)
        assert made == sorted((when, number) for number, when in enumerate(times) if when <= now)
        assert timers.next_deadline() == min((when for when in times if when > now), default=math.inf)


def test_a_call_may_ask_for_another_one() -> None:
    timers = Timers()
    made: list[float] = []

    def again(now: float) -> None:
        made.append(now)
        if len(made) < 3:
            timers.at(now + 1.0, again)

    timers.at(1.0, again)
    for now in (1.0, 2.0, 3.0, 4.0):
        timers.tick(now)
    assert made == [1.0, 2.0, 3.0]
    assert timers.next_deadline() == math.inf
