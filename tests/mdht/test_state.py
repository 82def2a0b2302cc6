import logging
import multiprocessing
import os
import signal
import sqlite3
import stat
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.records import SEQ_MAX, Copy, Record, life_s
from mdht.signing import SigningKey
from mdht.state import CONTACTS_MAX, Batch, OwnRecord, Saved, SavedContact, StateDirectory
from mdht.subnet.identity import Identity, Kind, Subnet
from mdht.subnet.kept import Kept

KEY = bytes(20)
WRITER = SigningKey.from_seed(bytes(32))
OWN = OwnRecord(key=KEY, name=b"n", value=bytes(16_384), ttl_s=300, seq=SEQ_MAX)
CONTACT = SavedContact(id=bytes([7]) * 20, host="2001:db8::1", port=27183, seen_at=50.0)


def record(seq: int = 1, name: bytes = b"", deleted: bool = False) -> Record:
    value = b"" if deleted else b"value"
    return Record.signed(key=KEY, writer=WRITER, name=name, seq=seq, lease_s=300, deleted=deleted, value=value)


def saved(path: Path, wall_s: float) -> Saved:
    with StateDirectory.open(path, wall_s) as state:
        return state.load(wall_s)


def test_everything_comes_back(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path, 100.0) as state:
        first = state.load(100.0)
        assert (first.incarnation, first.own, first.contacts, first.copies) == (1, (), (), ())
        state.save(Batch(own=(OWN,), contacts=(CONTACT,), copies=(Copy(record(), 200.0),)), 100.0)
    again = saved(tmp_path, 150.0)
    assert (again.node_seed, again.incarnation) == (first.node_seed, 2)
    assert (again.own, again.contacts) == ((OWN,), (CONTACT,))
    assert again.copies == (Copy(record(), 150.0),)


def test_what_was_forgotten_or_has_ended_does_not_come_back(tmp_path: Path) -> None:
    copies = tuple(Copy(record(name=bytes([n])), 100.0 * n) for n in (1, 2, 3))
    with StateDirectory.open(tmp_path, 0.0) as state:
        state.load(0.0)
        state.save(Batch(own=(OWN,), contacts=(CONTACT,), copies=copies), 0.0)
        forgotten = (KEY, WRITER.public_key, bytes([3]))
        state.save(Batch(own_forgotten=((KEY, b"n"),), contacts_forgotten=(CONTACT.id,), dropped=(forgotten,)), 1.0)
    again = saved(tmp_path, 150.0)
    assert (again.own, again.contacts) == ((), ())
    assert again.copies == (Copy(copies[1].record, 50.0),)


def test_a_newer_record_takes_the_row_of_its_slot(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path, 0.0) as state:
        state.load(0.0)
        for each in (record(), record(seq=2, deleted=True)):
            state.save(Batch(copies=(Copy(each, 300.0),)), 0.0)
    assert saved(tmp_path, 0.0).copies == (Copy(record(seq=2, deleted=True), 300.0),)


def test_a_clock_set_back_does_not_lengthen_lives(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path, 1e9) as state:
        state.save(Batch(copies=(Copy(record(), 300.0),)), 1e9)
    assert saved(tmp_path, 5.0).copies == (Copy(record(), 300.0),)


@given(st.integers(0, SEQ_MAX), st.booleans(), st.floats(0.5, 1), st.binary(max_size=64))
def test_every_copy_survives_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, seq: int, deleted: bool, share: float, name: bytes
) -> None:
    each = record(seq=seq, name=name, deleted=deleted)
    path = tmp_path_factory.mktemp("state")
    with StateDirectory.open(path, 0.0) as state:
        state.save(Batch(copies=(Copy(each, share * life_s(each)),)), 0.0)
        assert state.load(0.0).copies == (Copy(each, share * life_s(each)),)


def test_only_the_latest_contacts_are_kept(tmp_path: Path) -> None:
    contacts = tuple(
        SavedContact(id=n.to_bytes(20), host="192.0.2.1", port=n, seen_at=float(n)) for n in range(1, CONTACTS_MAX + 9)
    )
    with StateDirectory.open(tmp_path, 0.0) as state:
        state.save(Batch(contacts=contacts), 0.0)
        assert state.load(0.0).contacts == contacts[:7:-1]


def test_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    with StateDirectory.open(path, 0.0) as state:
        state.load(0.0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}


def test_a_second_user_is_named_the_first(tmp_path: Path) -> None:
    said = rf"another mdht \(pid {os.getpid()}\) uses {tmp_path}; stop it"
    with StateDirectory.open(tmp_path, 0.0), pytest.raises(LocalProtocolError, match=said):
        StateDirectory.open(tmp_path, 0.0)
    StateDirectory.open(tmp_path, 0.0).close()


@pytest.mark.parametrize("damage", [b"this is no database at all, but long enough to be read as one" * 99, b"\0" * 64])
def test_a_damaged_database_is_moved_aside(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    first = saved(tmp_path, 0.0)
    database = tmp_path / "state.db"
    database.write_bytes(damage + database.read_bytes()[len(damage) :])
    with caplog.at_level(logging.WARNING):
        again = saved(tmp_path, 77.0)
    assert again.incarnation == 1
    assert again.node_seed != first.node_seed
    assert (tmp_path / "state.db.damaged-77").read_bytes().startswith(damage)
    assert "moved to state.db.damaged-77" in caplog.text


def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, 0.0)
    database = sqlite3.connect(tmp_path / "state.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LocalProtocolError, match="newer mdht"):
        StateDirectory.open(tmp_path, 0.0)
    assert [file.name for file in tmp_path.glob("*damaged*")] == []


def test_a_path_that_cannot_be_a_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalProtocolError, match=r"state directory .*/file"):
        StateDirectory.open(tmp_path / "file", 0.0)


def _write_until_killed(path: Path, ready: Connection) -> None:
    state = StateDirectory.open(path, 0.0)
    state.load(0.0)
    for seq in range(1, 1_000_000):
        state.save(Batch(own=(OwnRecord(key=KEY, name=b"", value=b"v", ttl_s=9, seq=seq),)), 0.0)
        if seq == 20:
            ready.send(seq)


def test_a_killed_process_loses_nothing_that_it_had_saved(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_write_until_killed, args=(tmp_path, theirs))
    process.start()
    assert mine.recv() == 20
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    process.close()
    mine.close()
    theirs.close()
    again = saved(tmp_path, 0.0)
    assert again.incarnation == 2
    assert again.own[0].seq >= 20


def test_the_subnets_that_a_host_was_in_come_back_older(tmp_path: Path) -> None:
    subnet = Subnet(Identity(Kind.RANDOM, bytes(16)), b"tagtagta", "adaptive:1:0.5")
    kept = Kept(subnet=subnet, fingerprint=b"linklink", founded_s=100.0, left_s=0.0, hosts=(("192.0.2.7", 4000),))
    with StateDirectory.open(tmp_path, 1000.0) as state:
        assert state.load(1000.0).kept == ()
        state.keep_subnets((kept,), 1000.0)
    with StateDirectory.open(tmp_path, 1060.0) as state:
        assert state.load(1060.0).kept == (msgspec.structs.replace(kept, left_s=60.0),)


def test_subnets_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path, 1000.0) as state:
        state.load(1000.0)
        with state._database as database:
            database.execute("REPLACE INTO node VALUES ('subnets', x'ff00')")
        assert state.load(1000.0).kept == ()


def test_a_refutation_counts_as_a_start(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path, 1000.0) as state:
        assert state.load(1000.0).incarnation == 1
        state.keep_incarnation(7)
    with StateDirectory.open(tmp_path, 1000.0) as state:
        assert state.load(1000.0).incarnation == 8
