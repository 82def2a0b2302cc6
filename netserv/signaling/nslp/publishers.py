"""Whom a node knows: publishers by name, each with its public keys."""

import base64
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from mdht.signing import PUBLIC_KEY_BYTES, public_key_from
from netserv.errors import LocalProtocolError
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.values import read_word

PUBLISHERS_MAX: Final = 65_536
"A node with more has a clearinghouse; the file would have 6 MB."
KEYS_MAX: Final = 4
"Of one publisher: the old and the new one while it changes, at two servers. Each costs a check of each signature."


class Publishers(msgspec.Struct, frozen=True):
    """Names and public keys."""

    keys: Mapping[str, tuple[bytes, ...]] = MappingProxyType({})

    def __post_init__(self) -> None:
        if len(self.keys) > PUBLISHERS_MAX:
            raise LocalProtocolError(f"more than {PUBLISHERS_MAX} publishers")
        for name, keys in self.keys.items():
            _check(name, keys)

    def keys_of(self, name: str) -> tuple[bytes, ...]:
        """Public keys of a publisher; none for one that is not known."""
        return self.keys.get(name, ())


def read_publishers(text: str) -> Publishers:
    """The publishers of a TOML file: `name = "base64 of the public key"`, or a list of several.

    Raises:
        LocalProtocolError: the text is something else; it says what and where.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LocalProtocolError(f"not TOML: {error}") from None
    keys = {}
    for name, value in table.items():
        listed = value if isinstance(value, list) else [value]
        keys[name] = tuple(_key(name, one) for one in listed)
    return Publishers(keys)


def publisher_line(name: str, public_key: bytes) -> str:
    """The line of that file for a publisher.

    Raises:
        LocalProtocolError: this cannot be a publisher.
    """
    _check(name, (public_key,))
    bare = all(letter.isalnum() or letter in "_-" for letter in name)
    quoted = name if bare else f'"{name}"'
    return f'{quoted} = "{base64.b64encode(public_key).decode()}"'


def _check(name: str, keys: tuple[bytes, ...]) -> None:
    try:
        read_word(name)
    except NslpError as error:
        raise LocalProtocolError(f"publisher: {error}") from None
    if not 1 <= len(keys) <= KEYS_MAX or any(len(key) != PUBLIC_KEY_BYTES for key in keys):
        raise LocalProtocolError(
            f"publisher {name}: 1 to {KEYS_MAX} public keys of {PUBLIC_KEY_BYTES} bytes are needed"
        )


def _key(name: str, text: object) -> bytes:
    key = public_key_from(text)
    if key is None:
        raise LocalProtocolError(
            f"publisher {name}: {PUBLIC_KEY_BYTES} bytes in base64 are needed, as `netserv key new` prints them"
        )
    return key
