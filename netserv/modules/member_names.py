"""Names of the files in a bundle: plain, apart from each other on every file system, below its top."""

import re
from typing import Final

from netserv.modules.errors import BundleError

NAME_MAX: Final = 240
"Characters of a path; with the directory it is unpacked to it stays below what file systems allow."
DEPTH_MAX: Final = 16
_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@+-]{0,126}[A-Za-z0-9_@+-])?")
"No hidden file, no trailing dot, no space, no letter that another one looks like."


class MemberNames:
    """All names of one bundle."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._by_folded: dict[str, str] = {}

    def add(self, name: str, *, directory: bool = False) -> None:
        """Take a name in.

        Args:
            name: as it stands in the zip.
            directory: what it names, with `/` at its end.

        Raises:
            BundleError: it is strange, leads out of the bundle, comes twice, or clashes with another one.
        """
        path = name[:-1] if directory else name
        check_member_name(path)
        if path in self._files or (directory and path in self._directories):
            raise BundleError(f"{path!r} comes twice")
        parts = path.split("/")
        parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
        for piece in (*parents, path):
            if self._by_folded.setdefault(piece.lower(), piece) != piece:
                raise BundleError(f"{path!r} differs from another name only by upper and lower case")
        if not self._files.isdisjoint(parents) or (not directory and path in self._directories):
            raise BundleError(f"{path!r}: a file is in the place of a directory")
        self._directories.update(parents)
        (self._directories if directory else self._files).add(path)


def check_member_name(path: str) -> None:
    """Refuse a path that is not plain.

    Raises:
        BundleError: it is absolute, has `..`, an empty part, or a character other than letters, digits and `_ . @ + -`.
    """
    if len(path) > NAME_MAX or path.count("/") >= DEPTH_MAX:
        raise BundleError(f"{path[:80]!r}: a name has at most {NAME_MAX} characters and {DEPTH_MAX} parts")
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise BundleError(
            f"{path[:80]!r} is no plain name below the top of the bundle: letters, digits and _ . @ + -, parts with / "
            "between them that begin with a letter, digit or _"
        )
