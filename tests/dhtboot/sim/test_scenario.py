from typing import Any

import msgspec
import pytest

from dhtboot.chord.config import ChordConfig
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.sim.config import Churn, Crash, Partition, Scenario
from dhtboot.sim.result import RunResult
from dhtboot.sim.scenario import Progress, simulate

PINNED = {
    "chord": "0ac5a5318f3adc47936759690670858bd5a89d1cd127dce938e71b3b7241e0ac",
    "kademlia": "b1eefcc95a8f9745987d527bb06accfc81347e923655bb3ce6fa92bddb398807",
}


def run(**settings: Any) -> RunResult:
    scenario = Scenario(**{"nodes": 60, "duration_s": 20.0, "seed": 7, **settings})
    print(f"seed {scenario.seed}")
    return simulate(scenario)


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_a_run_is_the_same_to_the_last_message_as_it_was_when_this_was_written(protocol: str) -> None:
    result = run(protocol=protocol)
    assert result.digest == PINNED[protocol]
    assert run(protocol=protocol, seed=8).digest != result.digest


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_messages_may_travel_as_bytes_and_nothing_changes(protocol: str) -> None:
    assert run(protocol=protocol, encode=True, nodes=30).digest == run(protocol=protocol, nodes=30).digest


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_an_overlay_forms_from_nothing_and_delivers_everything(protocol: str) -> None:
    result = run(protocol=protocol, nodes=200)
    assert result.ended == "duration"
    assert result.intervals[-1].joined == result.intervals[-1].alive == 200
    assert result.all_joined_s is not None
    assert result.convergence_s is not None
    assert result.convergence_s <= 15.0
    last = result.intervals[-1]
    assert 0.97 <= last.delivery_rate <= 1.03
    assert last.right_rate >= 0.93
    assert 1.5 <= result.mean_hops <= 5.5  # log2(200) / 2 = 3.8
    assert sum(interval.sent for interval in result.intervals) == pytest.approx(200 * 20, rel=0.1)


def test_a_run_may_end_when_it_has_converged() -> None:
    result = run(nodes=50, until_converged=True)
    assert result.ended == "converged"
    assert result.virtual_s == pytest.approx(result.convergence_s, abs=0.2)


def test_one_node_is_an_overlay() -> None:
    result = run(nodes=1, duration_s=10.0)
    assert result.intervals[-1].joined == 1
    assert result.intervals[-1].right_rate == pytest.approx(1.0, abs=0.3)
    assert result.mean_hops == 0.0


def test_a_run_can_be_stopped_and_tells_how_far_it_came() -> None:
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        return looks == 80

    result = simulate(Scenario(nodes=10, duration_s=1000.0), stop=stop)
    assert result.ended == "interrupted"
    assert result.virtual_s < 10.0


def test_progress_is_told_now_and_then() -> None:
    told: list[Progress] = []
    simulate(Scenario(nodes=300, duration_s=20.0), progress=told.append)
    assert told
    assert [p.virtual_s for p in told] == sorted(p.virtual_s for p in told)
    assert all(p.events_per_s > 0 for p in told)
    assert told[-1].joined > 0


def test_a_result_survives_json() -> None:
    result = run(nodes=20, snapshots_s=(5.0, 10.0))
    assert msgspec.json.decode(msgspec.json.encode(result), type=RunResult) == result
    assert len(result.snapshots) == 2
    assert 5 < len(result.snapshots[0].numbers) <= 20
    assert sorted(result.snapshots[1].numbers) == list(range(20))
    assert result.snapshots[1].ring == 20


LIVE = {"chord": ChordConfig(adaptive=False), "kademlia": KademliaConfig(verify_contacts=False)}


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_losses_are_survived_by_nodes_with_live_settings(protocol: str) -> None:
    result = run(protocol=protocol, loss=0.1, duration_s=60.0, **{protocol: LIVE[protocol]})
    assert result.counters["dropped"] > 0
    assert result.intervals[-1].joined == 60
    # The test message itself is sent once. About 80 % arrive, of 300 in an interval a few percent more or less: so all
    # intervals since the nodes have come are looked at together.
    settled = result.intervals[2:]
    assert sum(each.right for each in settled) > 0.78 * sum(each.sent for each in settled)


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_a_cut_is_felt_and_healed(protocol: str) -> None:
    cut = Partition(start_s=30.0, end_s=60.0)
    result = run(protocol=protocol, partitions=(cut,), duration_s=300.0, **{protocol: LIVE[protocol]})
    before, during, after = (result.intervals[at].right_rate for at in (5, 10, -1))
    assert before > 0.95
    assert during < 0.8
    assert after > 0.95


@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_the_crashed_come_back(protocol: str) -> None:
    crash = Crash(at_s=30.0, share=0.3, restart_s=20.0)
    result = run(protocol=protocol, crashes=(crash,), duration_s=150.0, **{protocol: LIVE[protocol]})
    assert result.intervals[7].alive == 42
    assert result.counters["died"] == 18
    assert result.intervals[-1].joined == 60
    assert result.intervals[-1].right_rate > 0.95


@pytest.mark.parametrize("distribution", ["exponential", "pareto"])
@pytest.mark.parametrize("protocol", ["chord", "kademlia"])
def test_under_churn_the_number_of_nodes_stays_and_most_messages_arrive(protocol: str, distribution: str) -> None:
    churn = Churn(median_s=120.0, distribution=distribution, start_s=20.0)  # type: ignore[arg-type]
    result = run(protocol=protocol, churn=churn, duration_s=200.0, **{protocol: LIVE[protocol]})
    assert 20 < result.counters["died"] < 150
    assert {interval.alive for interval in result.intervals[2:]} == {60}
    assert result.intervals[-1].delivery_rate > 0.85


@pytest.mark.parametrize(
    "settings",
    [
        {"nodes": 0},
        {"rate_per_s": 0.0},
        {"rate_per_s": -5.0},
        {"duration_s": float("inf")},
        {"loss": 1.0},
        {"interval_s": 0.0},
        {"converged_share": 1.5},
    ],
)
def test_nonsense_is_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        Scenario(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Churn, {"median_s": 0.0}),
        (Churn, {"median_s": 10.0, "shape": 1.0}),
        (Partition, {"start_s": 5.0, "end_s": 5.0}),
        (Partition, {"start_s": 5.0, "end_s": 6.0, "share": 1.0}),
        (Crash, {"at_s": 1.0, "share": 0.0}),
        (Crash, {"at_s": 1.0, "share": 0.5, "restart_s": 0.0}),
    ],
)
def test_nonsense_disturbances_are_refused(kind: Any, settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        kind(**settings)
