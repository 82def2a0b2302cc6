"""The command as people and scripts run it: a daemon in a network namespace of its own, and all that is said to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from netserv.cli import main
from netserv.errors import NetservError
from netserv.signaling.control_client import ControlClient
from netserv.signaling.control_messages import Ask
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.requests import Probe, encode

PATIENCE_S = 20.0


def daemon_words(state: Path, *arguments: str) -> list[str]:
    common = ["--interceptor", "none", "--port", str(free_port()), "--state-dir", str(state)]
    return [sys.executable, "-m", "netserv", "signal", "daemon", *common, *arguments]


class RunningDaemon:
    """`netserv signal daemon` on a free port, with no rules."""

    def __init__(self, directory: Path, *more: str, **environ: str) -> None:
        self.directory = directory
        self.control = f"@netserv-test-{os.getpid()}-{directory.name}"
        arguments = ["--control", self.control, "-v", *more]
        self.process = subprocess.Popen(
            daemon_words(directory / "state", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environ,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def status(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        assert main(["signal", "status", "--control", self.control, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    (tmp_path / "publishers.toml").write_text(f'alice = "{"A" * 43}="\n')
    running = RunningDaemon(tmp_path, "--publishers", str(tmp_path / "publishers.toml"), "--node-id", "edge-1")
    yield running
    if running.process.poll() is None:
        running.stop()


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.loopback  # one daemon of a network namespace at a time
class TestDaemon:
    def test_it_says_when_it_is_ready_and_how_it_stands(
        self, daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert daemon.first_line.startswith("node edge-1 is ready: UDP ")
        assert daemon.first_line.endswith("catching nothing, 1 publishers\n")
        status = daemon.status(capsys)
        assert (status["node_id"], status["publishers"], status["catching"]) == ("edge-1", ["alice"], "none")
        assert status["pid"] == daemon.process.pid
        assert main(["signal", "status", "--control", daemon.control]) == 0
        assert "node:         edge-1\n" in capsys.readouterr().out
        assert main(["signal", "status", "--control", daemon.control, "--prometheus"]) == 0
        assert 'netserv_catching{node="edge-1"} 0\n' in capsys.readouterr().out
        code, said = daemon.stop()
        assert (code, said) == (0, "")

    def test_ctrl_c_ends_it_too(self, daemon: RunningDaemon) -> None:
        assert daemon.stop(signal.SIGINT) == (130, "")

    def test_a_hangup_has_it_read_its_files_again(
        self, daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = daemon.directory / "publishers.toml"
        path.write_text(path.read_text() + f'bob = "{"B" * 43}="\n')
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.status(capsys)["publishers"] == ["alice", "bob"])
        path.write_text("bob = 7\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.stderr is not None
        said = [daemon.process.stderr.readline() for _ in range(2)]
        assert said[0] == "netserv: read again: 2 publishers\n"
        assert "publisher bob" in said[1]
        assert said[1].endswith("what was read before stays\n")
        assert daemon.status(capsys)["publishers"] == ["alice", "bob"]

    def test_another_one_of_the_same_namespace_is_refused(self, daemon: RunningDaemon, tmp_path: Path) -> None:
        done = subprocess.run(daemon_words(tmp_path / "b"), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == (
            "netserv: a signalling daemon runs in this network namespace already; see: netserv signal status\n"
        )

    def test_the_service_manager_is_told(self, tmp_path: Path) -> None:
        path = str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(PATIENCE_S)
            running = RunningDaemon(tmp_path, NOTIFY_SOCKET=path)
            assert manager.recv(4_096) == b"READY=1\nSTATUS=0 sessions, 0 peers, 0 associations"
            assert running.stop()[0] == 0
            assert manager.recv(4_096).startswith(b"STOPPING=1\n")

    def test_metrics_are_served(self, tmp_path: Path) -> None:
        running = RunningDaemon(tmp_path, "--metrics", "0")
        assert running.process.stderr is not None
        url = running.process.stderr.readline().split()[-1]
        host, _, port = url.removeprefix("http://").removesuffix("/metrics").rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert b"netserv_uptime_seconds" in answer
        assert b"netserv_metrics_requests_total" in answer
        assert running.stop()[0] == 0

    def test_a_probe_to_this_machine_goes_through_it(
        self, daemon: RunningDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["probe", "--toward", "127.0.0.1", "--control", daemon.control]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("netserv: ")
        assert daemon.status(capsys)["counters"]["nslp"]["asked"] == 1

    @pytest.mark.parametrize(
        ("source", "destination", "said"),
        [
            ("203.0.113.9", "127.0.0.1", "203.0.113.9 is no address of this machine"),
            (None, "127.0.0.1", "this node is the destination"),
        ],
    )
    def test_a_flow_begins_at_an_address_of_this_machine(
        self, daemon: RunningDaemon, source: str | None, destination: str, said: str
    ) -> None:
        text = encode(Probe(items=("status",), nonce=bytes(16)))
        ask = Ask(text=text, destination=packed(destination), source=None if source is None else packed(source))
        with pytest.raises(NetservError, match=said):
            trio.run(ControlClient(daemon.control).ask, ask)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--publishers", "none.toml"], "publishers file none.toml: No such file or directory"),
            (["--authorised-peers", "none"], "authorised peers none: No such file or directory"),
            (["--interface", "nowhere0"], "no interface 'nowhere0'; there are: "),
            (["--tls-ca", "ca.pem"], "of no use without --tls"),
            (["--tls", "--tls-cert", "a.pem"], "give both --tls-cert and --tls-key"),
            (["--tls", "--tls-cert", "a.pem", "--tls-key", "a.key"], "TLS: a.pem with key a.key: No such file"),
        ],
    )
    def test_what_it_cannot_begin_with_is_one_line(
        self, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        common = ["--interceptor", "none", "--port", str(free_port()), "--state-dir", str(tmp_path)]
        assert main(["signal", "daemon", *common, *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("netserv: ")
        assert said in line

    def test_a_port_that_is_taken_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("", 0))
            port = str(taken.getsockname()[1])
            words = ["--interceptor", "none", "--port", port, "--state-dir", str(tmp_path)]
            assert main(["signal", "daemon", *words]) == 1
        assert f"UDP port {port} is held by another program" in capsys.readouterr().err


def test_without_a_daemon_status_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signal", "status", "--control", "@nobody"]) == 1
    assert capsys.readouterr().err == (
        "netserv: no signalling daemon answers at @nobody; start one: netserv signal daemon\n"
    )


def test_a_key_is_made_once_and_its_public_half_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "alice.pem")
    assert main(["key", "new", path, "--user", "alice"]) == 0
    line = capsys.readouterr().out
    assert line.startswith('alice = "')
    assert main(["key", "show", path, "--user", "alice"]) == 0
    assert capsys.readouterr().out == line
    assert main(["key", "show", path, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["public_key"]) == 64
    assert main(["key", "new", path]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["key", "show", str(tmp_path / "none.pem")]) == 1
    assert "`netserv key new` makes one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["probe", "--toward", "127.0.0.1", "--user", "alice"], "--key and --user go together"),
        (["probe", "--toward", "no host"], "no host: "),
        (["probe", "x", "--toward", "127.0.0.1"], "is not name_version"),
        (["send", "none.txt", "--toward", "127.0.0.1"], "none.txt: No such file or directory"),
        (["send", "/dev/null", "--toward", "127.0.0.1"], "first line"),
        (["send", "/dev/zero", "--toward", "127.0.0.1"], "/dev/zero: a request has 8192 bytes at most"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--own-node"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("netserv: ")
    assert said in line


def test_a_request_in_the_name_of_somebody_wants_his_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "remove.txt"
    path.write_text("REMOVE a.b_1.0 NETSERV/0.1\nuser:alice\n")
    assert main(["send", str(path), "--toward", "127.0.0.1", "--own-node"]) == 1
    assert "is of user alice and has no signature: give --key and --user" in capsys.readouterr().err


def test_a_capture_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.pcap").write_bytes(b"no capture at all, by no means")
    assert main(["gist-dump", str(tmp_path / "x.pcap")]) == 1
    assert "x.pcap" in capsys.readouterr().err
