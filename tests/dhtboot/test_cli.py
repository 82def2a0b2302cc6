import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dhtboot.bootstrap_messages import (
    AddressChallenge,
    BootstrapMessage,
    BootstrapPacket,
    ContactReply,
    ContactRequest,
    JoinAccepted,
    JoinReport,
)
from dhtboot.cli import main
from dhtboot.ids import NodeRef
from dhtboot.wire import Codec


@contextmanager
def serving(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "dhtboot", "serve", "--host", "127.0.0.1", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


def test_a_node_joins_through_the_running_server_and_the_status_counts_it() -> None:
    codec = Codec(BootstrapPacket, network="office")
    with serving("--json", "--network", "office") as process, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        ready = json.loads(line(process))
        assert (ready["event"], ready["network"], ready["pid"]) == ("ready", "office", process.pid)
        host, port = ready["addresses"][0].rsplit(":", 1)
        node.settimeout(10.0)
        node.connect((host, int(port)))

        def exchange(message: BootstrapMessage, cookie: bytes = b"") -> Any:
            node.send(codec.encode(BootstrapPacket(bytes(19) + b"\x07", 1, message, cookie)))
            return codec.decode(node.recv(2048)).message

        challenge = exchange(ContactRequest())
        assert isinstance(challenge, AddressChallenge)
        assert exchange(ContactRequest(), challenge.cookie) == ContactReply(None, challenge.cookie)
        assert exchange(JoinReport(), challenge.cookie) == JoinAccepted(600.0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.settimeout(10.0)
            other.connect((host, int(port)))
            other.send(b"garbage")
            other.send(codec.encode(BootstrapPacket(bytes(20), 2, ContactRequest())))
            assert codec.decode(other.recv(2048)).message.contact == NodeRef(7, node.getsockname())
        os.kill(process.pid, signal.SIGUSR1)
        status = json.loads(line(process))
        assert status["event"] == "status"
        assert (status["nodes"], status["first_nodes"], status["contacts_given"], status["reports"]) == (1, 1, 1, 1)
        assert status["datagrams"] == {"received": 5, "sent": 4, "refused_version": 1}
        assert ended(process, signal.SIGTERM) == (0, "", "")


def test_ctrl_c_ends_with_130_and_without_a_word() -> None:
    with serving("--status-interval", "1") as process:
        assert re.fullmatch(r"bootstrap server of network z2z at 127\.0\.0\.1:[0-9]+", line(process))
        assert json.loads(line(process))["event"] == "status"
        assert ended(process, signal.SIGINT) == (130, "", "")


def test_a_taken_port_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["serve", "--host", "127.0.0.1", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"dhtboot: UDP port {port} on 127.0.0.1 is taken by another program; choose another port, or 0 for any\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["dance"], "invalid choice"),
        (["serve", "--port", "65536"], "'65536' is not within 0..65535"),
        (["serve", "--port", "-1"], "port"),
        (["serve", "--host", "localhost"], "'localhost' is not a numeric IPv4 or IPv6 address"),
        (["serve", "--network", ""], "1 to 64 printable characters"),
        (["serve", "--network", "a\nb"], "1 to 64 printable characters"),
        (["serve", "--lease", "0"], "'0' is not within 1..86400 seconds"),
        (["serve", "--status-interval", "nan"], "'nan' is not within"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_help_shows_examples_and_version_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out
    assert main(["serve", "--help"]) == 0
    assert "--status-interval" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert re.fullmatch(r"dhtboot [0-9.]+\n", capsys.readouterr().out)


def test_a_reader_that_leaves_is_no_traceback() -> None:
    with serving("--status-interval", "1") as process:
        line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(timeout=10) == 1
