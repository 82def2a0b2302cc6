"""The one door to `iptables` and `ip`: argument lists, never a shell, and errors that name the remedy."""

import os
import shutil
import subprocess
from typing import Final

from netserv.errors import SystemRefusedError

PROGRAM_S: Final = 10.0
"Longest time of one program; it waits up to 5 s for the lock of xtables."
_SEARCH_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"A plain user's PATH has no iptables on Debian."


def program(version: int) -> str:
    """The program that knows this IP version."""
    return "iptables" if version == 4 else "ip6tables"


def listing(version: int) -> str:
    """All rules of the table `mangle`.

    Raises:
        SystemRefusedError: there are none to be had.
    """
    return run([program(version), "-w", "5", "-t", "mangle", "-S"])


def restore(version: int, *lines: str) -> None:
    """Change the table `mangle` by lines of iptables-restore: all of them take effect at once, or none.

    Raises:
        SystemRefusedError: the kernel does not take them.
    """
    text = "\n".join(["*mangle", *lines, "COMMIT", ""])
    run([f"{program(version)}-restore", "-w", "5", "--noflush"], stdin=text)


def run(words: list[str], *, stdin: str = "", check: bool = True) -> str:
    """Run a program to its end and return what it says.

    Raises:
        SystemRefusedError: it is not there, does not end in time, or fails where `check` is set.
    """
    path = shutil.which(words[0], path=_SEARCH_PATH)
    if path is None:
        package = "iproute2" if words[0] == "ip" else "iptables"
        raise SystemRefusedError(f"there is no program {words[0]}: install the package {package}")
    try:
        done = subprocess.run(
            [path, *words[1:]],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_S,
            check=False,
            start_new_session=True,  # a Ctrl-C on the terminal must not cut the clean-up in half
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemRefusedError(f"{' '.join(words)}: {error}") from error
    if check and done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        remedy = "; run as root" if "ermission denied" in said or "not permitted" in said else ""
        raise SystemRefusedError(f"{' '.join(words)} failed: {said or done.returncode}{remedy}")
    return done.stdout
