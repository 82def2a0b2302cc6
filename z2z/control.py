"""How programs of one user find each other: a lock against a second copy, a socket for `z2z status`.

Both lie in `run/` of the state directory, one pair per running copy. On the socket the program answers each
connection with JSON lines: a `ProgramStatus`, then one `ServiceStatus` per service.
"""

import fcntl
import hashlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.reports import ServiceStatus

ANSWER_MAX: Final = 16 * 1024 * 1024
"Bytes of one answer: some 10,000 services with long reasons."
PATIENCE_S: Final = 3.0
"Seconds that `z2z status` waits for one program."
CONNECTIONS_MAX: Final = 8
"Connections waiting at the socket; only this user's own commands come here."


class ProgramStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One running program."""

    pid: int
    site: str
    site_id: str
    interface: str
    exports: tuple[str, ...]
    "`_daap._tcp to mdht`, one per type."
    imports: tuple[str, ...]
    "`from mdht`, one per store."
    keys: tuple[str, ...]
    stores: dict[str, str]
    "How each store stands."
    uptime_s: float
    link: dict[str, int] = {}
    "Counters of its links: packets, what was left out of them, records."
    refused: dict[str, int] = {}
    "Values of the stores that were refused since the start, by why; `older` are those that another one has replaced."
    policy: str = ""
    "How its policy stands; empty without one."


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one program says of itself."""

    program: ProgramStatus
    services: tuple[ServiceStatus, ...]


def copy_name(identity: tuple[str, ...]) -> str:
    """Return the file name stem of a program: the same for a second copy of it, whatever the order of its options."""
    return hashlib.sha1("\0".join(identity).encode(errors="replace"), usedforsecurity=False).hexdigest()[:16]


def run_directory(state_dir: Path) -> Path:
    """Return the directory of locks and sockets, created for this user alone.

    Raises:
        LocalProtocolError: it cannot be created.
    """
    path = state_dir / "run"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalProtocolError(
            f"state directory {state_dir}: {error.strerror}; name another with --state-dir"
        ) from error
    return path


@contextmanager
def only_copy(directory: Path, name: str) -> Iterator[None]:
    """Hold the lock of a program while the context lasts; the kernel frees it when the program dies.

    Raises:
        LocalProtocolError: another copy runs.
    """
    path = directory / f"{name}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise LocalProtocolError(f"lock file {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise LocalProtocolError(f"already running (pid {pid})") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        # The file stays: a lock on a deleted file would let two copies run.
    finally:
        os.close(descriptor)


@asynccontextmanager
async def serve(directory: Path, name: str, answer: Callable[[], Answer]) -> AsyncIterator[None]:
    """Answer `z2z status` while the context lasts."""
    with _reachable(directory, f"{name}.sock") as (path, address):
        path.unlink(missing_ok=True)  # of a copy that was killed: we hold the lock
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            await listener.bind(address)
            path.chmod(0o600)
            listener.listen(CONNECTIONS_MAX)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_accept, listener, answer)
                    yield
                    nursery.cancel_scope.cancel()
            finally:
                path.unlink(missing_ok=True)


async def _accept(listener: trio.socket.SocketType, answer: Callable[[], Answer]) -> None:
    while True:
        connection, _ = await listener.accept()
        with connection, suppress(OSError), trio.move_on_after(PATIENCE_S):
            said = answer()
            data = b"".join(msgspec.json.encode(each) + b"\n" for each in (said.program, *said.services))
            await trio.SocketStream(connection).send_all(data)


async def ask_all(state_dir: Path) -> list[Answer]:
    """Return what every running program of a state directory says; silent ones are left out.

    Raises:
        RemoteProtocolError: an answer is no answer.
    """
    answers: list[Answer] = []
    for path in sorted((state_dir / "run").glob("*.sock")):
        with trio.move_on_after(PATIENCE_S), suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                answers.append(decode_answer(await _ask(path)))
    return answers


def decode_answer(data: bytes) -> Answer:
    """Return the answer that these JSON lines make.

    Raises:
        RemoteProtocolError: they make none.
    """
    first, *rest = data.splitlines() or [b""]
    try:
        return Answer(
            program=msgspec.json.decode(first, type=ProgramStatus),
            services=tuple(msgspec.json.decode(line, type=ServiceStatus) for line in rest),
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a running program gave an answer that this version cannot read: {error}") from error


async def _ask(path: Path) -> bytes:
    with _reachable(path.parent, path.name) as (_, address), trio.socket.socket(socket.AF_UNIX) as connection:
        await connection.connect(address)
        data = bytearray()
        while len(data) < ANSWER_MAX and (part := await connection.recv(65_536)):
            data += part
        return bytes(data)


@contextmanager
def _reachable(directory: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield a socket's path and the address to use: a Unix address has 107 bytes, state directories may have more."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory / name, f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
