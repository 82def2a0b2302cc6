"""Bundles in files, by their digest: what is there as a whole is right, and is not fetched twice."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from netserv.errors import SystemRefusedError
from netserv.signaling.nslp.codes import Code

SPARE_BYTES: Final = 256 << 20
"Of bundles that nobody uses now: a publisher who comes again finds his there."
_CHUNK: Final = 1 << 20


class DigestError(Exception):
    """What came is not what was asked for."""

    code = Code.BAD_REQUEST


class Draft:
    """A bundle while it comes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    def check(self, digest: bytes) -> None:
        """See that it is the bundle.

        Raises:
            DigestError: it is another one.
        """
        if not hmac.compare_digest(self._hash.digest(), digest):
            raise DigestError(f"its SHA-256 is {self._hash.hexdigest()}, not that of the request")


class Spool:
    """A directory of bundles, of this node alone.

    Args:
        directory: is made if there is none.

    Raises:
        SystemRefusedError: it cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for draft in directory.glob(".draft-*"):  # of a node that was killed
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise SystemRefusedError(f"bundles in {directory}: {error.strerror}; give another state_dir") from error

    def path(self, digest: bytes) -> Path:
        """Where a bundle is, or would be."""
        return self._directory / f"{digest.hex()}.zip"

    def has(self, digest: bytes) -> bool:
        """Whether a bundle is there and whole; one that was damaged is removed."""
        path = self.path(digest)
        found = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while data := file.read(_CHUNK):
                    found.update(data)
            if hmac.compare_digest(found.digest(), digest):
                os.utime(path)
                return True
            path.unlink()
        except OSError:
            pass
        return False

    @contextmanager
    def draft(self, digest: bytes) -> Iterator[Draft]:
        """A bundle that comes; it is in its place if its digest is right when the context ends.

        Raises:
            DigestError: it is not.
            SystemRefusedError: it cannot be written.
        """
        path = self._directory / f".draft-{secrets.token_hex(8)}"
        try:
            with path.open("xb") as file:
                draft = Draft(file)
                yield draft
            draft.check(digest)
            path.replace(self.path(digest))
        except OSError as error:
            raise SystemRefusedError(f"bundles in {self._directory}: {error.strerror or error}") from error
        finally:
            path.unlink(missing_ok=True)

    def trim(self, used: Collection[bytes]) -> None:
        """Remove those that were used longest ago, but for some, and for those that are in use."""
        names = {f"{digest.hex()}.zip" for digest in used}
        spare = []
        for path in self._directory.glob("*.zip"):
            if path.name not in names:
                status = path.stat()
                spare.append((status.st_mtime, status.st_size, path))
        spare.sort()
        size = sum(each[1] for each in spare)
        for _at, bytes_, path in spare:
            if size <= SPARE_BYTES:
                return
            path.unlink(missing_ok=True)
            size -= bytes_
