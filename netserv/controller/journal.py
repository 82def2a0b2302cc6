"""The journal of installed modules: one SQLite file that survives `kill -9`, so that a restart knows what is valid.

Times to live go on while the node is down. Within one boot of the machine the time since then is that of its boot
clock, which nobody sets; over a reboot the wall clock must do, and one that was set back lengthens no life beyond what
was left when the journal was last written (`beat`, each minute).
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from mdht.sqlite_file import NewerFileError, Schema, open_file
from netserv.controller.effects import Effect, Entry, Forget, Located, ModuleKey, Record, Remember
from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.values import Flow

log = logging.getLogger(__name__)

BEAT_S: Final = 60.0
"Between two calls of `beat`: a wall clock that is set back costs at most so much."
NONCES_KEPT_S: Final = 86_400.0
NONCES_MAX: Final = 65_536
"As many as the controller remembers."
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, boot_s REAL NOT NULL, wall_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS modules (
    user TEXT, name TEXT, request BLOB NOT NULL, source BLOB NOT NULL, destination BLOB NOT NULL,
    publisher BLOB NOT NULL, way TEXT NOT NULL, granted_s INTEGER NOT NULL, ends_boot_s REAL NOT NULL,
    PRIMARY KEY (user, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dependencies (
    user TEXT, name TEXT, found BLOB NOT NULL, PRIMARY KEY (user, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nonces (
    publisher BLOB, nonce BLOB, at_boot_s REAL NOT NULL, PRIMARY KEY (publisher, nonce)) WITHOUT ROWID;
"""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """One moment, on the clocks that there are."""

    boot: str
    "Which boot of the machine; another one has another boot clock."
    boot_s: float
    "Since then, suspended time included."
    wall_s: float
    "Since 1970."

    @classmethod
    def read(cls) -> Self:
        """Now."""
        return cls(boot=_boot(), boot_s=time.clock_gettime(time.CLOCK_BOOTTIME), wall_s=time.time())

    def passed_since(self, earlier: "Clock") -> float:
        """Seconds since an earlier moment, as well as can be known; never less than 0."""
        if self.boot == earlier.boot:
            return max(0.0, self.boot_s - earlier.boot_s)
        return max(0.0, self.wall_s - earlier.wall_s)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal knew at the start of the node."""

    entries: tuple[tuple[ModuleKey, Entry], ...] = ()
    nonces: tuple[tuple[bytes, bytes], ...] = ()
    "Public key and nonce of requests that were acted on."


def _check_tables(database: sqlite3.Connection) -> None:
    """See that the tables have the columns that are used: a file of another program is as good as damaged."""
    try:
        for columns in (
            "boot, boot_s, wall_s FROM clock",
            "user, name, request, source, destination, publisher, way, granted_s, ends_boot_s FROM modules",
            "user, name, found FROM dependencies",
            "publisher, nonce, at_boot_s FROM nonces",
        ):
            database.execute(f"SELECT {columns} LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        raise sqlite3.DatabaseError(str(error)) from error


_SCHEMA: Final = Schema(1, _TABLES, _check_tables)


class Journal:
    """One node's journal.

    The node has its state directory for itself (`node_state`), and no two calls are made at a time.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Self:
        """Open the file, or make it; a damaged one is set aside.

        Raises:
            SystemRefusedError: it cannot be used.
            LocalProtocolError: a newer version of this program wrote it.
        """
        with _as_system_error(path):
            try:
                return cls(path, open_file(path, _SCHEMA, clock.wall_s))
            except NewerFileError as error:
                raise LocalProtocolError(
                    f"journal {path} was written by a newer netserv; update, or use another state_dir"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def load(self, clock: Clock, now: float) -> Kept:
        """What was kept, with the time that is left; call once, before anything is written.

        Args:
            clock: this moment.
            now: the same on the clock of the calls.
        """
        with _as_system_error(self.path), self._database as database:
            row = database.execute("SELECT boot, boot_s, wall_s FROM clock").fetchone()
            written = clock if row is None else Clock(boot=row[0], boot_s=row[1], wall_s=row[2])
            # What was written is counted on the boot clock of then; from now on all is on that of today.
            shift = clock.boot_s - written.boot_s - clock.passed_since(written)
            if shift:
                database.execute("UPDATE modules SET ends_boot_s = ends_boot_s + ?", (shift,))
                database.execute("UPDATE nonces SET at_boot_s = at_boot_s + ?", (shift,))
            _beat(database, clock)
            entries = tuple(_entries(database, clock, now))
            nonces = tuple(database.execute("SELECT publisher, nonce FROM nonces ORDER BY at_boot_s"))
            return Kept(entries=entries, nonces=nonces)

    def write(self, effects: Iterable[Effect], clock: Clock, now: float) -> None:
        """Write those effects that are for the journal, as a whole or not at all.

        Raises:
            SystemRefusedError: the disk is full, or the like.
        """
        with _as_system_error(self.path), self._database as database:
            for effect in effects:
                match effect:
                    case Record(key=key, entry=entry):
                        _record(database, key, entry, clock, now)
                    case Forget(key=key):
                        _forget(database, key)
                    case Remember(publisher=publisher, nonce=nonce):
                        database.execute("REPLACE INTO nonces VALUES (?, ?, ?)", (publisher, nonce, clock.boot_s))
                    case _:
                        pass
            _beat(database, clock)

    def write_all(self, entries: Iterable[tuple[ModuleKey, Entry]], clock: Clock, now: float) -> None:
        """Let these be all modules of the journal."""
        with _as_system_error(self.path), self._database as database:
            database.execute("DELETE FROM modules")
            database.execute("DELETE FROM dependencies")
            for key, entry in entries:
                _record(database, key, entry, clock, now)
            _beat(database, clock)

    def beat(self, clock: Clock) -> None:
        """Note that the node lives, and what the time is; forget old nonces."""
        with _as_system_error(self.path), self._database as database:
            _beat(database, clock)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # no /proc: a name that is never the same, so that the wall clock is gone by
        return os.urandom(16).hex()


@contextmanager
def _as_system_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SystemRefusedError(f"journal {path}: {reason}; is the disk full, or the directory another's?") from error


def _beat(database: sqlite3.Connection, clock: Clock) -> None:
    database.execute("REPLACE INTO clock VALUES (1, ?, ?, ?)", (clock.boot, clock.boot_s, clock.wall_s))
    database.execute("DELETE FROM nonces WHERE at_boot_s < ?", (clock.boot_s - NONCES_KEPT_S,))
    database.execute(
        "DELETE FROM nonces WHERE (publisher, nonce) IN "
        "(SELECT publisher, nonce FROM nonces ORDER BY at_boot_s DESC LIMIT -1 OFFSET ?)",
        (NONCES_MAX,),
    )


def _record(database: sqlite3.Connection, key: ModuleKey, entry: Entry, clock: Clock, now: float) -> None:
    _forget(database, key)
    flow = entry.flow
    ends_boot_s = clock.boot_s + entry.ends_at - now
    row = (
        *key,
        entry.text,
        flow.source,
        flow.destination,
        entry.publisher,
        entry.way,
        entry.granted_s,
        ends_boot_s,
    )
    database.execute("INSERT INTO modules VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    if entry.found:
        database.execute("INSERT INTO dependencies VALUES (?, ?, ?)", (*key, msgspec.msgpack.encode(entry.found)))


def _forget(database: sqlite3.Connection, key: ModuleKey) -> None:
    database.execute("DELETE FROM modules WHERE user = ? AND name = ?", key)
    database.execute("DELETE FROM dependencies WHERE user = ? AND name = ?", key)


def _entries(database: sqlite3.Connection, clock: Clock, now: float) -> Iterator[tuple[ModuleKey, Entry]]:
    rows = list(database.execute("SELECT * FROM modules LEFT JOIN dependencies USING (user, name)"))
    for user, name, text, source, destination, publisher, way, granted_s, ends_boot_s, found in rows:
        try:
            entry = msgspec.convert(
                {
                    "text": text,
                    "flow": Flow(source, destination),
                    "publisher": publisher,
                    "way": way,
                    "granted_s": granted_s,
                    "ends_at": now + ends_boot_s - clock.boot_s,
                    "found": () if found is None else msgspec.msgpack.decode(found, type=tuple[Located, ...]),
                },
                Entry,
            )
        except (NslpError, msgspec.MsgspecError, TypeError, ValueError) as error:
            log.warning("journal: an entry of %r is none, and is dropped: %s", user, error)
            _forget(database, (user, name))
            continue
        yield (user, name), entry
