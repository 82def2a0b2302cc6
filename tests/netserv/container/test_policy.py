"""Back-off and strikes."""

import pytest

from netserv.container.policy import STRIKES_MAX, STRIKES_WITHIN_S, Backoff, Strikes, starts_again


def test_waits_double_up_to_a_minute() -> None:
    backoff = Backoff()
    waits = []
    now = 0.0
    for _ in range(9):
        backoff.started(now)
        now += 1.0
        waits.append(backoff.died(now))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_container_that_has_lived_a_minute_begins_again() -> None:
    backoff = Backoff()
    for now in range(5):
        backoff.started(now)
        backoff.died(now + 0.5)
    backoff.started(10.0)
    assert backoff.died(70.0) == 1.0


def test_a_container_that_never_started_waits_longer_each_time() -> None:
    backoff = Backoff()
    backoff.started(0.0)
    assert [backoff.died(1.0), backoff.died(2.0), backoff.died(4.0)] == [1, 2, 4]


def test_so_many_strikes_within_a_minute_are_too_many() -> None:
    strikes = Strikes()
    assert not any(strikes.add(float(at)) for at in range(STRIKES_MAX - 1))
    assert strikes.add(STRIKES_MAX + 0.0)
    strikes.forget()
    assert not strikes.add(STRIKES_MAX + 1.0)
    assert strikes.total == STRIKES_MAX + 1


def test_strikes_far_apart_are_forgiven() -> None:
    strikes = Strikes()
    apart = STRIKES_WITHIN_S / (STRIKES_MAX - 1)
    assert not any(strikes.add(at * apart) for at in range(100))


@pytest.mark.parametrize(("policy", "again"), [("open", False), ("closed", False), ("reload", True)])
def test_only_reload_comes_back_by_itself(policy: str, again: bool) -> None:
    assert starts_again(policy) is again  # type: ignore[arg-type]
