"""Files of keys: a publisher's own, and those of the publishers that a node knows."""

from pathlib import Path
from typing import Final

from mdht.errors import LocalProtocolError as KeyFileError
from mdht.signing import SigningKey
from netserv.errors import LocalProtocolError
from netserv.signaling.nslp.publishers import Publishers, read_publishers

PUBLISHERS_FILE_MAX: Final = 8 << 20
"Bytes: as many publishers as a node may know, each on a line."
_KEY: Final = "key"


def create_key(path: Path) -> SigningKey:
    """A new key in a new file that only its owner can read.

    Raises:
        LocalProtocolError: there is a file already, or it cannot be written.
    """
    try:
        return SigningKey.create(path, _KEY)
    except KeyFileError as error:
        raise LocalProtocolError(str(error)) from error


def load_key(path: Path) -> SigningKey:
    """The key of a file.

    Raises:
        LocalProtocolError: there is none, it is open to other users, or holds something else.
    """
    try:
        return SigningKey.load(path, _KEY)
    except KeyFileError as error:
        hint = "; `netserv key new` makes one" if isinstance(error.__cause__, FileNotFoundError) else ""
        raise LocalProtocolError(f"{error}{hint}") from error


def load_publishers(path: Path) -> Publishers:
    """The publishers of a TOML file.

    Raises:
        LocalProtocolError: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            return read_publishers(_bounded(file.read(PUBLISHERS_FILE_MAX + 1)).decode())
    except OSError as error:
        raise LocalProtocolError(f"publishers file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise LocalProtocolError(f"publishers file {path}: not UTF-8") from None
    except LocalProtocolError as error:
        raise LocalProtocolError(f"publishers file {path}: {error}") from None


def _bounded(data: bytes) -> bytes:
    if len(data) > PUBLISHERS_FILE_MAX:
        raise LocalProtocolError(f"more than {PUBLISHERS_FILE_MAX} bytes")
    return data
