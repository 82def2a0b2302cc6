from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.ring import CIRCLE, between, between_or_at_end, clockwise

SMALL = st.integers(0, 15)


@given(SMALL, SMALL, SMALL)
def test_between_is_what_one_meets_on_the_way(identifier: int, low: int, high: int) -> None:
    met = []
    at = (low + 1) % 16
    while at != high:
        met.append(at)
        at = (at + 1) % 16
    assert between(identifier, low, high) == (identifier in met)
    assert between_or_at_end(identifier, low, high) == (identifier in [*met, high])


@given(st.integers(0, CIRCLE - 1), st.integers(0, CIRCLE - 1))
def test_there_and_back_is_once_around(low: int, high: int) -> None:
    assert (low + clockwise(low, high)) % CIRCLE == high
    assert clockwise(low, high) + clockwise(high, low) in (0, CIRCLE)
