"""The journal over restarts, kills, and clocks that move."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from netserv.controller.effects import Entry, Forget, Record, Remember
from netserv.controller.journal import Clock, Journal, Kept
from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.nslp.requests import encode
from tests.netserv.controller.test_dependencies import located
from tests.netserv.controller.wishes import ALICE, FLOW, setup

KEY = ("alice", "watch")
START = Clock(boot="first", boot_s=5_000.0, wall_s=1_800_000_000.0)
ENTRY = Entry(
    text=encode(setup()), flow=FLOW, publisher=ALICE.public_key, way="prefix", granted_s=3_600, ends_at=3_700.0
)


def later(seconds: float, *, wall_jump_s: float = 0.0, boot: str | None = None) -> Clock:
    return Clock(
        boot=boot or START.boot,
        boot_s=20.0 if boot else START.boot_s + seconds,
        wall_s=START.wall_s + seconds + wall_jump_s,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with one module, written at time 100, that ends at 3,700."""
    path = tmp_path / "journal"
    with Journal.open(path, START) as journal:
        assert journal.load(START, 0.0) == Kept()
        journal.write([Record(key=KEY, entry=ENTRY)], later(100.0), 100.0)
    return path


def left_s(path: Path, clock: Clock) -> float | None:
    """Seconds that the module has left; None if it is not there."""
    with Journal.open(path, clock) as journal:
        entries = journal.load(clock, 1_000.0).entries
    return entries[0][1].ends_at - 1_000.0 if entries else None


def test_what_was_written_is_there_again(path: Path) -> None:
    with Journal.open(path, later(200.0)) as journal:
        ((key, entry),) = journal.load(later(200.0), 55.0).entries
    assert key == KEY
    assert entry == msgspec.structs.replace(ENTRY, ends_at=55.0 + 3_500.0)


def test_what_was_fetched_for_a_module_is_there_with_it_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    entry = msgspec.structs.replace(ENTRY, found=(located(), located("NetServ.lower")))
    with Journal.open(path, START) as journal:
        journal.write([Record(key=KEY, entry=entry)], START, 0.0)
        assert journal.load(START, 0.0).entries == ((KEY, entry),)
        journal.write([Record(key=KEY, entry=ENTRY)], START, 0.0)
        assert journal.load(START, 0.0).entries == ((KEY, ENTRY),)
        journal.write_all([(KEY, entry)], START, 0.0)
        assert journal.load(START, 0.0).entries == ((KEY, entry),)
        journal.write([Forget(key=KEY)], START, 0.0)
        assert journal._database.execute("SELECT count(*) FROM dependencies").fetchone() == (0,)


@pytest.mark.parametrize("found", [b"", b"rubbish", b"\x91\x80"])
def test_an_entry_with_rubbish_of_what_was_fetched_is_dropped(path: Path, found: bytes) -> None:
    with Journal.open(path, START) as journal:
        journal._database.execute("INSERT INTO dependencies VALUES (?, ?, ?)", (*KEY, found))
        assert journal.load(START, 0.0).entries == ()
        assert journal._database.execute("SELECT count(*) FROM dependencies").fetchone() == (0,)


def test_time_goes_on_while_the_node_is_down(path: Path) -> None:
    assert left_s(path, later(1_100.0)) == pytest.approx(2_600.0)
    assert left_s(path, later(2_100.0)) == pytest.approx(1_600.0)
    assert left_s(path, later(10_000.0)) == pytest.approx(-6_300.0)


@pytest.mark.parametrize("jump_s", [-1e9, -3_600.0, 3_600.0, 1e9])
def test_a_wall_clock_that_is_set_changes_nothing_within_one_boot(path: Path, jump_s: float) -> None:
    assert left_s(path, later(1_100.0, wall_jump_s=jump_s)) == pytest.approx(2_600.0)


def test_over_a_reboot_the_wall_clock_counts(path: Path) -> None:
    assert left_s(path, later(1_100.0, boot="second")) == pytest.approx(2_600.0)


def test_a_wall_clock_set_back_over_a_reboot_lengthens_no_life(path: Path) -> None:
    with Journal.open(path, later(900.0)) as journal:
        journal.beat(later(900.0))
    assert left_s(path, later(1_100.0, wall_jump_s=-500_000.0, boot="second")) == pytest.approx(2_800.0)


def test_a_wall_clock_set_forth_over_a_reboot_ends_lives_early(path: Path) -> None:
    left = left_s(path, later(1_100.0, wall_jump_s=86_400.0, boot="second"))
    assert left is not None
    assert left < 0.0


def test_a_wall_clock_set_right_while_the_node_runs_is_no_time_that_passed(path: Path) -> None:
    with Journal.open(path, later(200.0)) as journal:
        journal.beat(later(200.0, wall_jump_s=1e9))
    assert left_s(path, later(1_100.0, wall_jump_s=1e9, boot="second")) == pytest.approx(2_600.0)


def test_several_reboots_add_up(path: Path) -> None:
    for number, at in enumerate((1_000.0, 2_000.0, 3_000.0)):
        clock = Clock(boot=f"boot {number}", boot_s=9.0, wall_s=START.wall_s + at)
        assert left_s(path, clock) == pytest.approx(3_700.0 - at)


def test_what_is_forgotten_is_gone_and_a_later_record_takes_its_place(path: Path) -> None:
    other = msgspec.structs.replace(ENTRY, granted_s=7)
    with Journal.open(path, later(200.0)) as journal:
        journal.write([Record(key=KEY, entry=other)], later(200.0), 200.0)
        journal.write([Record(key=("bob", "watch"), entry=ENTRY)], later(200.0), 200.0)
        journal.write([Forget(key=("bob", "watch"))], later(201.0), 201.0)
    with Journal.open(path, later(202.0)) as journal:
        entries = journal.load(later(202.0), 202.0).entries
    assert [(key, entry.granted_s) for key, entry in entries] == [(KEY, 7)]


def test_all_of_it_is_written_again_after_a_failure(path: Path) -> None:
    with Journal.open(path, later(200.0)) as journal:
        journal.write_all([(("bob", "watch"), ENTRY)], later(200.0), 200.0)
    with Journal.open(path, later(202.0)) as journal:
        assert [key for key, _ in journal.load(later(202.0), 202.0).entries] == [("bob", "watch")]


def test_nonces_are_kept_for_a_day(path: Path) -> None:
    with Journal.open(path, later(0.0)) as journal:
        journal.write([Remember(publisher=b"k", nonce=b"n")], later(0.0), 0.0)
    for at, known in ((86_399.0, ((b"k", b"n"),)), (86_401.0, ())):
        clock = later(at, boot=f"boot {at}")
        with Journal.open(path, clock) as journal:
            assert journal.load(clock, 0.0).nonces == known


@pytest.mark.parametrize("damage", [b"no database at all", b"", b"SQLite format 3\0" + bytes(5_000)])
def test_a_damaged_file_is_set_aside(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with Journal.open(path, later(300.0)) as journal:
        assert journal.load(later(300.0), 0.0) == Kept()
        journal.write([Record(key=KEY, entry=ENTRY)], later(300.0), 300.0)
    assert left_s(path, later(301.0)) is not None
    aside = list(path.parent.glob("journal.damaged-*"))
    assert [one.read_bytes() for one in aside] == ([damage] if damage else [])


def test_a_file_of_another_program_is_set_aside(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE modules")
        database.execute("CREATE TABLE modules (other TEXT)")
    database.close()
    assert left_s(path, later(300.0)) is None
    assert list(path.parent.glob("journal.damaged-*"))


def test_a_strange_entry_is_dropped_and_the_others_stay(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO modules VALUES ('bob', 'x', x'00', x'01', x'02', x'03', 'way', 1, 1.0)")
        database.execute("INSERT INTO modules VALUES ('bob', 'y', 7, x'01020304', x'01020304', x'03', 'w', 1, 1.0)")
    database.close()
    with Journal.open(path, later(300.0)) as journal:
        assert [key for key, _ in journal.load(later(300.0), 0.0).entries] == [KEY]
    assert not list(path.parent.glob("journal.damaged-*"))


def test_a_file_of_a_later_version_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LocalProtocolError, match="newer netserv"):
        Journal.open(path, START)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError, match="journal"):
        Journal.open(tmp_path / "none" / "journal", START)


def test_only_its_owner_reads_it(path: Path) -> None:
    assert [file.stat().st_mode & 0o777 for file in path.parent.iterdir()] == [0o600] * len(os.listdir(path.parent))


def test_a_kill_between_two_writes_loses_neither(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.netserv.controller.test_journal import *\n"
        "journal = Journal.open(Path(sys.argv[1]), later(200.0))\n"
        "journal.write([Record(key=('bob', 'watch'), entry=ENTRY)], later(200.0), 200.0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    with Journal.open(path, later(300.0)) as journal:
        assert {key for key, _ in journal.load(later(300.0), 300.0).entries} == {KEY, ("bob", "watch")}


def test_the_clocks_of_this_machine_are_read() -> None:
    one, other = Clock.read(), Clock.read()
    assert one.boot == other.boot
    assert 0.0 <= other.passed_since(one) < 60.0
