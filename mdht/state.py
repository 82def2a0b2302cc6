"""The state directory: what a node needs to come back as itself, in one SQLite file that survives `kill -9`.

Nothing here is a coroutine: the node calls `save` about once a second from a worker thread with what changed since.
The wall clock enters only here, as an argument, to let lifetimes run while the node is down.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import msgspec

from mdht.errors import LocalProtocolError
from mdht.records import Copy, Record, lawful, life_s
from mdht.signing import SEED_BYTES, SigningKey
from mdht.sqlite_file import NewerFileError, Schema, open_file
from mdht.state_home import state_home
from mdht.subnet.identity import Identity, Kind, Subnet
from mdht.subnet.kept import HOSTS_MAX, Kept

log = logging.getLogger(__name__)

CONTACTS_MAX: Final = 1_000
"Contacts kept over a restart; a lookup needs a handful that still answer."
_SCHEMA: Final = Schema(
    1,
    """
CREATE TABLE IF NOT EXISTS node (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own (
    key BLOB, name BLOB, value BLOB NOT NULL, ttl_s INTEGER NOT NULL, seq BLOB NOT NULL, deleted INTEGER NOT NULL,
    PRIMARY KEY (key, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contacts (
    id BLOB PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    key BLOB, writer BLOB, name BLOB, seq BLOB NOT NULL, lease_s INTEGER NOT NULL, deleted INTEGER NOT NULL,
    value BLOB NOT NULL, signature BLOB NOT NULL, ends_at REAL NOT NULL,
    PRIMARY KEY (key, writer, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_end ON records (ends_at);
""",
)


def default_state_dir(environ: Mapping[str, str], network: str) -> Path:
    """Return where a network's node keeps its state (XDG Base Directory Specification)."""
    # A network's name may hold any character; its directory must stay below ours.
    return state_home(environ) / "mdht" / ("net-" + urllib.parse.quote(network, safe=""))


class OwnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a program of this machine put, to be kept alive by this node."""

    key: bytes
    name: bytes
    value: bytes
    "The user's value, before it is cut in chunks."
    ttl_s: int
    seq: int
    "The last one used; kept after a removal too, so that the next put supersedes the tombstone."
    deleted: bool = False


class SavedContact(msgspec.Struct, frozen=True, kw_only=True):
    """A node that answered once."""

    id: bytes
    host: str
    port: int
    seen_at: float
    "Wall clock, seconds since 1970."


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the last `save`."""

    own: tuple[OwnRecord, ...] = ()
    own_forgotten: tuple[tuple[bytes, bytes], ...] = ()
    "Key and name."
    contacts: tuple[SavedContact, ...] = ()
    contacts_forgotten: tuple[bytes, ...] = ()
    copies: tuple[Copy, ...] = ()
    dropped: tuple[tuple[bytes, bytes, bytes], ...] = ()
    "Key, writer and name of records that went before their time; those that expired need no mention."


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a node starts with."""

    node_seed: bytes
    "Random, made on the first start: the seed of this host's own key, from whose public half it has its name."
    incarnation: int
    "1 on the first start, one more on each."
    own: tuple[OwnRecord, ...]
    contacts: tuple[SavedContact, ...]
    "The most recently seen first."
    kept: tuple[Kept, ...]
    "The subnets that it was in."
    copies: tuple[Copy, ...]
    "With the time remaining now; their signatures are to be verified again, as a file is not to be trusted."


class _KeptSubnet(msgspec.Struct, frozen=True, array_like=True):
    kind: bytes
    data: bytes
    salt: bytes
    tag: bytes
    fingerprint: bytes
    founded_at: float
    left_at: float
    "Wall clock."
    policy: str
    hosts: tuple[tuple[str, int], ...]


class StateDirectory:
    """One node's directory, locked while open."""

    def __init__(self, path: Path, lock: int, database: sqlite3.Connection) -> None:
        self.path = path
        self._lock, self._database = lock, database

    @classmethod
    def open(cls, path: Path, wall_s: float) -> Self:
        """Lock the directory (created with mode 0700) and open its database (0600).

        Args:
            path: the directory.
            wall_s: wall clock, seconds since 1970; names a damaged database that is moved aside.

        Raises:
            LocalProtocolError: another process uses it, or it cannot be used.
        """
        with _as_local_error(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(path)
            try:
                database = open_file(path / "state.db", _SCHEMA, wall_s)
            except NewerFileError as error:
                os.close(lock)
                raise LocalProtocolError(
                    f"{path / 'state.db'} was written by a newer mdht; update, or pass another --state-dir"
                ) from error
            except BaseException:
                os.close(lock)
                raise
        return cls(path, lock, database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database and the lock."""
        self._database.close()
        os.close(self._lock)

    def load(self, wall_s: float) -> Saved:
        """Count a start and return what is known; call once, before the first `save`."""
        with _as_local_error(self.path), self._database as database:
            _prune(database, wall_s)
            seed = _node_value(database, "seed")
            if seed is None or len(seed) != SEED_BYTES:
                seed = SigningKey.generate().seed
                _set_node_value(database, "seed", seed)
            incarnation = int.from_bytes(_node_value(database, "incarnation") or b"") + 1
            _set_node_value(database, "incarnation", incarnation.to_bytes(8))
            return Saved(
                node_seed=seed,
                incarnation=incarnation,
                own=tuple(
                    OwnRecord(
                        key=key, name=name, value=value, ttl_s=ttl_s, seq=int.from_bytes(seq), deleted=bool(deleted)
                    )
                    for key, name, value, ttl_s, seq, deleted in database.execute("SELECT * FROM own")
                ),
                contacts=tuple(
                    SavedContact(id=node_id, host=host, port=port, seen_at=seen_at)
                    for node_id, host, port, seen_at in database.execute("SELECT * FROM contacts ORDER BY seen_at DESC")
                ),
                kept=tuple(_read_kept(_node_value(database, "subnets"), wall_s)),
                copies=tuple(_read_copies(database, wall_s)),
            )

    def keep_incarnation(self, incarnation: int) -> None:
        """Write a number before it is used.

        Raises:
            LocalProtocolError: it cannot be written.
        """
        with _as_local_error(self.path), self._database as database:
            _set_node_value(database, "incarnation", incarnation.to_bytes(8))

    def keep_subnets(self, kept: tuple[Kept, ...], wall_s: float) -> None:
        """Write which subnets this host was in.

        Raises:
            LocalProtocolError: they cannot be written.
        """
        entries = [_kept_subnet(one, wall_s) for one in kept]
        with _as_local_error(self.path), self._database as database:
            _set_node_value(database, "subnets", msgspec.msgpack.encode(entries))

    def save(self, batch: Batch, wall_s: float) -> None:
        """Write a batch in one transaction; after a crash it is there as a whole or not at all."""
        with _as_local_error(self.path), self._database as database:
            database.executemany(
                "REPLACE INTO own VALUES (?, ?, ?, ?, ?, ?)",
                ((r.key, r.name, r.value, r.ttl_s, r.seq.to_bytes(8), r.deleted) for r in batch.own),
            )
            database.executemany("DELETE FROM own WHERE key = ? AND name = ?", batch.own_forgotten)
            database.executemany(
                "REPLACE INTO contacts VALUES (?, ?, ?, ?)",
                ((c.id, c.host, c.port, c.seen_at) for c in batch.contacts),
            )
            database.executemany("DELETE FROM contacts WHERE id = ?", ((each,) for each in batch.contacts_forgotten))
            database.executemany(
                "REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (_row(copy, wall_s) for copy in batch.copies),
            )
            database.executemany("DELETE FROM records WHERE key = ? AND writer = ? AND name = ?", batch.dropped)
            _prune(database, wall_s)


@contextlib.contextmanager
def _as_local_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise LocalProtocolError(f"state directory {path}: {error}") from error


def _lock(path: Path) -> int:
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise LocalProtocolError(f"another mdht (pid {pid}) uses {path}; stop it or pass --state-dir") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _prune(database: sqlite3.Connection, wall_s: float) -> None:
    database.execute("DELETE FROM records WHERE ends_at <= ?", (wall_s,))
    database.execute(
        "DELETE FROM contacts WHERE id IN (SELECT id FROM contacts ORDER BY seen_at DESC LIMIT -1 OFFSET ?)",
        (CONTACTS_MAX,),
    )


def _node_value(database: sqlite3.Connection, name: str) -> bytes | None:
    row = database.execute("SELECT value FROM node WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _set_node_value(database: sqlite3.Connection, name: str, value: bytes) -> None:
    database.execute("REPLACE INTO node VALUES (?, ?)", (name, value))


def _row(copy: Copy, wall_s: float) -> tuple[object, ...]:
    record = copy.record
    # An unsigned 64-bit number does not fit SQLite's integers: eight bytes do.
    seq = record.seq.to_bytes(8)
    return (
        record.key,
        record.writer,
        record.name,
        seq,
        record.lease_s,
        record.deleted,
        record.value,
        record.signature,
        wall_s + copy.remaining_s,
    )


def _read_kept(data: bytes | None, wall_s: float) -> Iterator[Kept]:
    """Yield the subnets with their ages now; a file that is damaged has none, and then the host founds another one."""
    try:
        entries = msgspec.msgpack.decode(data or b"\x90", type=list[_KeptSubnet])
    except (msgspec.DecodeError, ValueError):
        log.warning("the state directory does not tell which subnet this host was in; it may found another one")
        return
    for entry in entries:
        try:
            subnet = Subnet(Identity(Kind(entry.kind), entry.data, entry.salt), entry.tag, entry.policy)
        except ValueError:
            continue  # of a later version
        left_s = max(0.0, wall_s - entry.left_at)  # a wall clock may have been set back
        founded_s = max(0.0, entry.left_at - entry.founded_at)
        yield Kept(
            subnet=subnet,
            fingerprint=entry.fingerprint,
            founded_s=founded_s,
            left_s=left_s,
            hosts=entry.hosts[:HOSTS_MAX],
        )


def _kept_subnet(kept: Kept, wall_s: float) -> _KeptSubnet:
    identity, left_at = kept.subnet.identity, wall_s - kept.left_s
    return _KeptSubnet(
        identity.kind.value,
        identity.data,
        identity.salt,
        kept.subnet.tag,
        kept.fingerprint,
        left_at - kept.founded_s,
        left_at,
        kept.subnet.policy,
        kept.hosts,
    )


def _read_copies(database: sqlite3.Connection, wall_s: float) -> Iterator[Copy]:
    rows = database.execute("SELECT * FROM records")
    for key, writer, name, seq, lease_s, deleted, value, signature, ends_at in rows:
        record = Record(key, writer, name, int.from_bytes(seq), lease_s, bool(deleted), value, signature)
        if lawful(record):
            # A wall clock that was set back must not lengthen lives.
            yield Copy(record, min(ends_at - wall_s, life_s(record)))
