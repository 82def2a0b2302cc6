"""The measurements of signalling, with very little of everything: that they run, and say what they found."""

import json

import pytest

from tools import bench_signalling
from tools.bench_signalling import ROWS, main
from tools.signalling_bytes import Sids

Capture = pytest.CaptureFixture[str]


def figures_of(output: str) -> dict[str, dict[str, float]]:
    lines = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    return {line["measurement"]: line for line in lines}


def test_the_engine_is_measured_in_a_few_seconds(capsys: Capture) -> None:
    assert main(["--quick", "--no-lab", "--json"]) == 0
    output = capsys.readouterr().out
    found = figures_of(output)
    assert set(found) == {row.kind for row in ROWS if row.kind.startswith("engine")}
    assert all(found[row.kind][row.figure] > 0 for row in ROWS if row.kind in found and row.figure.endswith("_per_s"))
    # Each session is refreshed about three times in the minute; one in the middle from both sides.
    assert found["engine responding"]["messages"] >= 3 * bench_signalling.QUICK.sessions
    assert found["engine middle"]["messages"] >= 2 * 3 * bench_signalling.QUICK.sessions
    assert "engine, responding: handshakes" in output
    assert "daemon" not in output


@pytest.mark.lab
def test_a_daemon_in_the_middle_is_measured_in_a_laboratory(capsys: Capture) -> None:
    assert main(["--quick", "--only", "daemon middle", "--json"]) == 0
    (found,) = figures_of(capsys.readouterr().out).values()
    assert found["answered"] >= bench_signalling.QUICK.sessions
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["max_ms"]
    assert 0 < found["core_share"] < 1


def test_the_same_seed_opens_the_same_sessions() -> None:
    one, other, third = (Sids(seed) for seed in (1, 1, 2))
    assert [one[number] for number in range(100)] == [other[number] for number in range(100)]
    assert one[0] != third[0]
    assert [one.index(one[number]) for number in range(100)] == list(range(100))


@pytest.mark.parametrize(("share", "verdict"), [(0.4, "yes"), (0.6, "NO")])
def test_a_goal_is_reached_or_missed_by_the_median(
    share: float, verdict: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter((0.0, share, 1.0))

    def engine(kind: str, _count: int, _seed: int) -> dict[str, float]:
        assert kind == "middle"
        return dict.fromkeys((row.figure for row in ROWS), 1.0) | {"core_share": next(shares)}

    monkeypatch.setattr(bench_signalling, "engine", engine)
    assert main(["--only", "engine middle"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "share of a core" in line)
    assert line.split()[-1] == verdict


def test_a_measurement_that_fails_is_said_in_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def engine(_kind: str, _count: int, _seed: int) -> dict[str, float]:
        raise bench_signalling.LabError("it broke")

    monkeypatch.setattr(bench_signalling, "engine", engine)
    assert main(["--only", "engine middle"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "it broke"
