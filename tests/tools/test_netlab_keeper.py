import os
import subprocess
from pathlib import Path

import pytest

from tools import netlab_keeper as keeper
from tools.netlab import wait_until


def test_a_process_has_one_identity_while_it_lives_and_none_afterwards() -> None:
    process = subprocess.Popen(["sleep", "60"])
    first = keeper.identity(process.pid)
    assert first.startswith(f"{process.pid} ")
    assert keeper.identity(process.pid) == first
    process.kill()
    process.wait()
    assert keeper.identity(process.pid) == ""


def test_a_process_id_that_was_used_again_is_no_keeper(tmp_path: Path) -> None:
    (tmp_path / keeper.KEEPER_FILE).write_text(keeper.identity(os.getpid()))
    assert keeper.keeper_pid(tmp_path) == os.getpid()
    (tmp_path / keeper.KEEPER_FILE).write_text(f"{os.getpid()} 1")
    assert keeper.keeper_pid(tmp_path) is None


@pytest.mark.parametrize("written", ["", "x", "1 2 3", "\n"])
def test_a_strange_keeper_file_names_no_keeper(tmp_path: Path, written: str) -> None:
    (tmp_path / keeper.KEEPER_FILE).write_text(written)
    assert keeper.keeper_pid(tmp_path) is None


def test_only_marked_processes_are_killed(tmp_path: Path) -> None:
    marked = subprocess.Popen(["sleep", "60"], env={**os.environ, keeper.MARK: str(tmp_path)})
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, keeper.MARK: f"{tmp_path}x"})
    try:
        # The kernel lets a parent go on a little before it shows what a program was started with.
        wait_until(lambda: Path(f"/proc/{marked.pid}/environ").read_bytes(), 5, "environment")
        assert keeper.processes_of(tmp_path) == {marked.pid}
        assert keeper.kill_processes(tmp_path) == set()
        assert marked.wait(5) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("avahi:x:103:106:Avahi,,,:/run/avahi:/usr/sbin/nologin", "avahi:x:0:0:Avahi,,,:/run/avahi:/usr/sbin/nologin"),
        ("avahi:x:106:", "avahi:x:0:"),
        ("nobody:x:65534:65534::/:/bin/false", "nobody:x:65534:65534::/:/bin/false"),
        ("avahi-autoipd:x:104:", "avahi-autoipd:x:104:"),
    ],
)
def test_only_the_avahi_user_and_group_become_root(line: str, expected: str) -> None:
    assert keeper.as_root(line) == expected
