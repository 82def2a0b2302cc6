"""The pre-shared key of a subnet: made from a passphrase, read from a file (mDHT design, section 14, level 1)."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from mdht.errors import LocalProtocolError
from mdht.subnet.identity import overlay_bytes
from mdht.subnet.wire import KEYS_MAX

KEY_BYTES: Final = 32
SCRYPT_N: Final = 1 << 14
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
PASSPHRASE_MIN: Final = 8
"Bytes: whoever records one datagram may try passphrases at leisure, some ten a second on one core."
FILE_MAX: Final = 4096
"Bytes of a key file; a larger one is some other file."


def derive_key(passphrase: bytes, overlay: str) -> bytes:
    """The key of a passphrase in one overlay; takes a twentieth of a second and 16 MiB, as it does an attacker.

    Raises:
        LocalProtocolError: the overlay's name is empty or too long.
    """
    return hashlib.scrypt(passphrase, salt=overlay_bytes(overlay), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=KEY_BYTES)


def read_keys(path: Path, overlay: str) -> tuple[bytes, ...]:
    """The keys in a file: a passphrase on the first line, and perhaps another one that is accepted too on the second.

    To change the passphrase, add the new one on the second line of every host, then swap the two lines everywhere,
    then remove the former one.

    Raises:
        LocalProtocolError: the file cannot be used; the text says why, and what to change.
    """
    lines = [line.strip() for line in _read(path).splitlines()]
    phrases = [line for line in lines if line]
    if not 1 <= len(phrases) <= KEYS_MAX:
        raise LocalProtocolError(
            f"key file {path} has {len(phrases)} passphrases; write one on the first line, and during a change "
            "another one on the second"
        )
    if any(len(phrase) < PASSPHRASE_MIN for phrase in phrases):
        raise LocalProtocolError(
            f"key file {path} has a passphrase of under {PASSPHRASE_MIN} bytes; choose a longer one"
        )
    return tuple([derive_key(phrase, overlay) for phrase in phrases])


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise LocalProtocolError(f"key file {path} is not a regular file")
            if mode & 0o077:
                raise LocalProtocolError(f"key file {path} is open to other users: chmod 600 {path}")
            text = file.read(FILE_MAX + 1)
    except OSError as error:
        raise LocalProtocolError(f"key file {path}: {error.strerror or error}") from error
    if len(text) > FILE_MAX:
        raise LocalProtocolError(f"key file {path} has more than {FILE_MAX} bytes, so it is some other file")
    return text
