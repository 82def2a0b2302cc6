import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mdht import cli
from mdht.cli import _shown, main


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mdht", *arguments]


class RunningNode:
    """`mdht run` in a process of its own."""

    def __init__(self, state_dir: Path, *more: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.common = ["--no-presence", "--network", "test", "--state-dir", str(state_dir)]
        arguments = command("run", "--port", str(self.port), *self.common, *more)
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    running = RunningNode(tmp_path_factory.mktemp("node"))
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


@pytest.fixture
def passing(node: RunningNode, tmp_path: Path) -> list[str]:
    """Options of a command that has no running node of its own, but knows the other one."""
    return [
        "--no-presence", "--network", "test", "--state-dir", str(tmp_path), "--bootstrap", f"127.0.0.1:{node.port}",
    ]  # fmt: skip


def test_a_node_says_when_it_is_ready(node: RunningNode) -> None:
    assert f":{node.port}" in node.first_line
    assert node.first_line.startswith("host ")


def test_values_go_through_the_running_node(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["put", "office", "hello", *node.common]) == 0
    assert capsys.readouterr().out == "stored at 1 node, for 3600 s unless put again\n"
    assert main(["put", "office", "second", "--name", "n", "--ttl", "60", "--json", *node.common]) == 0
    assert json.loads(capsys.readouterr().out)["expires_in_s"] == 60
    assert main(["get", "office", *node.common]) == 0
    assert sorted(capsys.readouterr().out.splitlines()) == ["hello", "second"]
    assert main(["remove", "office", *node.common]) == 0
    capsys.readouterr()
    assert main(["get", "office", "--json", *node.common]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (found["value"], found["name"], found["lease_s"]) == ("second", "n", 60)


def test_nothing_found_is_status_1(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "nobody put this", *node.common]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "mdht: nothing found under this key\n")


def test_status_and_explain_describe_the_node(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", *node.common]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "test"
    assert main(["status", *node.common]) == 0
    assert "network:    test" in capsys.readouterr().out
    assert main(["explain", "office", "--json", *node.common]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] >= 0


def test_status_tells_prometheus(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--prometheus", *node.common]) == 0
    assert 'mdht_joined{network="test",host="' in capsys.readouterr().out


def test_a_command_without_a_node_joins_for_a_moment(passing: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["put", "corridor", "left", "--json", *passing]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 1
    assert main(["get", "corridor", *passing]) == 0
    assert capsys.readouterr().out == "left\n"
    assert main(["remove", "corridor", *passing]) == 0
    assert main(["get", "corridor", *passing]) == 1


def test_a_large_value_comes_from_stdin_and_back(
    node: RunningNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, status in ((16_384, 0), (16_385, 1)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x" * size)))
        assert main(["put", "big", "-", *node.common]) == status
    assert "more than 16384 bytes" in capsys.readouterr().err
    assert main(["get", "big", *node.common]) == 0
    assert capsys.readouterr().out == "x" * 16_384 + "\n"


def test_a_lone_put_fails_as_it_would_vanish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "JOIN_S", 0.1)
    common = ["--no-presence", "--network", "lone", "--state-dir", str(tmp_path)]
    assert main(["put", "k", "v", *common]) == 1
    assert "not stored: no other node was reached" in capsys.readouterr().err
    assert main(["status", *common]) == 1
    assert "no mdht runs" in capsys.readouterr().err


def test_a_listener_sees_changes_until_interrupted(node: RunningNode) -> None:
    arguments = command("listen", "radio", *node.common)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        # A value put before or after the subscription is seen either way.
        assert main(["put", "radio", "on air", *node.common]) == 0
        assert listener.stdout.readline() == "+ on air\n"
        assert main(["remove", "radio", *node.common]) == 0
        assert listener.stdout.readline().startswith("- ")
        listener.send_signal(signal.SIGINT)
        assert listener.wait(20) == 130


def test_a_second_copy_is_refused_by_name(node: RunningNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *node.common]) == 1
    assert f"another mdht (pid {node.process.pid}) uses" in capsys.readouterr().err


def test_a_wrong_identity_file_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "identity.pem").write_text("nothing")
    os.chmod(tmp_path / "identity.pem", 0o600)
    assert main(["run", "--no-presence", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("mdht: identity file")


def test_an_unknown_interface_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--interface", "nope0", "--state-dir", str(tmp_path)]) == 1
    assert "no interface 'nope0'" in capsys.readouterr().err


def wait_until_written(database: Path) -> None:
    """Wait for the node's next batch; it writes once a second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            if reader.execute("SELECT count(*) FROM records").fetchone() != (0,):
                return
        threading.Event().wait(0.05)
    pytest.fail("nothing was written")


def test_a_killed_node_comes_back_with_what_it_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = RunningNode(tmp_path)
    assert main(["put", "k", "kept", *first.common]) == 0
    assert main(["status", "--json", *first.common]) == 0
    before = json.loads(capsys.readouterr().out.splitlines()[-1])
    wait_until_written(tmp_path / "state.db")
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    again = RunningNode(tmp_path)
    assert main(["get", "k", *again.common]) == 0
    assert capsys.readouterr().out == "kept\n"
    assert main(["status", "--json", *again.common]) == 0
    assert json.loads(capsys.readouterr().out)["node"] == before["node"]
    assert again.stop(signal.SIGINT) == 130


def test_values_of_strangers_cannot_control_the_terminal() -> None:
    assert _shown(b"a\x1b[31mb\n\xff\xe2\x80\xae") == "a\\x1b[31mb\\n\\xff\\u202e"
    assert _shown("Zoë's Müsik ♫".encode()) == "Zoë's Müsik ♫"


def test_a_reader_that_leaves_is_no_crash(node: RunningNode) -> None:
    arguments = command("listen", "pipe", *node.common)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stderr is not None
        assert main(["put", "pipe", "first", *node.common]) == 0
        assert listener.stdout.readline() == "+ first\n"
        listener.stdout.close()
        assert main(["put", "pipe", "second", *node.common]) == 0
        assert listener.wait(20) == 1
        assert listener.stderr.read() == ""
