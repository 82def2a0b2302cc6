import math
from collections.abc import Callable
from random import Random

import pytest

from dhtboot.rtt import RttEstimator, TimeoutConfig
from mdht.subnet.hostset import Learnt, RemoteNode
from mdht.subnet.hostset_choice import (
    TRANSITIONS,
    Copy,
    Hedged,
    Hop,
    HopInput,
    HopState,
    One,
    Parallel,
    Way,
)
from mdht.subnet.hostset_handout import wants_set
from mdht.subnet.messages import NodeEntry
from tests.mdht.subnet.hostset_nodes import LAB, NOW, entry_of, host_ref, learn, node_with


def hid(number: int) -> bytes:
    return host_ref(number).hid


def hop_to(node: RemoteNode, way: Way, *, rtt: RttEstimator | None = None, seed: int = 1) -> Hop:
    return Hop(node, way, rtt or RttEstimator(TimeoutConfig()), LAB, Random(seed))


def drive(
    hop: Hop,
    now: float,
    round_trip: Callable[[Copy], float],
    *,
    until: Callable[[Hop], bool] = lambda hop: hop.state not in {HopState.ASKING, HopState.RETRYING},
) -> tuple[float, list[Copy]]:
    """Let hosts answer after their round trip, `inf` for never, until the hop stands still."""
    copies = hop.start(now)
    sent, arrivals = list(copies), [(now + round_trip(copy), copy) for copy in copies]
    while not until(hop):
        arrival = min(arrivals, key=lambda pair: pair[0], default=(math.inf, Copy(b"", ("", 0))))
        if arrival[0] <= hop.next_deadline():
            now = arrival[0]
            assert now < math.inf, "it stands still and does not know"
            arrivals.remove(arrival)
            hop.answered(arrival[1].hid, now)
        else:
            now = hop.next_deadline()
            more = hop.tick(now)
            sent += more
            arrivals += [(now + round_trip(copy), copy) for copy in more]
    return now, sent


def never(copy: Copy) -> float:
    return math.inf


# ---- ways ------------------------------------------------------------------------------------------------------------


def test_one_asks_a_host_at_random() -> None:
    node = node_with(1, 2, 3, 4)
    rng = Random(1)
    chosen = [Hop(node, One(), RttEstimator(TimeoutConfig()), LAB, rng).start(NOW) for _ in range(400)]
    assert all(len(copies) == 1 for copies in chosen)
    for number in range(1, 5):
        assert 70 < sum(copies[0].hid == hid(number) for copies in chosen) < 130


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
def test_parallel_asks_different_hosts_at_once(hosts: int) -> None:
    copies = hop_to(node_with(*range(1, 7)), Parallel(hosts)).start(NOW)
    assert len({copy.hid for copy in copies}) == len(copies) == min(hosts, 6)


def test_at_most_as_many_hosts_as_a_set_has_are_asked_at_once() -> None:
    for hosts in (0, 9):
        with pytest.raises(ValueError, match="at once"):
            Parallel(hosts)


def test_of_hosts_asked_at_once_the_silent_one_gains_a_fail_after_the_answer() -> None:
    node = node_with(1, 2)
    hop = hop_to(node, Parallel(2))
    now, sent = drive(hop, NOW, lambda copy: 0.05 if copy.hid == hid(1) else math.inf)
    assert (hop.state, len(sent)) == (HopState.ANSWERED, 2)
    assert now == NOW + 0.05, "no time was lost"
    assert hop.next_deadline() == NOW + 0.5
    assert hop.tick(NOW + 0.5) == []
    assert [(host.hid, host.fails) for host in node.usable] == [(hid(1), 0), (hid(2), 1)]
    assert hop.next_deadline() == math.inf


def test_a_second_answer_clears_fails_too() -> None:
    node = node_with(1, 2)
    node.silent(hid(1), NOW - 2.0, NOW - 1.0)
    hop = hop_to(node, Parallel(2))
    drive(hop, NOW, lambda copy: 0.05 if copy.hid == hid(2) else 0.2, until=lambda hop: hop.next_deadline() == math.inf)
    assert [host.fails for host in node.usable] == [0, 0]


def warm(node: RemoteNode, rng: Random) -> RttEstimator:
    rtt = RttEstimator(TimeoutConfig())
    for host in node.usable:
        for _ in range(50):
            rtt.sample(host.address, rng.gauss(0.1, 0.007))
    return rtt


def test_hedged_sends_a_second_copy_when_most_answers_would_have_come() -> None:
    node, rng = node_with(1, 2, 3), Random(1)
    hop = hop_to(node, Hedged(), rtt=warm(node, rng))
    first = hop.start(NOW)
    assert len(first) == 1
    assert 0.1 < hop.next_deadline() - NOW < 0.13
    second = hop.tick(hop.next_deadline())
    assert len(second) == 1
    assert second[0].hid != first[0].hid
    hop.answered(second[0].hid, NOW + 0.25)
    assert hop.state is HopState.ANSWERED
    hop.tick(NOW + 1.0)
    assert sum(host.fails for host in node.usable) == 1


def test_hedging_costs_few_messages_where_all_answer() -> None:
    node, rng = node_with(*range(1, 9)), Random(1)
    rtt = warm(node, rng)
    hops, copies, now = 500, 0, NOW
    for seed in range(hops):
        hop = hop_to(node, Hedged(), rtt=rtt, seed=seed)
        # To the end of all copies, so that slow answers are measured and not only the fast ones.
        now, sent = drive(hop, now, lambda copy: rng.gauss(0.1, 0.007), until=lambda hop: not hop._out)
        copies += len(sent)
    assert 1.0 < copies / hops < 1.2


def test_hedging_with_a_single_host_sends_nothing_more() -> None:
    hop = hop_to(node_with(1), Hedged(), rtt=warm(node_with(1), Random(1)))
    hop.start(NOW)
    assert hop.tick(hop.next_deadline()) == []
    assert hop.state is HopState.ASKING


# ---- dead entries ----------------------------------------------------------------------------------------------------


def misses(dead: Callable[[Random], int], asked: int, trials: int = 3000) -> float:
    """Share of requests of whose first copies none goes to a live host."""
    rng = Random(asked)
    missed = 0
    for _ in range(trials):
        gone = {hid(number) for number in rng.sample(range(1, 9), dead(rng))}
        copies = Hop(node_with(*range(1, 9)), Parallel(asked), RttEstimator(TimeoutConfig()), LAB, rng).start(NOW)
        missed += all(copy.hid in gone for copy in copies)
    return missed / trials


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("dead", [2, 4])
def test_first_rounds_miss_as_drawing_from_an_urn_says(dead: int, asked: int) -> None:
    expected = math.comb(dead, asked) / math.comb(8, asked)
    assert abs(misses(lambda rng: dead, asked) - expected) <= 4 * math.sqrt(expected * (1 - expected) / 3000)


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_where_each_entry_is_dead_by_itself_first_rounds_miss_by_the_power(share: float, asked: int) -> None:
    expected = share**asked
    found = misses(lambda rng: sum(rng.random() < share for _ in range(8)), asked)
    assert abs(found - expected) <= 4 * math.sqrt(expected * (1 - expected) / 3000)


# ---- silence ---------------------------------------------------------------------------------------------------------


def test_three_hosts_are_tried_before_the_node_counts_as_unanswered() -> None:
    node = node_with(1, 2, 3, 4, 5)
    hop = hop_to(node, One())
    now, sent = drive(hop, NOW, never)
    assert hop.state is HopState.UNANSWERED
    assert len({copy.hid for copy in sent}) == len(sent) == 3
    assert now == NOW + 1.5
    assert len(node.usable) == 5, "one silence makes nobody unusable"
    hop.answered(sent[0].hid, now + 0.1)
    assert hop.state is HopState.UNANSWERED, "the caller has gone elsewhere"
    assert sum(host.fails for host in node.usable) == 2


def test_with_fewer_hosts_than_tries_one_is_asked_again_after_the_others() -> None:
    node = node_with(1, 2)
    hop = hop_to(node, One())
    _, sent = drive(hop, NOW, never)
    assert {copy.hid for copy in sent[:2]} == {hid(1), hid(2)}
    assert len(sent) == 3
    assert hop.state is HopState.UNANSWERED
    assert len(node.usable) == 1


def test_the_only_host_is_asked_twice_the_second_time_longer() -> None:
    rtt = warm(node_with(1), Random(1))
    hop = hop_to(node_with(1), One(), rtt=rtt)
    first_s, least_s = rtt.timeout_s(host_ref(1).address), LAB.last_chance_s
    assert first_s < least_s
    now, sent = drive(hop, NOW, never)
    assert len(sent) == 2
    assert now - NOW == pytest.approx(first_s + least_s)
    assert hop.state is HopState.EMPTY
    now, _ = drive(hop_to(node_with(1), One()), NOW, never)
    assert now - NOW == pytest.approx(0.5 + 1.0), "twice as long, where that is longer"


def test_for_each_host_that_is_silent_one_other_is_asked() -> None:
    rtt = RttEstimator(TimeoutConfig())
    for _ in range(50):
        rtt.sample(host_ref(1).address, 0.002)
        rtt.sample(host_ref(2).address, 0.2)
    node = node_with(1, 2)
    hop = hop_to(node, Parallel(2), rtt=rtt)
    assert len(hop.start(NOW)) == 2
    learn(node, entry_of(5, host_ref(3), host_ref(4)))
    assert hop.tick(NOW + 0.01) == [], "too early"
    assert len(hop.tick(NOW + 0.03)) == 1


def test_timeouts_follow_the_round_trips_of_each_host() -> None:
    rtt = RttEstimator(TimeoutConfig())
    for _ in range(50):
        rtt.sample(host_ref(1).address, 0.002)
        rtt.sample(host_ref(2).address, 0.2)
    hop = hop_to(node_with(1, 2), Parallel(2), rtt=rtt)
    hop.start(NOW)
    deadlines = {number: hop._out[hid(number)].expires_at - NOW for number in (1, 2)}
    assert deadlines[1] == pytest.approx(0.02), "the floor"
    assert 0.2 <= deadlines[2] < 0.25


def test_the_answer_to_a_repeated_request_measures_nothing_and_a_late_one_does() -> None:
    rtt = RttEstimator(TimeoutConfig())
    repeated = hop_to(node_with(1), One(), rtt=rtt)
    repeated.start(NOW)
    assert repeated.tick(NOW + 0.5)
    repeated.answered(hid(1), NOW + 0.6)
    assert rtt.mean_s(host_ref(1).address) is None
    late = hop_to(node_with(1, 2), One(), rtt=rtt)
    (first,) = late.start(NOW)
    late.tick(NOW + 0.5)
    late.answered(first.hid, NOW + 0.7)
    late.answered(first.hid, NOW + 0.9)
    assert rtt.mean_s(first.to) == pytest.approx(0.7)
    assert late.state is HopState.ANSWERED


def test_an_answer_of_somebody_who_was_not_asked_is_none() -> None:
    hop = hop_to(node_with(1, 2), One())
    (asked,) = hop.start(NOW)
    hop.answered(next(host.hid for host in hop.node.usable if host.hid != asked.hid), NOW + 0.1)
    assert hop.state is HopState.ASKING


# ---- no host left ----------------------------------------------------------------------------------------------------


def emptied() -> Hop:
    hop = hop_to(node_with(1), One())
    drive(hop, NOW, never)
    assert hop.state is HopState.EMPTY
    return hop


def test_a_node_without_hosts_is_failed_only_after_its_neighbours_know_none_either() -> None:
    hop = emptied()
    learn(hop.node, entry_of(5, host_ref(1, 60)), firsthand=False, now=NOW + 3.0)
    assert hop.pulled(NOW + 3.0) == [], "what they know is that dead host"
    assert hop.state is HopState.FAILED


def test_a_host_that_the_neighbours_name_is_asked() -> None:
    hop = emptied()
    learn(hop.node, entry_of(4, host_ref(2)), firsthand=False, now=NOW + 3.0)
    assert [copy.hid for copy in hop.pulled(NOW + 3.0)] == [hid(2)]
    assert hop.state is HopState.RETRYING
    hop.answered(hid(2), NOW + 3.1)
    assert hop.pulled(NOW + 4.0) == []
    assert hop.next_deadline() == math.inf
    assert len(hop.node.usable) == 1


def test_neighbours_are_asked_once_only() -> None:
    hop = emptied()
    learn(hop.node, entry_of(4, host_ref(2)), firsthand=False, now=NOW + 3.0)
    hop.pulled(NOW + 3.0)
    while hop.next_deadline() < math.inf:
        hop.tick(hop.next_deadline())
    assert hop.state is HopState.FAILED


def test_a_node_of_which_no_host_is_known_starts_with_the_pull() -> None:
    hop = hop_to(RemoteNode(entry_of(1), LAB), One())
    assert hop.start(NOW) == []
    assert hop.state is HopState.EMPTY


def test_a_late_answer_saves_an_emptied_node() -> None:
    hop = emptied()
    hop.answered(hid(1), NOW + 3.0)
    assert hop.state is HopState.ANSWERED
    assert len(hop.node.usable) == 1


@pytest.mark.parametrize("state", HopState)
@pytest.mark.parametrize("what", HopInput)
def test_every_pair_takes_the_step_of_the_table_or_none(state: HopState, what: HopInput) -> None:
    hop = hop_to(node_with(1), One())
    hop.state = state
    hop._step(what)
    assert hop.state is TRANSITIONS.get((state, what), state)


def test_a_hop_that_is_over_stays_so() -> None:
    over = {HopState.ANSWERED, HopState.UNANSWERED, HopState.FAILED}
    assert not over & {state for state, _ in TRANSITIONS}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("way", [One(), Parallel(2), Parallel(3), Hedged()])
def test_every_hop_ends_after_few_copies(way: Way, seed: int) -> None:
    rng = Random(seed)
    node = node_with(*range(1, rng.randrange(1, 9)), 20)
    hop = hop_to(node, way, seed=seed)
    _, sent = drive(hop, NOW, lambda copy: rng.choice([0.05, 0.7, math.inf, math.inf]))
    assert hop.state in {HopState.ANSWERED, HopState.UNANSWERED, HopState.EMPTY}
    assert len(sent) <= max(LAB.tries_max, 3)


# ---- the worked example ----------------------------------------------------------------------------------------------


def b_entry(epoch: int, *numbers: int) -> NodeEntry:
    return entry_of(epoch, *[host_ref(number) for number in numbers])


def seed_choosing(first: int) -> int:
    return next(
        seed for seed in range(99) if hop_to(node_with(1, 2, 3), One(), seed=seed).start(NOW)[0].hid == hid(first)
    )


def test_worked_example_a_dead_host_costs_one_timeout_and_the_next_reply_removes_it() -> None:
    b = node_with(1, 2, 3, epoch=5)
    hop = hop_to(b, One(), seed=seed_choosing(2))
    now, sent = drive(hop, NOW, lambda copy: math.inf if copy.hid == hid(2) else 0.05)
    first, _ = sent
    assert first.hid == hid(2)
    assert now == pytest.approx(NOW + 0.5 + 0.05), "one timeout"
    second = b.get(hid(2))
    assert second is not None
    assert second.fails == 1
    identity = b.identity
    assert wants_set(b.epoch, 6)
    assert learn(b, b_entry(6, 1, 3), now=now) is Learnt.REPLACED
    assert {host.hid for host in b.usable} == {hid(1), hid(3)}
    assert b.identity == identity, "nobody's successor, predecessor or finger has another identifier"
    assert not wants_set(b.epoch, 6)
    assert learn(b, b_entry(7, 1, 3, 4), now=now + 60.0) is Learnt.REPLACED
    assert b.get(hid(4)) is not None, "b4 came with the next reply"


def test_worked_example_two_hosts_at_once_lose_no_time() -> None:
    for seed in range(20):
        hop = hop_to(node_with(1, 2, 3), Parallel(2), seed=seed)
        now, sent = drive(hop, NOW, lambda copy: math.inf if copy.hid == hid(2) else 0.05)
        assert now == NOW + 0.05
        assert len(sent) == 2


def test_worked_example_when_the_only_host_dies_the_overlay_takes_over() -> None:
    c = node_with(1)
    hop = hop_to(c, One())
    drive(hop, NOW, never)
    learn(c, b_entry(5), firsthand=False, now=NOW + 2.0)
    hop.pulled(NOW + 2.0)
    assert hop.state is HopState.FAILED
