"""Which key and name this machine's node has: those of its signalling, where that runs, else ones of its own."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from mdht.errors import MdhtError
from mdht.signing import SigningKey
from mdht.state_home import state_home
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.record import made_name

log = logging.getLogger(__name__)

KEY_FILE: Final = "identity.pem"
NAME_FILE: Final = "node-id"
"As signalling has them in its state directory."
NAME_MAX: Final = 256
"Bytes read of a name's file; a name has 63."


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who the node is."""

    key: SigningKey
    node_id: str
    where: Path
    "File of the key."


def own_identity(
    *, key_file: Path | None, node_id: str | None, state_dir: Path | None, environ: Mapping[str, str]
) -> Identity:
    """Return who this machine's node is.

    A node should be one and the same to those who find it and to those who signal to it: so the key of
    `netserv signal daemon` is taken where this user may read it.

    Args:
        key_file: named by the user; None: that of signalling, else one of `state_dir`, made if there is none.
        node_id: named by the user; None: that of signalling, else made from the key.
        state_dir: of this program; None: the usual one.
        environ: of this process.

    Raises:
        LocalProtocolError: a file cannot be used.
    """
    home = state_home(environ)
    try:
        if key_file is not None:
            return _named(SigningKey.load(key_file, "key"), key_file, node_id)
        signalling = home / "netserv" / KEY_FILE
        if state_dir is None and os.access(signalling, os.R_OK):
            log.info("the node has the key of its signalling, %s", signalling)
            return _named(SigningKey.load(signalling, "identity"), signalling, node_id)
        path = (state_dir or home / "netserv-discovery") / KEY_FILE
        return _named(SigningKey.load_or_create(path), path, node_id)
    except MdhtError as error:
        raise LocalProtocolError(str(error)) from error


def _named(key: SigningKey, path: Path, node_id: str | None) -> Identity:
    return Identity(
        key=key, node_id=node_id or _kept_name(path.parent / NAME_FILE) or made_name(key.public_key), where=path
    )


def _kept_name(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(NAME_MAX).decode(errors="replace").strip()
    except OSError:  # most often there is none
        return ""
