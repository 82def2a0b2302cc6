"""The file of the sites that are known, which several programs of one user share."""

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from z2z.errors import LocalProtocolError
from z2z.trust import Known, listing, read_listing

log = logging.getLogger(__name__)

FILE_NAME: Final = "known-sites"
FILE_MAX: Final = 1 << 20
"Bytes: 4,096 sites with names of 63 bytes take half of that."


def read_known(path: Path) -> list[Known]:
    """The sites in a file; none where there is no file.

    Raises:
        LocalProtocolError: it cannot be read, or a line is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    return sites_in(data, str(path))


def sites_in(data: bytes, source: str) -> list[Known]:
    """The sites in what was read, of which one byte more than `FILE_MAX` is enough.

    Args:
        data: lines of UTF-8.
        source: where they come from, for the error.

    Raises:
        LocalProtocolError: it is too long or no such text, or a line is wrong.
    """
    if len(data) > FILE_MAX:
        raise LocalProtocolError(f"{source} has more than {FILE_MAX} bytes, so it is some other file")
    try:
        return read_listing(data.decode())
    except (UnicodeDecodeError, LocalProtocolError) as error:
        raise LocalProtocolError(f"{source}: {error}") from error


def change_known(path: Path, change: Callable[[set[Known]], None]) -> bool:
    """Change the sites in a file; whether they have changed. Other programs wait meanwhile, and see one or the other.

    Raises:
        LocalProtocolError: it cannot be read or written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock")):
            before = set(read_known(path))
            after = set(before)
            change(after)
            if after == before:
                return False
            draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
            try:
                with open(draft, "w", encoding="utf-8", opener=_private) as file:
                    file.write(listing(after))
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            return True
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error


class KnownSites:
    """Those in one file, as a program that runs follows them.

    Args:
        path: of the file.
        fixed: whether it is the user's own, which is read only.
    """

    def __init__(self, path: Path, *, fixed: bool) -> None:
        self._path, self._fixed = path, fixed
        self._seen: tuple[int, int, int] | None = None
        self._complaint = ""

    def read(self) -> list[Known]:
        """All of them.

        Raises:
            LocalProtocolError: the file cannot be read, or a line is wrong; or it is the user's own and is not there.
        """
        self._seen = self._state()
        if self._fixed and self._seen is None:
            raise LocalProtocolError(f"there is no file {self._path} of sites to trust")
        return read_known(self._path)

    def changed(self) -> list[Known] | None:
        """All of them, if the file is another one than when it was last read; a damaged one changes nothing."""
        if self._state() == self._seen:
            return None
        try:
            found = self.read()
        except LocalProtocolError as error:
            if str(error) != self._complaint:
                log.warning("%s; going on with the sites known so far", error)
            self._complaint = str(error)
            return None
        self._complaint = ""
        return found

    def add(self, known: Known) -> None:
        """Keep one more; what cannot be kept is believed until the program ends."""
        if self._fixed:
            return
        try:
            change_known(self._path, lambda sites: sites.add(known))
        except LocalProtocolError as error:
            log.warning("site %r is not remembered: %s", known.name, error)

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
