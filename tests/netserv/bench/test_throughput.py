"""The search for the highest rate without loss, and what counts as lost."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.bench import orders, scene
from netserv.bench.throughput import CLOSE, LEAST_PER_S, MOST_PER_S, STEP, Search, late
from netserv.errors import SystemRefusedError


def searched(capacity: float, first: float) -> tuple[float, int]:
    """What is found where all rates up to a capacity pass, and in how many trials."""
    search, trials = Search(first=first), 0
    while not search.ended:
        rate, trials = search.rate(), trials + 1
        search = search.after(rate, passed=rate <= capacity)
    return search.passes, trials


@given(st.floats(LEAST_PER_S * STEP, MOST_PER_S * 2), st.floats(LEAST_PER_S, MOST_PER_S))
def test_what_is_found_passes_and_a_little_more_does_not(capacity: float, first: float) -> None:
    found, trials = searched(capacity, first)
    assert found <= capacity
    assert found == MOST_PER_S or found * CLOSE >= capacity * 0.999
    assert trials < 30


@pytest.mark.parametrize(
    ("capacity", "first", "trials"), [(310_000, 300_000, 6), (1_200_000, 300_000, 9), (1_200_000, 1_180_000, 6)]
)
def test_the_search_is_short_where_it_begins_near(capacity: float, first: float, trials: int) -> None:
    assert searched(capacity, first)[1] == trials


def test_where_nothing_passes_the_search_ends_with_nothing() -> None:
    assert searched(0, 300_000)[0] == 0


def test_a_rate_that_passes_after_all_has_the_search_go_on_above_it() -> None:
    search = Search(first=100.0).after(100_000.0, passed=True).after(103_000.0, passed=False)
    assert search.ended
    search = search.doubted()
    assert not search.ended
    assert search.rate() == 103_000.0 * STEP


@pytest.mark.parametrize(
    ("sent", "came", "under_way", "expected"),
    [
        (10_000, 10_000, 0, 0),
        (10_000, 10_000, 256 + 500, 0),  # a window, and 5 ms of 100,000 a second
        (10_000, 10_000, 256 + 500 + 30, 30),
        (10_000, 9_000, 1_700, 0),  # a thousand of them never came, and are lost already
    ],
)
def test_what_had_gathered_in_queues_is_late(sent: int, came: int, under_way: int, expected: int) -> None:
    assert late(orders.Offered(sent=sent, came=came, under_way=under_way, seconds=0.1)) == expected


def test_on_one_processor_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(SystemRefusedError, match="run it on a machine of two, or allow it two with taskset"):
        scene.apart()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 2})
    assert scene.apart() == (2, 3)
