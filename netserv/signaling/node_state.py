"""The state directory of a signalling node: its name, its key and its certificate, the same after each restart.

One node has it at a time: two of the same name would not be told apart in a response stack.
"""

import datetime as dt
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mdht.errors import LocalProtocolError as KeyFileError
from mdht.signing import SigningKey
from mdht.state_home import state_home
from netserv.errors import LocalProtocolError, SystemRefusedError

NODE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"One label or more, so that it can stand in a certificate as well."
NAME_DIGITS: Final = 16
"Hexadecimal ones, of a name that nobody has chosen: 64 bits are not met twice on one path."
_BEGINS: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_ENDS: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
"RFC 5280 section 4.1.2.5: no well-defined end. It says which key this is, and nothing more."


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """Who this node is."""

    directory: Path
    node_id: str
    "In response stacks."
    certificate: Path
    "Signed by the node's own key."
    key_file: Path
    key: SigningKey


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return where a node keeps its state (XDG Base Directory Specification)."""
    return state_home(environ) / "netserv"


@contextmanager
def node_state(directory: Path, node_id: str | None = None) -> Iterator[NodeState]:
    """Use a state directory, which is made if there is none, and keep others out of it.

    Args:
        directory: of this node.
        node_id: its name from now on; None: the one that it had, else a new one made from its key.

    Raises:
        LocalProtocolError: the directory holds something else, or the name cannot be one.
        SystemRefusedError: it cannot be read or written, or another node uses it.
    """
    if node_id is not None and not NODE_ID.fullmatch(node_id):
        raise LocalProtocolError(f"{node_id!r} is no name of a node: up to 63 letters, digits, and . _ - inside")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SystemRefusedError(f"state directory {directory}: {error.strerror}; give another --state-dir") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemRefusedError(
                f"state directory {directory} is in use by another node; give this one its own --state-dir"
            ) from error
        yield _state(directory, node_id)
    finally:
        os.close(lock)


def _state(directory: Path, node_id: str | None) -> NodeState:
    path = directory / "identity.pem"
    try:
        key = SigningKey.load_or_create(path)
    except KeyFileError as error:
        raise LocalProtocolError(str(error)) from error
    otherwise = hashlib.sha256(key.public_key).hexdigest()[:NAME_DIGITS]
    try:
        name = _name(directory / "node-id", node_id, otherwise)
        certificate = directory / "certificate.pem"
        _write(certificate, key.certificate(name, begins=_BEGINS, ends=_ENDS))
    except OSError as error:
        raise SystemRefusedError(f"state directory {directory}: {error.strerror}; give another --state-dir") from error
    return NodeState(
        directory=directory,
        node_id=name,
        certificate=certificate,
        key_file=path,
        key=key,
    )


def _name(path: Path, wanted: str | None, otherwise: str) -> str:
    kept = path.read_text(errors="replace").strip() if path.exists() else ""
    if kept and not NODE_ID.fullmatch(kept):
        raise LocalProtocolError(f"{path} holds no name of a node; remove it, or give one with --node-id")
    name = wanted or kept or otherwise
    if name != kept:
        _write(path, f"{name}\n".encode())
    return name


def _write(path: Path, data: bytes) -> None:
    """Replace a file so that a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.new")  # nobody else writes here: the directory is locked
    draft.write_bytes(data)
    draft.replace(path)
