"""Programs that a laboratory starts, and waiting for what they do."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Final, TypeVar

POLL_S: Final = 0.02
"Pause between two looks at a condition; well under the 0.25 s step of mDNS probing (RFC 6762 section 8.1)."

T = TypeVar("T")


class LabError(Exception):
    """The laboratory could not do what it was asked; the text is one line, or a line and a program's own words."""


def end_by_exception() -> None:
    """Have signals that end this program raise `SystemExit`, so that laboratories are taken down on the way out."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)


def wait_until(look: Callable[[], T], timeout_s: float, what: str, explain: Callable[[], str] = str) -> T:
    """Look again and again until the answer is true, and return it.

    Args:
        look: returns something true as soon as the wait is over.
        timeout_s: seconds until giving up.
        what: what is awaited, for the error.
        explain: what else to say in the error (a log, for instance).

    Raises:
        LabError: the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise LabError(f"no {what} within {timeout_s:g} s {explain()}".rstrip())
        time.sleep(POLL_S)
    return answer


class Process(subprocess.Popen[bytes]):
    """A program in the background. Its output goes to a file, so it never blocks on a full pipe.

    The process id is that of the program itself, so `kill()` and `send_signal()` hit what they should.
    """

    def __init__(
        self,
        words: list[str],
        log_path: Path,
        *,
        env: Mapping[str, str],
        stdin: int | IO[bytes] | None,
        stdout: int | IO[bytes] | None,
    ) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            # A session of its own: Ctrl-C on the terminal ends the laboratory, and the laboratory ends the program.
            super().__init__(
                words,
                env=env,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written so far; bytes that are not UTF-8 come as surrogate escapes."""
        return self.log_path.read_bytes().decode(errors="surrogateescape")

    def wait_for(self, text: str, timeout_s: float = 15.0) -> str:
        """Wait until the log has `text`, and return the log.

        Raises:
            LabError: the program has ended without writing it, or the time is up.
        """

        def look() -> str:
            ended = self.poll()
            log = self.log
            if text in log:
                return log
            if ended is not None:
                raise LabError(f"{self.log_path.stem} ended with status {ended} before {text!r}:\n{log}")
            return ""

        return wait_until(look, timeout_s, f"{text!r} from {self.log_path.stem}", lambda: f":\n{self.log}")

    def stop(self, timeout_s: float = 10.0) -> int:
        """Ask the program to end (SIGTERM), wait, and return its status.

        Raises:
            LabError: it does not end; then it is killed.
        """
        self.terminate()
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            self.wait()
            raise LabError(
                f"{self.log_path.stem} did not end within {timeout_s:g} s of SIGTERM:\n{self.log}"
            ) from error
