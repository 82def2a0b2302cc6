import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.limits import SourceLimiter


def test_a_source_spends_its_burst_then_earns_its_rate() -> None:
    limiter = SourceLimiter(rate=2.0, burst=3.0)
    assert [limiter.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert limiter.wait_s("a", 0.0) == pytest.approx(0.5)
    assert not limiter.take("a", 0.49)
    assert limiter.take("a", 0.5)
    assert not limiter.take("a", 0.5)


def test_sources_do_not_share_tokens() -> None:
    limiter = SourceLimiter(rate=1.0, burst=1.0)
    assert limiter.take("a", 0.0)
    assert limiter.take("b", 0.0)
    assert not limiter.take("a", 0.0)


def test_silence_never_saves_more_than_the_burst() -> None:
    limiter = SourceLimiter(rate=1.0, burst=2.0)
    assert limiter.take("a", 0.0)
    assert [limiter.take("a", 1000.0) for _ in range(3)] == [True, True, False]


def test_the_source_silent_for_longest_is_forgotten_first() -> None:
    limiter = SourceLimiter(rate=0.001, burst=1.0, sources_max=2)
    assert limiter.take("a", 0.0)
    assert limiter.take("b", 1.0)
    assert not limiter.take("a", 2.0)
    assert limiter.take("c", 3.0)  # pushes out b
    assert not limiter.take("a", 4.0)
    assert limiter.take("b", 5.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60))
def test_nobody_gets_more_than_burst_and_rate(asks: list[tuple[str, float]]) -> None:
    limiter = SourceLimiter(rate=3.0, burst=4.0)
    now = 0.0
    got: dict[str, int] = {}
    for source, pause in asks:
        now += pause
        if limiter.take(source, now):
            got[source] = got.get(source, 0) + 1
        else:
            assert limiter.wait_s(source, now) > 0
        assert got.get(source, 0) <= 4.0 + 3.0 * now + 1e-6
