import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dhtboot.chord.config import ChordConfig, JoinMode
from dhtboot.chord.messages import FindSuccessor, Packet, Refused
from dhtboot.effects import Send
from dhtboot.ids import id_bytes, random_id
from tests.dhtboot.chord.ring_network import Ring, address_of

CONFIG = ChordConfig(adaptive=False)


@pytest.mark.parametrize("join", ["aggressive", "standard"])
def test_a_ring_closes_and_every_lookup_finds_the_right_node(join: JoinMode) -> None:
    ring = Ring(3, ChordConfig(join=join, adaptive=False)).grow(30, settle_s=30.0 if join == "aggressive" else 300.0)
    assert ring.closed()
    ring.check_invariants()
    assert ring.wrong(60) == 0
    assert all(ring.owners(random_id(ring.chance)) == 1 for _ in range(100))


def test_a_recursive_lookup_finds_what_an_iterative_one_finds() -> None:
    ring = Ring(4, ChordConfig(lookup="recursive", adaptive=False)).grow(25, settle_s=40.0)
    assert ring.closed()
    assert ring.wrong(50) == 0
    outcomes = [ring.lookup(address_of(n), random_id(ring.chance)) for n in range(25)]
    assert max(outcome.hops for outcome in outcomes) > 1
    assert all(outcome.hops <= 12 for outcome in outcomes)


def test_a_recursive_lookup_that_nobody_answers_fails_in_time() -> None:
    ring = Ring(5, ChordConfig(lookup="recursive", adaptive=False)).grow(3)
    source = address_of(0)
    target = (ring.nodes[source].id + (1 << 159)) % (1 << 160)
    ring.network.cut([source], [address_of(1), address_of(2)])
    assert ring.lookup(source, target).failed or ring.nodes[source].is_responsible(target)


def test_the_hops_grow_with_the_logarithm_of_the_nodes() -> None:
    ring = Ring(6, CONFIG, codec=None).grow(100, settle_s=40.0)
    hops = [ring.lookup(address_of(n), random_id(ring.chance)).hops for n in range(100)]
    assert 2.0 <= sum(hops) / len(hops) <= 5.0  # log2(100) / 2 = 3.3, and the last step to the node itself


def test_the_ring_heals_after_a_third_of_it_has_died_at_once() -> None:
    ring = Ring(7, CONFIG).grow(30, settle_s=30.0)
    ring.kill(ring.choose(10))
    ring.network.run(60.0)
    assert ring.closed()
    assert ring.wrong(40) == 0


def test_a_node_that_says_goodbye_leaves_no_gap() -> None:
    ring = Ring(8, CONFIG).grow(10, settle_s=30.0)
    (gone,) = ring.choose(1)
    ring.network.perform(gone, ring.nodes[gone].leave())
    ring.kill([gone])
    ring.network.run(1.0)  # no timeout is that short
    assert ring.closed()


def test_both_rings_of_a_cut_network_become_one_again() -> None:
    ring = Ring(9, CONFIG).grow(16, settle_s=30.0)
    half = ring.choose(8)
    ring.network.cut(half, [address for address in ring.nodes if address not in half])
    ring.network.run(90.0)
    ring.network.heal()
    ring.network.run(300.0)
    assert ring.closed()
    assert ring.wrong(30) == 0


def test_a_quiet_ring_speaks_less_and_wakes_at_a_change() -> None:
    ring = Ring(10, ChordConfig()).grow(10, settle_s=300.0)
    before = ring.network.counters["sent"]
    ring.network.run(240.0)
    quiet = (ring.network.counters["sent"] - before) / 240.0 / 10
    assert quiet < 0.8, "packets per node and second"
    assert max(node.neighbours._period.next() for node in ring.nodes.values()) == 60.0
    ring.add(10)
    ring.network.run(30.0)
    assert ring.closed()


def test_a_lost_ring_is_joined_again() -> None:
    ring = Ring(11, CONFIG).grow(4, settle_s=20.0)
    others = [address_of(n) for n in (1, 2, 3)]
    ring.network.cut([address_of(3)], [address_of(n) for n in (0, 1, 2)])
    ring.network.run(60.0)
    assert not ring.nodes[address_of(3)].joined
    ring.network.heal()
    ring.network.run(30.0)
    assert ring.nodes[address_of(3)].joined
    assert ring.closed(), others


def test_a_node_that_has_not_joined_refuses_to_route() -> None:
    ring = Ring(12)
    node = ring.add(1, entry=0)
    (refusal,) = node.receive(Packet(id_bytes(9), 7, FindSuccessor(id_bytes(1))), ("10.9.9.9", 1), 0.0)
    assert isinstance(refusal, Send)
    assert refusal.packet.message == Refused()
    outcomes = []
    node.lookup(5, 0.0, on_done=lambda outcome, _now: outcomes.append(outcome.failed))
    assert outcomes == [True]


def test_requests_beyond_the_rate_are_dropped_and_counted() -> None:
    ring = Ring(13, msgspec.structs.replace(CONFIG, requests_per_s=1.0, requests_burst=2.0))
    node = ring.add(0)
    sent = [node.receive(Packet(id_bytes(9), 7, FindSuccessor(id_bytes(1))), ("10.9.9.9", 1), 0.0) for _ in range(5)]
    assert [len(effects) for effects in sent] == [1, 1, 0, 0, 0]
    assert node.counters["rate_limited"] == 3


SETTLE_S = 10.0
"Who was struck off while packets were lost is heard of again in the next rounds; one lookup in ten may fail before."


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    order=st.permutations(range(1, 12)),
    pauses=st.lists(st.floats(0.0, 2.0), min_size=11, max_size=11),
    loss=st.sampled_from([0.0, 0.1, 0.2]),
    crashes=st.integers(0, 4),
    join=st.sampled_from(["aggressive", "standard"]),
)
# Two rings are left here, and in 8 more of the seeds below 4,000, when nobody asks its entry point.
@example(seed=42, order=[8, 7, 3, 10, 4, 2, 1, 5, 6, 11, 9], pauses=[0.5] * 11, loss=0.2, crashes=4, join="standard")
def test_whatever_the_order_losses_and_crashes_the_ring_closes_and_every_key_has_one_owner(
    seed: int, order: list[int], pauses: list[float], loss: float, crashes: int, join: JoinMode
) -> None:
    ring = Ring(seed, ChordConfig(join=join, adaptive=False), codec=None, loss=loss)
    ring.add(0)
    for number, pause in zip(order, pauses, strict=True):
        ring.add(number)
        ring.network.run(pause)
        ring.check_invariants()
    ring.network.run_until(lambda: len(ring.joined) == 12, limit_s=600.0)
    ring.kill(ring.choose(crashes, but=address_of(0)))
    ring.network.loss = 0.0  # a live neighbour that loses three packets in a row is struck off for a while
    ring.network.run_until(ring.closed, limit_s=900.0)
    ring.check_invariants()
    assert all(ring.owners(random_id(ring.chance)) == 1 for _ in range(50))
    ring.network.run(SETTLE_S)
    assert ring.wrong(10) == 0
