"""The files of a verified bundle, written where one container sees them and cannot write.

Below a directory that only the node has ever written to, and by its descriptor, so that no name leads anywhere else.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from netserv.container.descriptors import close_all
from netserv.errors import LocalProtocolError, SystemRefusedError

_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(files: Mapping[str, bytes], store: int, name: str) -> None:
    """Write files into a new directory.

    Args:
        files: content by path; `/` between its parts.
        store: descriptor of the directory in which the new one is made.
        name: of the new one.

    Raises:
        LocalProtocolError: a path that leads out, which a verified bundle has not.
        SystemRefusedError: no room.
    """
    for path in files:
        if any(part in {"", ".", ".."} or "\0" in part for part in path.split("/")):
            raise LocalProtocolError(f"{path[:80]!r} is no path in a bundle")
    try:
        os.mkdir(name, 0o755, dir_fd=store)
    except OSError as error:
        raise SystemRefusedError(f"the bundle cannot be unpacked: {error}") from error
    try:
        top = os.open(name, _ENTER, dir_fd=store)
        try:
            for path, content in files.items():
                _write(path.split("/"), content, top)
        finally:
            os.close(top)
    except OSError as error:
        forget(store, name)
        raise SystemRefusedError(f"the bundle cannot be unpacked: {error}") from error


def forget(store: int, name: str) -> None:
    """Remove what was unpacked."""
    shutil.rmtree(name, ignore_errors=True, dir_fd=store)


def _write(parts: list[str], content: bytes, top: int) -> None:
    opened: list[int] = []
    try:
        for part in parts[:-1]:
            here = opened[-1] if opened else top
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            opened.append(os.open(part, _ENTER, dir_fd=here))
        file = os.open(parts[-1], _MAKE, 0o444, dir_fd=opened[-1] if opened else top)
        with open(file, "wb") as writing:
            writing.write(content)
    finally:
        close_all(opened)
