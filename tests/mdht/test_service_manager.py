import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from mdht.service_manager import STATUS_MAX, STATUS_S, ServiceManager


class Manager:
    """A service manager's end: a real socket."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.sock.recv(4096).decode())
            except BlockingIOError:
                return found


def report_for(seconds: float, environ: dict[str, str], status: Callable[[], str], pid: int = 7) -> None:
    """Let a program report for some seconds of virtual time, then end."""

    async def main() -> None:
        with trio.move_on_after(seconds):
            await ServiceManager(environ, pid).report(status)

    # The clock goes on only when nothing happens: sending to a socket of this machine takes no time.
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_then_the_watchdog_and_changes_then_the_end(tmp_path: Path, abstract: bool) -> None:
    name = f"z2z-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    manager = Manager("\0" + name if abstract else name)
    told = iter(["one", "one", "two", "two\nREADY=0"])
    environ = {"NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "7"}
    report_for(7, environ, lambda: next(told))
    assert manager.heard() == [
        "READY=1\nSTATUS=one",
        "WATCHDOG=1",
        "WATCHDOG=1\nSTATUS=two",
        "WATCHDOG=1\nSTATUS=two READY=0",
        "STOPPING=1\nSTATUS=takes back what it has told others",
    ]
    manager.sock.close()


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "8"}]
)
def test_without_a_watchdog_only_changes_are_told(tmp_path: Path, watchdog: dict[str, str]) -> None:
    path = str(tmp_path / "notify")
    manager = Manager(path)
    report_for(3 * STATUS_S - 1, {"NOTIFY_SOCKET": path, **watchdog}, lambda: "x" * 1000)
    ready, stopping = manager.heard()
    assert ready == f"READY=1\nSTATUS={'x' * STATUS_MAX}"
    assert stopping.startswith("STOPPING=1\n")
    manager.sock.close()


@pytest.mark.parametrize("value", [None, "", "vsock:2:1", "relative"])
def test_where_nobody_listens_nothing_is_told(value: str | None) -> None:
    manager = ServiceManager({} if value is None else {"NOTIFY_SOCKET": value}, 7)
    assert not manager.present
    trio.run(manager.report, lambda: pytest.fail("asked"))


def test_a_socket_that_is_gone_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report_for(10, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "2000000"}, lambda: "fine")
    (line,) = caplog.messages
    assert "gone" in line
    assert "No such file" in line
