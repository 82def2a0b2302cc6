import csv
import io
from pathlib import Path

import pytest

from dhtboot import results
from dhtboot.errors import LocalProtocolError
from dhtboot.results_arrow import read_rows
from dhtboot.sim.config import Churn, Scenario
from dhtboot.sim.result import Interval, RunResult


def result_of(scenario: Scenario, *, ended: str = "duration") -> RunResult:
    intervals = tuple(
        Interval(start_s=5.0 * at, sent=100, delivered=90 + at, right=80, hops=270, alive=50, joined=40 + at)
        for at in range(3)
    )
    return RunResult(
        scenario=scenario,
        ended=ended,  # type: ignore[arg-type]
        virtual_s=15.0,
        intervals=intervals,
        convergence_s=None,
        convergence_right_s=None,
        all_joined_s=None,
        mean_hops=3.0,
        messages=1,
        events=2,
        digest="00",
        wall_s=1.0,
        cpu_s=1.0,
        peak_bytes=10,
    )


SCENARIO = Scenario(nodes=50, churn=Churn(median_s=84.0))


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = result_of(SCENARIO)
    json_file, table = results.save(result, tmp_path / "new", "csv")
    assert results.load(SCENARIO, tmp_path / "new") == result
    assert json_file.name.startswith("chord-50-seed1-")
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert list(rows[0]) == list(results.COLUMNS)
    assert [float(row["delivery_rate"]) for row in rows] == [0.9, 0.91, 0.92]
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".csv", ".json"], "no drafts are left"


def test_a_parquet_table_holds_the_same_rows(tmp_path: Path) -> None:
    result = result_of(SCENARIO)
    results.save(result, tmp_path, "parquet")
    results.save(result_of(Scenario(nodes=7)), tmp_path, "parquet")
    rows = read_rows(tmp_path)
    assert len(rows) == 6
    assert [row for row in rows if row in results.rows(result)] == rows


def test_every_scenario_has_a_name_of_its_own() -> None:
    scenarios = [Scenario(), Scenario(seed=2), Scenario(loss=0.1), Scenario(protocol="kademlia"), Scenario(nodes=5)]
    assert len({results.name_of(scenario) for scenario in scenarios}) == len(scenarios)
    assert results.name_of(Scenario()) == results.name_of(Scenario())


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]"])
def test_what_does_not_read_as_a_run_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{results.name_of(SCENARIO)}.json").write_bytes(content)
    assert results.load(SCENARIO, tmp_path) is None
    assert results.load(Scenario(), tmp_path) is None


def test_an_interrupted_run_does_not_count_as_finished(tmp_path: Path) -> None:
    results.save(result_of(SCENARIO, ended="interrupted"), tmp_path, "csv")
    assert results.load(SCENARIO, tmp_path) is None


def test_a_directory_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LocalProtocolError, match="choose another --out"):
        results.save(result_of(SCENARIO), blocked / "deeper", "csv")
