"""Bundles in files, by their digest: what is there as a whole is right, and is not fetched twice."""

import errno
import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from netserv.errors import SystemRefusedError
from netserv.signaling.nslp.codes import Code, NslpError

SPARE_BYTES: Final = 256 << 20
"Of bundles that nobody uses now: a publisher who comes again finds his there."
BYTES_MAX: Final = 1 << 30
"Of all bundles together: 2,000 of half a megabyte, or 16 of the largest."
OF_PUBLISHER_BYTES_MAX: Final = 128 << 20
"Of one publisher's that are in use: his container has 64 MiB of memory for all of them."
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
            raise DigestError(f"its SHA-256 is {self._hash.hexdigest()}, not that which was asked for")


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
            NslpError: the disk is full (507).
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
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NslpError("the disk of this node is full", code=Code.INSUFFICIENT_STORAGE) from error
            raise SystemRefusedError(f"bundles in {self._directory}: {error.strerror or error}") from error
        finally:
            path.unlink(missing_ok=True)

    def room(self, mine: Collection[bytes], used: Collection[bytes]) -> int:
        """Bytes that one more bundle of a publisher may have; makes room for it.

        Args:
            mine: digests of those that he uses.
            used: of those that anybody does.
        """
        self.trim(used)
        sizes = {path.name: size for _at, size, path in self._files()}
        if sum(sizes.values()) > BYTES_MAX // 2:
            self.trim(used, spare=0)
            sizes = {path.name: size for _at, size, path in self._files()}
        own = sum(sizes.get(f"{digest.hex()}.zip", 0) for digest in mine)
        return max(0, min(BYTES_MAX - sum(sizes.values()), OF_PUBLISHER_BYTES_MAX - own))

    def trim(self, used: Collection[bytes], spare: int = SPARE_BYTES) -> None:
        """Remove those that were used longest ago, but for those in use and `spare` bytes of others."""
        names = {f"{digest.hex()}.zip" for digest in used}
        files = sorted(each for each in self._files() if each[2].suffix == ".zip" and each[2].name not in names)
        size = sum(each[1] for each in files)
        for _at, bytes_, path in files:
            if size <= spare:
                return
            path.unlink(missing_ok=True)
            size -= bytes_

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was used last, its size and where it is; a bundle that just comes counts as well."""
        found = []
        for path in self._directory.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:  # a draft that ended between the two looks
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found
