"""Phrases that sites share, and the secrets made from them: given as words, or in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.link_keys import PASSPHRASE_MIN, derive_key, read_keys
from z2z.errors import LocalProtocolError

SALT: Final = "z2z secret 1"
"Of all secrets: those who share one have nothing else in common."


def phrase(text: str) -> str:
    """What a secret is made from.

    Raises:
        LocalProtocolError: it is too short, or no text.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a secret is Unicode text") from error
    if size < PASSPHRASE_MIN:
        raise LocalProtocolError(
            f"a secret has at least {PASSPHRASE_MIN} bytes, as whoever sees what it covers can try"
        )
    return text


def masters(phrases: Sequence[str], path: Path | None) -> tuple[bytes, ...]:
    """What `cover.Secret` is made of, for each phrase: the first one hides, the others only find.

    Args:
        phrases: as words.
        path: file with a phrase a line, instead.

    Raises:
        LocalProtocolError: both are given, or the file cannot be used.
    """
    if phrases and path is not None:
        raise LocalProtocolError("--secret and --secret-file say the same; give one of them")
    if path is None:
        return tuple([derive_key(each.encode(), SALT) for each in dict.fromkeys(phrases)])
    try:
        return read_keys(path, SALT)
    except MdhtLocalError as error:
        raise LocalProtocolError(f"argument --secret-file: {error}") from error
