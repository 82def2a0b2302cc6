"""The keeper: one process that owns a laboratory's namespaces and outlives whoever built the laboratory.

It is started inside fresh namespaces, mounts a `/run` of its own (so the named network namespaces exist for this
laboratory alone) and then waits for the end of its standard input. The laboratory's process holds the other end of that
pipe, so the end comes on a normal exit, on an exception and on `kill -9` alike. Then the keeper kills every process of
the laboratory and removes its directory; with the last process the kernel drops the namespaces, bridges and veths.

This file is run by its path and imports nothing of ours, so it does not matter where the laboratory was started.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/tmp")  # not $TMPDIR: the paths of D-Bus sockets must stay under 108 bytes
PREFIX: Final = "z2zlab-"
MARK: Final = "NETLAB"
"Environment variable that every process of a laboratory inherits; its value is the laboratory's directory."
KEEPER_FILE: Final = "keeper"
READY: Final = "ready"
AVAHI_USER: Final = "avahi"
SWEEP_S: Final = 5.0
"Longest time to wait for killed processes: one that hangs in the kernel must not hang the keeper."
NEWBORN_S: Final = 60.0
"A directory without a keeper that is younger than this belongs to a laboratory that is just starting."


def identity(pid: int) -> str:
    """Name a process for good: its id with its start time, because ids are used again; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{pid} {fields[19]}"  # a zombie is dead; starttime is field 22 of proc(5)


def processes_of(directory: Path) -> set[int]:
    """Return the processes that carry the mark of the laboratory in `directory`, without the caller."""
    mark = f"{MARK}={directory}".encode()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # gone, or somebody else's
                continue
            if mark in environment.split(b"\0"):
                found.add(int(entry))
    return found


def kill_processes(directory: Path) -> set[int]:
    """Kill all processes of a laboratory, again and again while they start new ones; return what would not die."""
    deadline = time.monotonic() + SWEEP_S
    while (found := processes_of(directory)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    return found


def keeper_pid(directory: Path) -> int | None:
    """Return the id of the living keeper of the laboratory in `directory`."""
    try:
        written = (directory / KEEPER_FILE).read_text()
    except OSError:
        return None
    pid = written.partition(" ")[0]
    return int(pid) if pid.isdecimal() and identity(int(pid)) == written else None


def laboratories() -> list[Path]:
    """Return the directories of all laboratories of this user (of every user for root), dead ones included."""
    mine = os.geteuid()
    return sorted(
        path for path in ROOT.glob(f"{PREFIX}*") if not path.is_symlink() and mine in (0, path.lstat().st_uid)
    )


def clean() -> list[Path]:
    """Remove what laboratories left whose keeper was killed too; living laboratories stay untouched."""
    removed = []
    for directory in laboratories():
        newborn = not (directory / KEEPER_FILE).exists() and time.time() - directory.stat().st_mtime < NEWBORN_S
        if newborn or keeper_pid(directory) is not None:
            continue
        kill_processes(directory)
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(directory)
    return removed


def entry(directory: Path, pid: int, namespace: str | None = None, wd: Path | None = None) -> list[str]:
    """Return the words to put before a command so that it runs in a laboratory.

    Each of them replaces itself by the next, so the process id of the whole is that of the command.

    Args:
        directory: the laboratory's.
        pid: its keeper.
        namespace: the network namespace, or none for the one that only the tools use.
        wd: the working directory.
    """
    ours, theirs = os.readlink("/proc/self/ns/user"), os.readlink(f"/proc/{pid}/ns/user")
    user = [] if ours == theirs else ["--user", "--preserve-credentials"]
    words = ["nsenter", f"--target={pid}", *user, "--mount", "--net", f"--wdns={wd or directory}"]
    return words if namespace is None else [*words, "ip", "netns", "exec", namespace]


def keep(directory: Path) -> int:
    """Prepare the mounts, say so, and stay until standard input ends; then leave nothing behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C reaches the whole terminal; only the pipe may end the keeper
    try:
        _mount(directory)
        (directory / KEEPER_FILE).write_text(identity(os.getpid()))
        print(READY, flush=True)
        sys.stdin.buffer.read()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"cannot prepare the laboratory's mounts: {error}", flush=True)
    left = kill_processes(directory)
    shutil.rmtree(directory, ignore_errors=True)
    return 1 if left else 0


def _mount(directory: Path) -> None:
    """Give this mount namespace an empty `/run` and an `avahi` user that is root.

    Avahi hands its run-time directory to its user even with `--no-drop-root`; in a user namespace with one single id
    only that id can be meant.
    """
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.mkdir("/run/netns")
    for name in ("passwd", "group"):
        copy = directory / name
        lines = Path("/etc", name).read_text().splitlines()
        copy.write_text("".join(f"{as_root(line)}\n" for line in lines))
        subprocess.run(["mount", "--bind", str(copy), f"/etc/{name}"], check=True)


def as_root(line: str) -> str:
    """Give id 0 to the user and the group `avahi` in one line of passwd(5) or group(5)."""
    fields = line.split(":")
    if fields[0] == AVAHI_USER:
        ids = 2 if len(fields) == 7 else 1  # passwd(5) has a user and a group id, group(5) its own
        fields[2 : 2 + ids] = ["0"] * ids
    return ":".join(fields)


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
