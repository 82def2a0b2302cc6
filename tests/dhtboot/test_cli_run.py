import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from distributed import LocalCluster

from dhtboot import cli_scenario
from dhtboot.cli import main
from dhtboot.figures.all import FIGURES
from dhtboot.results_arrow import read_rows
from dhtboot.sim.result import RunResult

SMALL = ["--nodes", "40", "--duration", "15", "--quiet"]


def out(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(list(arguments)) == status
    return capsys.readouterr().out


def test_a_run_prints_its_intervals_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "run", "chord", *SMALL)
    assert "delivered" in text.splitlines()[0]
    assert len(text.splitlines()) == 4 + 7
    assert "mean hops" in text
    assert "log2(40) / 2 = 2.66" in text
    assert text.splitlines()[-1].startswith("digest ")


def test_the_same_options_give_the_same_run_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    first = msgspec.json.decode(out(capsys, "run", "kademlia", *SMALL, "--json"), type=RunResult)
    again = msgspec.json.decode(out(capsys, "run", "kademlia", *SMALL, "--json"), type=RunResult)
    other = msgspec.json.decode(out(capsys, "run", "kademlia", *SMALL, "--json", "--seed", "2"), type=RunResult)
    assert first.digest == again.digest != other.digest
    assert first.scenario.nodes == 40


def test_every_option_reaches_the_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    network = "--rate 10 --delay 20 --jitter 2 --loss 0.1 --churn pareto:84 --partition 5-6:0.5 --crash 7:0.1:2"
    protocol = "--join standard --lookup recursive --stabilize 1-5 --fix-fingers 2-10 --interval 3 --snapshot 1,2"
    options = f"{network} {protocol}".split()
    result = json.loads(out(capsys, "run", "chord", *SMALL, *options, "--json", "--settings", "live"))
    scenario = result["scenario"]
    assert (scenario["rate_per_s"], scenario["delay_s"], scenario["delay_deviation_s"]) == (10.0, 0.02, 0.002)
    assert scenario["churn"]["distribution"] == "pareto"
    assert scenario["partitions"] == [{"start_s": 5.0, "end_s": 6.0, "share": 0.5}]
    assert scenario["crashes"] == [{"at_s": 7.0, "share": 0.1, "restart_s": 2.0}]
    chord = scenario["chord"]
    assert (chord["join"], chord["lookup"], chord["persistent"]) == ("standard", "recursive", True)
    assert (chord["stabilize_min_s"], chord["fix_fingers_max_s"]) == (1.0, 10.0)
    assert len(result["snapshots"]) == 2
    assert len(result["intervals"]) == 5


def test_a_run_is_written_where_it_is_wanted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out(capsys, "run", "chord", *SMALL, "--out", str(tmp_path / "new"), "--format", "parquet")
    assert len(read_rows(tmp_path / "new")) == 3


def test_a_run_that_does_not_converge_says_so_by_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert "after never" in out(capsys, "run", "chord", *SMALL, "--loss", "0.9", "--until-converged", status=3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "pastry"], "invalid choice: 'pastry'"),
        (["run", "chord", "--nodes", "0"], "'0' is not a whole number within 1..10,000,000"),
        (["run", "chord", "--nodes", "1000000000"], "within 1..10,000,000; "),
        (["run", "chord", "--rate", "-1"], "'-1' is not within"),
        (["run", "chord", "--loss", "1"], "'1' is not within 0..0.99"),
        (["run", "chord", "--stabilize", "5-1"], "the first number is the smaller one"),
        (["run", "chord", "--churn", "weibull:84"], "is not exponential:SECONDS or pareto:SECONDS"),
        (["run", "chord", "--churn", "pareto"], "is not exponential:SECONDS or pareto:SECONDS"),
        (["run", "chord", "--partition", "9"], "is not START-END:SHARE, as in 20-40:0.5"),
        (["run", "chord", "--crash", "9"], "is not TIME:SHARE"),
        (["figure", "2.3"], "there is no figure '2.3'; there are 2.1a, 2.1b, 2.2, 2.5, 2.6, 2.7, 2.8 and all"),
        (["sweep", "--protocol", "chord,pastry"], "'pastry' is neither chord nor kademlia"),
        (["live", "--nodes", "100000"], "is not a whole number within 2..2,000"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_says_what_is_possible(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_who_wants_far_too_many_nodes_is_told_how_many_this_memory_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "chord", "--nodes", "1000000000"]) == 2
    assert re.search(r" GB are free here, enough for [1-9][0-9,]* of chord or ", capsys.readouterr().err)


def test_what_does_not_fit_into_the_memory_is_refused_with_what_does(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "kademlia", "--nodes", "10M", "--rate", "1000000"]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dhtboot: 10,000,000 kademlia nodes need about")
    fit = int(line.split("enough for ")[1].split()[0].replace(",", ""))
    assert 0 < fit < 10_000_000
    assert fit * cli_scenario.BYTES_PER_NODE["kademlia"] < cli_scenario.available_bytes()


def wait_until_it_heeds_signals(process: subprocess.Popen[str]) -> None:
    """Until it has put a handler of its own at SIGTERM, which it does last before its work."""
    deadline = time.monotonic() + 60.0
    while True:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        (caught,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")]
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it does not begin"
        time.sleep(0.02)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dhtboot", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_what_there_is(number: signal.Signals, status: int, tmp_path: Path) -> None:
    with start("run", "chord", "--nodes", "500", "--duration", "100000", "--out", str(tmp_path)) as process:
        wait_until_it_heeds_signals(process)
        process.send_signal(number)
        text, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert "interrupted at" in text
    assert "Traceback" not in err
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_figure_is_drawn_and_its_runs_are_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["figure", "2.1a", "--nodes-max", "60", "--out", str(tmp_path), "--quiet", "--jobs", "1"]
    text = out(capsys, *arguments)
    assert "| chord, 60 nodes at 1,000/s: 95 % delivered | 20 s |" in text
    for kind, magic in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert (tmp_path / f"figure-2.1a.{kind}").read_bytes().startswith(magic)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(kept) == 2
    assert out(capsys, *arguments) == text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()} == kept, "nothing ran again"


@pytest.mark.parametrize("number", ["2.7", "2.8"])
def test_the_hub_and_the_chain_are_drawn_in_a_moment(
    number: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = out(capsys, "figure", number, "--out", str(tmp_path))
    assert "2, 3, 4, 5, 6" in text
    assert (tmp_path / f"figure-{number}.png").stat().st_size > 5_000


def test_the_largest_figures_draw_from_small_runs_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = out(capsys, "figure", "2.6", "--nodes-max", "30", "--out", str(tmp_path), "--quiet", "--jobs", "1")
    assert "nodes on the ring" in text
    assert list(FIGURES) == ["2.1a", "2.1b", "2.2", "2.5", "2.6", "2.7", "2.8"]


def grid(tmp_path: Path, *more: str) -> list[str]:
    return ["sweep", "--nodes", "20,30", "--duration", "10", "--out", str(tmp_path), "--quiet", *more]


def test_a_sweep_runs_the_grid_and_goes_on_where_it_was(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = out(capsys, *grid(tmp_path, "--protocol", "chord", "--jobs", "2"))
    assert [line.split()[:2] for line in text.splitlines()[1:]] == [["chord", "20"], ["chord", "30"]]
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len([name for name in files if name.endswith(".parquet")]) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    text = out(capsys, *grid(tmp_path, "--protocol", "chord", "--jobs", "2", "--seeds", "1-2"))
    assert all(path.stat().st_mtime_ns == at for path, at in before.items()), "finished runs are not run again"
    assert len(list(tmp_path.glob("*.parquet"))) == 4
    assert {line.split()[3] for line in text.splitlines()[1:]} == {"2"}


def test_a_sweep_runs_on_a_cluster_given_by_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as cluster:
        arguments = ["--protocol", "chord", "--cluster", cluster.scheduler_address]
        text = out(capsys, *grid(tmp_path, *arguments))
    assert len(text.splitlines()) == 3
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_an_address_where_no_scheduler_is_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(grid(tmp_path, "--cluster", "nonsense://x")) == 1
    assert "no Dask scheduler answers at nonsense://x" in capsys.readouterr().err


def test_a_stopped_sweep_says_how_to_go_on(tmp_path: Path) -> None:
    options = ["--nodes", "400", "--duration", "100000", "--protocol", "chord", "--jobs", "1", "--out", str(tmp_path)]
    with start("sweep", *options) as process:
        wait_until_it_heeds_signals(process)
        process.send_signal(signal.SIGINT)
        _text, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "0 of 1 runs are in" in err
    assert "Traceback" not in err


def test_live_nodes_do_what_the_simulator_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["live", "--nodes", "20", "--rate", "40", "--duration", "8", "--delay", "10", "--jitter", "1"]
    text = out(capsys, *arguments, "--predictions", "2", "--quiet", "--json", "--out", str(tmp_path))
    found = json.loads(text)
    assert found["live"]["intervals"][-1]["joined"] == 20
    assert 0.010 <= found["live"]["delay_s"] < 0.05
    assert found["live_convergence_s"] is not None
    assert found["simulated_convergence_s"] is not None
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".png", ".svg"]


def test_live_nodes_say_goodbye_on_a_signal() -> None:
    with start("live", "--nodes", "10", "--duration", "1000") as process:
        wait_until_it_heeds_signals(process)
        process.send_signal(signal.SIGTERM)
        _text, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "stopped after" in err
    assert "Traceback" not in err
