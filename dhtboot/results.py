"""Results on disk: the whole run as JSON, its intervals as a table (CSV or Parquet)."""

import csv
import hashlib
import io
import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from dhtboot.errors import LocalProtocolError
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import Interval, RunResult

TableFormat = Literal["csv", "parquet"]

COLUMNS: Final = (
    *Interval.__struct_fields__,
    "delivery_rate",
    "right_rate",
    "mean_hops",
)
"Of the table of intervals: the counts of `Interval`, and its rates."

Row = dict[str, float]


def rows(result: RunResult) -> list[Row]:
    """The table of a run, one row an interval."""
    return [{name: getattr(interval, name) for name in COLUMNS} for interval in result.intervals]


def name_of(scenario: Scenario) -> str:
    """A file name that says what was run and is another for each scenario."""
    digest = hashlib.sha256(msgspec.json.encode(scenario)).hexdigest()[:10]
    return f"{scenario.protocol}-{scenario.nodes}-seed{scenario.seed}-{digest}"


def save(result: RunResult, directory: Path, table: TableFormat) -> list[Path]:
    """Write a run; nobody ever sees half a file.

    Returns:
        The files written.

    Raises:
        LocalProtocolError: the directory cannot be written; the text names cause and remedy.
    """
    name = name_of(result.scenario)
    whole = msgspec.json.format(msgspec.json.encode(result), indent=1)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [
            write(directory / f"{name}.json", whole),
            write(directory / f"{name}.{table}", table_bytes(rows(result), table)),
        ]
    except OSError as error:
        raise LocalProtocolError(f"cannot write to {directory}: {error.strerror}; choose another --out") from error


def load(scenario: Scenario, directory: Path) -> RunResult | None:
    """A run that was saved earlier, None when there is none or it does not read as one."""
    try:
        data = (directory / f"{name_of(scenario)}.json").read_bytes()
        result = msgspec.json.decode(data, type=RunResult)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return result if result.scenario == scenario and result.ended != "interrupted" else None


def table_bytes(table: list[Row], kind: TableFormat) -> bytes:
    """A table of equal rows as a file's content."""
    if kind == "parquet":
        from dhtboot.results_arrow import parquet_bytes  # noqa: PLC0415 - half a second that only this format needs

        return parquet_bytes(table)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(table[0]) if table else list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def write(path: Path, data: bytes) -> Path:
    """Put a file in its place in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
