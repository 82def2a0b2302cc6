import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.limits import TokenBuckets, token_buckets


def test_a_member_spends_its_burst_then_earns_its_rate() -> None:
    buckets = TokenBuckets(rate_per_s=2.0, burst=3, members_max=8)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.25) == pytest.approx(0.25)
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == pytest.approx(0.5)


def test_silence_never_saves_more_than_the_burst() -> None:
    buckets = TokenBuckets(rate_per_s=1.0, burst=2.0)
    assert buckets.take("a", 0.0) == 0.0
    assert [buckets.take("a", 1000.0) == 0.0 for _ in range(3)] == [True, True, False]


def test_the_member_silent_for_longest_is_forgotten_first() -> None:
    buckets = TokenBuckets(rate_per_s=0.001, burst=1.0, members_max=2)
    for member in ("a", "b", "a", "c"):  # c pushes out b
        buckets.take(member, 0.0)
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0.0


def test_without_a_rate_there_is_no_limit_and_nothing_is_remembered() -> None:
    buckets = TokenBuckets(rate_per_s=0.0, burst=1.0)
    assert all(buckets.take("a", 0.0) == 0.0 for _ in range(100))
    assert len(buckets) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5)), max_size=60))
def test_members_are_bounded_and_never_exceed_burst_plus_rate(takes: list[tuple[int, float]]) -> None:
    buckets = TokenBuckets(rate_per_s=1.0, burst=2, members_max=6)
    now, admitted = 0.0, [0] * 10
    for member, pause in takes:
        now += pause
        wait_s = buckets.take(member, now)
        admitted[member] += wait_s == 0.0
        assert wait_s <= 1.0
    assert len(buckets) <= 6


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 5)), max_size=60))
def test_nobody_gets_more_than_burst_and_rate(takes: list[tuple[int, float]]) -> None:
    buckets = TokenBuckets(rate_per_s=3.0, burst=4.0)
    now, admitted = 0.0, [0] * 3
    for member, pause in takes:
        now += pause
        admitted[member] += buckets.take(member, now) == 0.0
        assert admitted[member] <= 4.0 + 3.0 * now + 1e-6


def test_nodes_without_a_limit_share_buckets_that_remember_nobody() -> None:
    unlimited = token_buckets(rate_per_s=0.0, burst=5.0)
    assert unlimited is token_buckets(rate_per_s=0.0, burst=1.0)
    assert [unlimited.take("a", 0.0, wanted=1000.0) for _ in range(3)] == [0.0] * 3
    assert len(unlimited) == 0


def test_nodes_with_a_limit_have_buckets_of_their_own() -> None:
    one, other = (token_buckets(rate_per_s=1.0, burst=1.0) for _ in range(2))
    assert one.take("a", 0.0) == other.take("a", 0.0) == 0.0
    assert one.take("a", 0.0) > 0
