"""Deadlines: each owner is woken once, when it wanted to be, and the lists stay short."""

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.gist.rate import SOURCES_MAX, SourceLimits, TokenBucket
from netserv.signaling.gist.timers import RINGS_PER_S, SPARE_ENTRIES, Timed, Timers


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.floats(0, 100))), max_size=60))
def test_owners_are_woken_at_the_next_ring_from_their_last_deadline_on(steps):
    timers, owners, wanted = Timers(), [Timed() for _ in range(6)], {}
    for who, at in steps:
        if at is None:
            timers.cancel(owners[who])
            wanted.pop(who, None)
        else:
            timers.set(owners[who], at)
            wanted[who] = at
    woken = {}
    now = 0.0
    while timers.next_deadline() < math.inf:
        now = max(now, timers.next_deadline())
        while (owner := timers.due(now)) is not None:
            assert owners.index(owner) not in woken
            woken[owners.index(owner)] = now
    assert woken.keys() == wanted.keys()
    assert all(wanted[who] <= at <= wanted[who] + 1 / RINGS_PER_S for who, at in woken.items())


def test_those_of_one_ring_make_one_deadline():
    timers = Timers()
    owners = [Timed() for _ in range(1_000)]
    for number, owner in enumerate(owners):
        timers.set(owner, 1.0 - number / 1_000 / RINGS_PER_S)
    assert timers.next_deadline() == 1.0
    assert timers.due(0.9999) is None
    assert {timers.due(1.0) for _ in owners} == set(owners)
    assert timers.due(1.0) is None
    assert timers.next_deadline() == math.inf


def test_lists_are_swept():
    timers, rng = Timers(), Random(1)
    owners = [Timed() for _ in range(100)]
    for _ in range(50_000):
        owner = rng.choice(owners)
        timers.cancel(owner)
        timers.set(owner, rng.uniform(0, 100))
    assert len(timers) <= 2 * len(owners) + SPARE_ENTRIES + 1


def test_a_bucket_lets_its_rate_through():
    bucket = TokenBucket(10.0, 0.0)
    let = sum(bucket.take(step / 1000.0) for step in range(100_000))
    assert 1000 <= let <= 1016 + 1


def test_a_share_of_a_bucket_can_be_kept():
    bucket = TokenBucket(100.0, 0.0)
    assert sum(bucket.take(0.0, 0.25) for _ in range(100)) == 18
    assert sum(bucket.take(0.0) for _ in range(100)) == 7


def test_a_clock_that_goes_back_gives_nothing():
    bucket = TokenBucket(10.0, 100.0)
    while bucket.take(100.0):
        pass
    assert not bucket.take(50.0)
    assert not bucket.take(100.05)


def test_sources_are_limited_each_and_together_and_few_are_remembered():
    limits = SourceLimits(5.0, 0.0)
    assert sum(limits.take("one", 0.0) for _ in range(100)) == 11
    assert sum(limits.take(number, 0.0) for number in range(10_000)) < 300
    assert len(limits._buckets) <= SOURCES_MAX
