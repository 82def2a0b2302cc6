"""What a host of a link keeps on disk: its name there, and the number of its last incarnation."""

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Self

import msgspec

from mdht.errors import LocalProtocolError
from mdht.subnet.messages import HID_BYTES

log = logging.getLogger(__name__)

INCARNATION_MAX: Final = 0xFFFF_0000
"Where a host takes a new name, so that the 32 bits on the wire never run out while it is up."
FILE_MAX: Final = 4096


class _Kept(msgspec.Struct, frozen=True):
    hid: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * HID_BYTES}}}$")]
    incarnation: Annotated[int, msgspec.Meta(ge=0)]


class HostState:
    """One host's file `link.json`, locked while open; `HostState.open` counts a start.

    Attributes:
        hid: its name, random, made on the first start.
        incarnation: 1 on the first start, one more on each, and on each refutation.
    """

    def __init__(self, directory: Path, lock: int, hid: bytes, incarnation: int) -> None:
        self.hid = hid
        self.incarnation = incarnation
        self._path = directory / "link.json"
        self._lock = lock

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Lock the file (its directory is created with mode 0700) and count a start.

        Raises:
            LocalProtocolError: another process uses it, or it cannot be read or written.
        """
        with _as_local_error(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(directory)
            try:
                kept = _load(directory / "link.json")
                state = cls(directory, lock, bytes.fromhex(kept.hid), kept.incarnation)
                state.keep(kept.incarnation + 1)
            except BaseException:
                os.close(lock)
                raise
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)

    def keep(self, incarnation: int) -> None:
        """Write a number before it is used; after a crash the file has it, or the one before, as a whole.

        Raises:
            LocalProtocolError: it cannot be written.
        """
        with _as_local_error(self._path.parent):
            _replace(self._path, msgspec.json.encode(_Kept(self.hid.hex(), incarnation)))
        self.incarnation = incarnation


@contextlib.contextmanager
def _as_local_error(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalProtocolError(f"state directory {directory}: {error.strerror or error}") from error


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "link.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise LocalProtocolError(
            f"another member (pid {pid}) has its name in {directory}; stop it or pass --state-dir"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _load(path: Path) -> _Kept:
    """What the file says, or a new name: a name is random, so nothing is lost with it but a tombstone's memory."""
    new = _Kept(secrets.token_hex(HID_BYTES), 0)
    try:
        with path.open("rb") as file:
            kept = msgspec.json.decode(file.read(FILE_MAX), type=_Kept)
    except FileNotFoundError:
        return new
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("%s is damaged (%s): this host takes a new name", path, error)
        return new
    return kept if kept.incarnation < INCARNATION_MAX else new


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a crash or a full disk never leaves half of it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # a power cut must not bring an older number back: others would take us for an echo
    finally:
        os.close(directory)
