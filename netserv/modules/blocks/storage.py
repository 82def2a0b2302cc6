"""A key-value store in a module's directory, for what has to outlive it; SQLite underneath.

A call may take milliseconds when a disk is slow: call it from the server thread or from timers, not for each packet.
"""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from netserv.errors import LocalProtocolError, NetservError, SystemRefusedError

KEY_MAX: Final = 512
"Characters."
VALUE_MAX: Final = 1 << 20
"Bytes of one value; what is larger is a file of its own."
SIZE_MAX: Final = 4 << 20
"Bytes of the whole, unless the caller says more: a quarter of the disk space that a publisher has by default."
PAGE_BYTES: Final = 4_096
SIZE_MIN: Final = 16 * PAGE_BYTES
_BUSY_S: Final = 5.0
"For another module of the publisher that has the same file open."
_LISTED: Final = 256
"Keys read at a time, so that others come in between."


class StorageFullError(NetservError):
    """No room for it: the store's own limit, or the publisher's on this node. What was there is still there."""


class KeyValue:
    """Values by key.

    Args:
        path: of the file; `context.storage / "state.db"`.
        size_max: bytes that it may grow to.

    Raises:
        LocalProtocolError: no such size.
        SystemRefusedError: the file cannot be opened, or is no store.
    """

    def __init__(self, path: Path, size_max: int = SIZE_MAX) -> None:
        if size_max < SIZE_MIN:
            raise LocalProtocolError(f"a store of {size_max} bytes; {SIZE_MIN} or more are needed")
        self._path = path
        self._lock = threading.Lock()
        try:
            self._base = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._set_up(size_max)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def get(self, key: str) -> bytes | None:
        """The value of a key, or None."""
        found = self._do("SELECT value FROM entries WHERE key = ?", _checked(key))
        return bytes(found[0][0]) if found else None

    def put(self, key: str, value: bytes) -> None:
        """Keep a value; it is on the disk when this returns.

        Raises:
            LocalProtocolError: key or value is too long.
            StorageFullError: there is no room; the earlier value stays.
        """
        if len(value) > VALUE_MAX:
            raise LocalProtocolError(f"a value has at most {VALUE_MAX} bytes, not {len(value)}; use a file of its own")
        self._do("INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)", _checked(key), value)

    def delete(self, key: str) -> None:
        """Forget a key, if it is there."""
        self._do("DELETE FROM entries WHERE key = ?", _checked(key))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that begin so, in order; what is put in meanwhile may be among them."""
        last, more = prefix, ">="
        while found := self._do(f"SELECT key FROM entries WHERE key {more} ? ORDER BY key LIMIT {_LISTED}", last):  # noqa: S608
            for (key,) in found:
                if not key.startswith(prefix):
                    return
                yield key
            last, more = found[-1][0], ">"

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        with self._lock:
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _set_up(self, size_max: int) -> None:
        for line in (
            f"PRAGMA page_size = {PAGE_BYTES}",
            # One file besides, emptied and not removed each time; the other journals map memory that both ends share.
            "PRAGMA journal_mode = TRUNCATE",
            "PRAGMA synchronous = FULL",
            "PRAGMA temp_store = MEMORY",
            "PRAGMA trusted_schema = OFF",
            f"PRAGMA max_page_count = {size_max // PAGE_BYTES}",
            "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        ):
            self._base.execute(line)

    def _do(self, line: str, *values: str | bytes) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._base.execute(line, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: sqlite3.Error) -> NetservError:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
            return StorageFullError(f"{self._path}: no room for it")
        return SystemRefusedError(f"{self._path}: {error}; remove it if it is no store of yours")


def _checked(key: str) -> str:
    if not 0 < len(key) <= KEY_MAX:
        raise LocalProtocolError(f"a key has 1 to {KEY_MAX} characters, not {len(key)}")
    return key
