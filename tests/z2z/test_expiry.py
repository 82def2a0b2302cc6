import math

from hypothesis import given
from hypothesis import strategies as st

from z2z.expiry import MISSES_MAX, Expiry


def test_a_value_ends_with_its_lease_or_when_stale_whichever_is_first():
    expiry: Expiry[str] = Expiry(stale_s=300)
    expiry.seen("short lease", 40, now=0)
    expiry.seen("long lease", 3600, now=0)
    assert expiry.next_deadline() == 40
    assert expiry.due(39.9) == []
    assert expiry.due(40) == ["short lease"]
    assert expiry.due(300) == ["long lease"]
    assert expiry.next_deadline() == math.inf


def test_a_refresh_moves_the_end():
    expiry: Expiry[str] = Expiry(stale_s=300)
    expiry.seen("x", 100, now=0)
    expiry.seen("x", 100, now=60)
    assert expiry.due(100) == []
    assert expiry.due(160) == ["x"]


def test_a_value_that_never_ages_stays():
    expiry: Expiry[str] = Expiry(stale_s=300)
    expiry.seen("x", math.inf, now=0)
    assert expiry.next_deadline() == math.inf
    assert expiry.due(1e9) == []
    expiry.seen("x", 5, now=10)
    assert expiry.due(15) == ["x"]


def test_one_answer_without_a_value_is_forgiven():
    expiry: Expiry[str] = Expiry(stale_s=300)
    expiry.seen("x", 100, now=0)
    misses = [expiry.missed("x") for _ in range(MISSES_MAX)]
    assert misses == [False] * (MISSES_MAX - 1) + [True]
    expiry.seen("x", 100, now=1)
    assert not expiry.missed("x")
    assert not expiry.missed("unknown")


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 50), st.sampled_from(["seen", "forget", "due"])), max_size=300
    )
)
def test_due_agrees_with_a_plain_table(steps):
    expiry: Expiry[str] = Expiry(stale_s=30)
    table: dict[str, float] = {}
    now = 0.0
    for key, number, what in steps:
        if what == "seen":
            expiry.seen(key, number, now)
            table[key] = now + min(number, 30)
        elif what == "forget":
            expiry.forget(key)
            table.pop(key, None)
        else:
            now += number
            ended = {k for k, deadline in table.items() if deadline <= now}
            assert set(expiry.due(now)) == ended
            for k in ended:
                del table[k]
        assert expiry.next_deadline() == min(table.values(), default=math.inf)
