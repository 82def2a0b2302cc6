import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dhtboot.figures import plotting
from mdht import cli_experiment
from mdht.cli import main
from mdht.experiments.all import EXPERIMENTS
from mdht.experiments.base import Experiment, Finding, Row


def _rows(settings: int, seed: int) -> list[Row]:
    if (settings, seed) == (1, 2):
        os.kill(os.getpid(), signal.SIGINT)
    return [{"seed": seed, "number": settings}]


def _figure(rows: Any) -> Any:
    return plotting.axes("", "", "")[0]


SMALL = Experiment[int](
    number=99,
    name="small",
    claim="Numbers are numbers.",
    takes="no time",
    lists=False,
    columns=("seed", "number"),
    settings=lambda short, lists: [0, 1, 2],
    run=_rows,
    figure=_figure,
    findings=lambda rows: [Finding("rows", "6", str(len(rows)), len(rows) == 6)],
)


def test_an_experiment_gives_a_table_a_csv_and_drawings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "office.txt"
    listed.write_text("192.0.2.1\n192.0.2.2\n198.51.100.1\nwhat\n")
    out = tmp_path / "figures"
    arguments = ["experiment", "12", "--short", "--seeds", "1-2", "--hosts", str(listed), "--out", str(out)]
    assert main(arguments) == 0
    text, err = capsys.readouterr()
    assert text.splitlines()[0] == "Experiment 12, deployment (2 seeds, ± is a 95 % interval)."
    assert "| office: alone at /24 |  | 33.3 % |  |" in text
    assert "1 lines are no IPv4 address" in err
    rows = list(csv.DictReader((out / "experiment-12.csv").read_text().splitlines()))
    assert {row["seed"] for row in rows} == {"1", "2"}
    assert tuple(rows[0]) == EXPERIMENTS[12].columns
    assert (out / "experiment-12.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "experiment-12.svg").read_bytes()


def test_json_is_one_object_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "9", "--short", "--json", "--out", str(tmp_path)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"what", "wanted", "measured", "holds"} == set(found[0])
    assert {each["holds"] for each in found} == {True, False, None}


def test_ctrl_c_writes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_experiment, "EXPERIMENTS", {99: SMALL})
    assert main(["experiment", "99", "--seeds", "1-2", "--out", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert "| rows | 6 | 5 | no |" in out
    assert "stopped after 5 of 6 runs" in err
    assert len((tmp_path / "experiment-99.csv").read_text().splitlines()) == 6


def test_all_experiments_are_named_by_number() -> None:
    assert cli_experiment.KNOWN.startswith("1 churn, 2 lookups, 3 availability")
    assert list(EXPERIMENTS) == sorted(EXPERIMENTS)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], f"say which experiment; there are {cli_experiment.KNOWN}"),
        (["13"], f"there is no experiment '13'; there are {cli_experiment.KNOWN}"),
        (["all"], "there is no experiment 'all'"),
        (["7.0"], "there is no experiment '7.0'"),
        (["9", "--seeds", "x"], "--seeds: 'x' is not a whole number"),
        (["7", "--hosts", "hosts.txt"], "experiment 7 looks at no hosts"),
        (["9", "--hosts", "/nonexistent/hosts.txt"], "/nonexistent/hosts.txt: No such file"),
        (["9", "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", *arguments]) == 1
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1


def test_help_says_what_there_is_and_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["experiment", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for each in EXPERIMENTS.values():
        assert f"{each.name:<11} {each.takes}" in text
