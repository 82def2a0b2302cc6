"""What the container says to its node, from any thread and without ever waiting."""

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable
from socket import socket
from typing import Final

from netserv.container import frames
from netserv.container.messages import Failed, FromContainer, Log, Metrics
from netserv.errors import NetservError

WAITING_MAX: Final = 256
"Log lines and counters while the node does not read: what is more is left out, and their number said later."
TEXT_MAX: Final = 4_000
"Characters of a traceback's end."
LINE_MAX: Final = 4_096
LINES_PER_S: Final = 100.0
LINES_BURST: Final = 200.0
FAILURES_PER_S: Final = 10.0
"Of one module: it may fail at each of 100,000 packets a second."


class Reports:
    """The way out of the container.

    Args:
        control: socket to the node; does not block.
        call_soon: has a function called on the packet thread.
    """

    def __init__(self, control: socket, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._control = control
        self._call_soon = call_soon
        self._waiting: deque[FromContainer] = deque()
        self._lock = threading.Lock()
        self.dropped = 0
        "Log lines and counters for which there was no room."
        self.on_waiting: Callable[[bool], None] = lambda _: None
        "Is told on the packet thread whether something waits for the socket to be writable."

    def send(self, message: FromContainer) -> None:
        """Send it, or keep it until there is room; never waits."""
        with self._lock:
            if self._waiting or not self._sent(message):
                if len(self._waiting) >= WAITING_MAX and isinstance(message, Log | Metrics):
                    self.dropped += 1
                    return
                self._waiting.append(message)
                if len(self._waiting) == 1:
                    self._call_soon(lambda: self.on_waiting(True))

    def send_waiting(self) -> None:
        """The socket is writable."""
        with self._lock:
            while self._waiting and self._sent(self._waiting[0]):
                self._waiting.popleft()
            if not self._waiting:
                self.on_waiting(False)

    def _sent(self, message: FromContainer) -> bool:
        try:
            frames.send(self._control, message)
        except BlockingIOError:
            return False
        except (NetservError, OSError, ValueError):
            return True  # the node has gone, as the next read of the packet thread says; or it cannot be encoded
        return True


def plain(text: str) -> str:
    """A text that can be encoded: a module's may have halves of characters."""
    return text.encode(errors="backslashreplace").decode()


def failure_text(error: BaseException) -> str:
    """The end of a traceback, which is where the cause stands."""
    try:
        text = plain("".join(traceback.format_exception(error, limit=-6)))
    except BaseException:  # its text is a module's code, and may fail too, or want to end the process
        text = "an error whose text cannot be had"
    return text[-TEXT_MAX:].strip()


class Allowance:
    """So many in a second, and some at once (token bucket).

    Args:
        rate: per second.
        burst: at once.
    """

    __slots__ = ("_burst", "_left", "_rate", "_since", "refused")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._since = burst, 0.0
        self.refused = 0
        "Since the last one that was allowed."

    def allows(self, now: float) -> bool:
        """Whether one more is allowed."""
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1.0:
            self.refused += 1
            return False
        self._left -= 1.0
        return True

    def take_refused(self) -> int:
        """How many were refused since this was asked last."""
        refused, self.refused = self.refused, 0
        return refused


class Strikes:
    """Failures of one module, as the node hears of them: so many a second, with the number of those in between."""

    def __init__(self, reports: Reports, module: int, clock: Callable[[], float]) -> None:
        self._reports, self._module, self._clock = reports, module, clock
        self._allowance = Allowance(FAILURES_PER_S, FAILURES_PER_S)

    def strike(self, where: str, error: BaseException, text: str | None = None) -> None:
        """The module has failed.

        Args:
            where: as `Failed` has it.
            error: what it raised.
            text: instead of the traceback.
        """
        if self._allowance.allows(self._clock()):
            refused = self._allowance.take_refused()
            more = f"\n({refused} more failures since the last one told)" if refused else ""
            self._reports.send(Failed(self._module, where, (text or failure_text(error)) + more))


class LogFrames(logging.Handler):
    """Sends what a module logs."""

    def __init__(self, reports: Reports, module: int, clock: Callable[[], float]) -> None:
        super().__init__()
        self._reports, self._module, self._clock = reports, module, clock
        self._allowance = Allowance(LINES_PER_S, LINES_BURST)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        if not self._allowance.allows(self._clock()):
            return
        refused = self._allowance.take_refused()
        if refused:
            self._reports.send(Log(self._module, "warning", f"{refused} lines left out: over {LINES_PER_S:g} a second"))
        try:
            text = self.format(record)
        except Exception as error:  # arguments that do not fit the text
            text = f"a line that cannot be put together: {error}"
        self._reports.send(Log(self._module, plain(record.levelname[:16].lower()), plain(text[:LINE_MAX])))
