import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.chord.ring import CIRCLE, clockwise
from dhtboot.sim.config import Scenario
from dhtboot.sim.metrics import Census, Metrics, convergence_s, has_converged
from dhtboot.sim.result import Interval

IDS = st.integers(0, CIRCLE - 1) | st.integers(0, 40)


@given(st.sets(IDS, min_size=1, max_size=30), IDS)
def test_the_owner_is_the_next_in_chord_and_the_closest_in_kademlia(identifiers: set[int], key: int) -> None:
    chord, kademlia = Census("chord"), Census("kademlia")
    for identifier in identifiers:
        chord.add(identifier)
        kademlia.add(identifier)
    assert chord.owner(key) == min(identifiers, key=lambda identifier: clockwise(key, identifier))
    assert kademlia.owner(key) == min(identifiers, key=lambda identifier: identifier ^ key)


def test_nobody_owns_anything_where_nobody_is() -> None:
    census = Census("chord")
    assert census.owner(5) is None
    census.add(3)
    census.remove(4)
    assert census.owner(5) == 3
    census.remove(3)
    assert census.owner(5) is None


def test_an_interval_counts_what_was_sent_and_what_arrived_in_it() -> None:
    census = Census("chord")
    for identifier in (10, 20):
        census.add(identifier)
    metrics = Metrics(census, 5.0)
    for _ in range(4):
        metrics.on_sent()
    metrics.on_arrived(15, 20, 3, believes=True)
    metrics.on_arrived(15, 10, 5, believes=True)
    metrics.on_arrived(15, 20, 9, believes=False)
    first = metrics.close(5.0, 7)
    assert first == Interval(start_s=0.0, sent=4, delivered=2, right=2, hops=8, alive=7, joined=2)
    assert (first.delivery_rate, first.right_rate, first.mean_hops) == (0.5, 0.5, 4.0)
    empty = metrics.close(10.0, 7)
    assert (empty.start_s, empty.delivery_rate, empty.mean_hops) == (5.0, 0.0, 0.0)


@pytest.mark.parametrize(("rates", "converged"), [([0.5, 0.95, 0.2], 10.0), ([0.1, 0.2], None), ([], None)])
def test_convergence_is_the_end_of_the_first_interval_that_reaches_the_share(
    rates: list[float], converged: float | None
) -> None:
    intervals = [
        Interval(start_s=5.0 * at, sent=100, delivered=round(100 * rate), right=0, hops=0, alive=1, joined=1)
        for at, rate in enumerate(rates)
    ]
    assert convergence_s(intervals, Scenario(), right=False) == converged
    assert convergence_s(intervals, Scenario(), right=True) is None


@pytest.mark.parametrize(("nodes", "sent", "says"), [(1000, 19, False), (1000, 20, True), (2, 4, False), (2, 5, True)])
def test_too_few_queries_say_nothing(nodes: int, sent: int, says: bool) -> None:
    interval = Interval(start_s=0.0, sent=sent, delivered=sent, right=sent, hops=0, alive=1, joined=1)
    assert has_converged(interval, Scenario(nodes=nodes), right=True) == says
