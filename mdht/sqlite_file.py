"""A file of SQLite that survives `kill -9`; one that is damaged is set aside, and an empty one takes its place."""

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class NewerFileError(Exception):
    """A later version of the program has written the file."""


class Schema(msgspec.Struct, frozen=True):
    """What is in a file.

    Attributes:
        version: counted up with every change that an older program cannot read.
        statements: that make the tables, if they are not there.
        check: raises `sqlite3.DatabaseError` where a file is as good as damaged, though it can be read.
    """

    version: int
    statements: str
    check: Callable[[sqlite3.Connection], None] = lambda _database: None


def open_file(path: Path, schema: Schema, wall_s: float) -> sqlite3.Connection:
    """Open a file, or make it, for calls from threads that take turns.

    Args:
        path: of it.
        schema: what is in it.
        wall_s: the time, for the name of a damaged one.

    Raises:
        NewerFileError: it is of a later version.
        OSError: it cannot be made.
        sqlite3.Error: it cannot be used, though it is not at fault: a full disk, no permission.
    """
    try:
        return _open(path, schema)
    except sqlite3.OperationalError:
        raise  # disk full, no permission: the file is not at fault
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{int(wall_s)}")
        log.warning("%s is damaged (%s): moved to %s, starting with an empty one", path, error, aside.name)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open(path, schema)


def _open(path: Path, schema: Schema) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's own files copy this mode
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        _prepare(database, schema)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, schema: Schema) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # safe against kill -9; a power cut may cost the last second
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > schema.version:
        raise NewerFileError
    database.executescript(schema.statements)
    database.execute(f"PRAGMA user_version = {schema.version}")
    schema.check(database)
