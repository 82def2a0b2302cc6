"""How long things took: nothing is lost between the bounds."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.durations import BOUNDS_S, Durations


@given(st.lists(st.floats(0.0, 100.0)))
def test_each_bound_counts_what_took_at_most_as_long(durations_s: list[float]) -> None:
    took = Durations()
    for duration_s in durations_s:
        took.add(duration_s)
    assert took.within() == {bound: sum(each <= bound for each in durations_s) for bound in BOUNDS_S}
    assert took.within()[math.inf] == len(durations_s)
    assert math.isclose(took.total_s, math.fsum(durations_s))
