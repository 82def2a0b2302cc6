"""The service manager that has started this program is told how it stands: sd_notify(3) of systemd.

A datagram of `NAME=value` lines to the Unix socket that `NOTIFY_SOCKET` names. Without that variable nothing is told.
"""

import logging
import math
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import trio

log = logging.getLogger(__name__)

STATUS_S: Final = 2.0
"Between two looks whether the line of `systemctl status` is still true."
STATUS_MAX: Final = 256
"Characters of that line: what a terminal shows of it."
SEND_S: Final = 2.0
"Longest wait for room in the manager's socket; it may be busy while a machine starts."


class ServiceManager:
    """The one that has started this program, if there is one.

    Args:
        environ: of this process.
        pid: of this process: the variables may be those of a parent, passed on.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # `@` stands for the zero byte of an abstract address (unix(7)); other families are for virtual machines.
        self._address = {"@": "\0" + name[1:], "/": name}.get(name[:1], "")
        self._watchdog_s = _watchdog_s(environ, pid)
        self._complained = False

    @property
    def present(self) -> bool:
        """Whether somebody wants to be told."""
        return bool(self._address)

    async def report(self, status: Callable[[], str]) -> None:
        """Say that all is ready, then how it goes until cancelled, at last that it ends.

        The watchdog is fed by the same loop that does the work: a program that hangs is found and started again.

        Args:
            status: one line for `systemctl status`.
        """
        if not self.present:
            return
        said = status()
        await self._tell("READY=1", _line(said))
        try:
            while True:
                await trio.sleep(min(STATUS_S, self._watchdog_s / 2))
                now, before = status(), said
                said = now
                fed = ["WATCHDOG=1"] if math.isfinite(self._watchdog_s) else []
                if words := [*fed, *([_line(now)] if now != before else [])]:
                    await self._tell(*words)
        finally:
            with trio.CancelScope(shield=True):
                await self._tell("STOPPING=1", _line("takes back what it has told others"))

    async def _tell(self, *lines: str) -> None:
        with trio.move_on_after(SEND_S), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                await sock.sendto("\n".join(lines).encode(errors="replace"), self._address)
            except OSError as error:
                if not self._complained:
                    log.warning("NOTIFY_SOCKET %r: %s", self._address, error.strerror or error)
                self._complained = True


def of_this_process() -> ServiceManager:
    """The manager of this process, as its environment says."""
    return ServiceManager(os.environ, os.getpid())


def _line(status: str) -> str:
    text = "".join(char if char.isprintable() else " " for char in status)  # a line feed would begin another variable
    return f"STATUS={text[:STATUS_MAX]}"


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """Within how many seconds the manager must hear of this process (sd_watchdog_enabled(3)); infinity for never."""
    microseconds, wanted = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or not int(microseconds) or wanted not in {"", str(pid)}:
        return math.inf
    return int(microseconds) / 1e6
