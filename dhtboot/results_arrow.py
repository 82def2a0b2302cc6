"""Parquet files; the only file that imports pyarrow."""

import io
from pathlib import Path
from typing import Any

from dhtboot.errors import LocalProtocolError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise LocalProtocolError("Parquet needs pyarrow: pip install 'z2z[figures]', or choose --format csv") from error


def parquet_bytes(table: list[dict[str, Any]]) -> bytes:
    """A Parquet file with one row group of these rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table), buffer)
    return buffer.getvalue()


def read_rows(directory: Path) -> list[dict[str, Any]]:
    """The rows of all Parquet files of a directory, as one data set."""
    rows: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows
