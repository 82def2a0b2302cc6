import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.publisher.keep_alives.agents import (
    RETRY_S,
    SETTLE_S,
    TRANSITIONS,
    Agents,
    Config,
    Deploy,
    Input,
    Look,
    Remove,
    State,
)

CONFIG = Config(agents_max=4, idle_s=60.0, ttl_s=600, per_second=1.0, burst=8)
A, B = "192.0.2.7", "192.0.2.8"


def there(agents: Agents, address: str, *nodes: str, now: float = 0.0) -> None:
    assert agents.seen(address, now) == [Deploy(address)]
    assert agents.looked(address, dict.fromkeys(nodes, 0), now) == []


def test_the_module_is_deployed_towards_an_agent_whose_keep_alive_reaches_the_server_and_once() -> None:
    agents = Agents(CONFIG, 0.0)
    assert agents.seen(A, 1.0) == [Deploy(A)]
    assert agents.seen(A, 1.1) == []
    assert agents.states() == {A: State.DEPLOYING}


def test_it_is_looked_at_three_times_within_the_time_after_which_it_counts_as_gone() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "node1")
    assert agents.tick(19.9) == []
    assert agents.tick(20.0) == [Look(A)]
    assert agents.tick(20.1) == []  # one look at a time
    assert agents.tick(40.0) == [Look(A)]  # though the first had no answer


def test_it_stays_as_long_as_nodes_answer_keep_alives() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "node1")
    for turn in range(1, 20):
        assert agents.looked(A, {"node1": turn}, 20.0 * turn) == []
    assert agents.states() == {A: State.THERE}


def test_it_is_removed_when_nothing_was_answered_for_a_while() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "node1", "node2")
    assert agents.looked(A, {"node1": 0, "node2": 7}, 20.0) == []
    assert agents.looked(A, {"node1": 0, "node2": 7}, 79.0) == []
    assert agents.looked(A, {"node1": 0, "node2": 7}, 80.0) == [Remove(A, ("node1", "node2"))]
    agents.removed(A, 81.0)
    assert agents.states() == {}
    assert agents.seen(A, 82.0) == [Deploy(A)]


def test_nodes_that_others_need_are_left_alone() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "near", "edge-a")
    there(agents, B, "near", "edge-b")
    assert agents.looked(B, {"near": 5, "edge-b": 3}, 60.0) == []
    # The count of the node that both have in common says nothing of A.
    assert agents.looked(A, {"near": 5, "edge-a": 0}, 60.0) == [Remove(A, ("edge-a",))]
    agents.removed(A, 61.0)
    assert agents.looked(B, {"near": 5, "edge-b": 3}, 120.0) == [Remove(B, ("near", "edge-b"))]


def test_where_all_nodes_are_in_common_their_counts_stand_for_both() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "near")
    there(agents, B, "near")
    assert agents.looked(A, {"near": 5}, 60.0) == []


def test_a_keep_alive_that_comes_through_all_the_same_has_its_path_looked_at_anew() -> None:
    agents = Agents(CONFIG, 0.0)
    there(agents, A, "node1")
    assert agents.seen(A, SETTLE_S / 2) == []  # was on its way
    assert agents.seen(A, SETTLE_S + 0.1) == [Look(A)]
    assert agents.counters["missed"] == 1
    assert agents.looked(A, {"node2": 0}, 3.0) == []
    assert agents.states() == {A: State.THERE}


def test_what_no_node_took_is_tried_again_after_a_while() -> None:
    agents = Agents(CONFIG, 0.0)
    agents.seen(A, 0.0)
    assert agents.looked(A, {}, 1.0) == []
    assert agents.states() == {A: State.VAIN}
    assert agents.seen(A, RETRY_S) == []
    assert agents.seen(A, RETRY_S + 1.0) == [Deploy(A)]
    agents.failed(A, RETRY_S + 2.0)
    agents.tick(3 * RETRY_S + 3.0)
    assert agents.states() == {}


def test_inventing_sources_costs_few_deployments() -> None:
    config = Config(agents_max=1_000, per_second=2.0, burst=10)
    agents = Agents(config, 0.0)
    begun = sum(bool(agents.seen(f"10.0.{n >> 8}.{n & 255}", n / 1_000)) for n in range(10_000))
    assert begun == 10 + 19
    assert agents.counters["refused"] == 10_000 - begun


def test_there_is_room_for_so_many_and_those_in_vain_make_room() -> None:
    agents = Agents(CONFIG, 0.0)
    for number in range(4):
        agents.seen(f"10.0.0.{number}", 0.0)
    assert agents.seen(A, 0.0) == []
    assert agents.counters["refused"] == 1
    agents.failed("10.0.0.2", 0.0)
    assert agents.seen(A, 0.0) == [Deploy(A)]
    assert len(agents) == 4


@pytest.mark.parametrize("wrong", [{"agents_max": 0}, {"agents_max": 10**6}, {"idle_s": 4.5}, {"ttl_s": 0}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError):
        Config(**wrong)  # type: ignore[arg-type]


def test_every_state_but_the_last_has_a_way_out() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.GONE}
    assert {what for _, what in TRANSITIONS} == set(Input)


ADDRESSES = st.sampled_from([A, B, "192.0.2.9", "192.0.2.10", "192.0.2.11", "192.0.2.12"])
NODES = st.dictionaries(st.sampled_from(["near", "edge-a", "edge-b"]), st.integers(0, 3), max_size=3)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["seen", "failed", "removed"]), ADDRESSES),
    st.tuples(st.just("looked"), ADDRESSES, NODES),
    st.tuples(st.just("tick")),
)


@given(st.lists(st.tuples(STEPS, st.floats(0.0, 200.0)), max_size=60))
def test_whatever_comes_in_whatever_order_the_books_are_right(steps: list[tuple[tuple[object, ...], float]]) -> None:
    agents, now = Agents(CONFIG, 0.0), 0.0
    for (name, *arguments), pause_s in steps:
        now += pause_s
        effects = getattr(agents, str(name))(*arguments, now)
        for effect in effects:
            state = agents.states()[effect.address]
            expected = {Deploy: State.DEPLOYING, Look: State.THERE, Remove: State.REMOVING}[type(effect)]
            assert state is expected
        assert len(agents) <= CONFIG.agents_max
        uses = [node for agent in agents._agents.values() for node in agent.nodes]
        assert +agents._uses == {node: uses.count(node) for node in set(uses)}
        assert all(math.isfinite(agent.look_at) for agent in agents._agents.values())
