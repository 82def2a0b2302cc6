"""What all datagrams of subnets have in common: numbered fields, and a code that proves the shared key.

Each field is a byte that names it, two of length, and its value; a field that is repeated stands there several times,
in order. Fields that a receiver does not know are skipped, so that later versions can add some.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mdht.subnet.errors import WireError
from mdht.subnet.identity import overlay_bytes
from mdht.subnet.reader import Reader
from mdht.subnet.values import Form

T = TypeVar("T")

DATAGRAM_MAX: Final = 1200
MAC_BYTES: Final = 16
KEYS_MAX: Final = 2
"The present key and the former one, while it is being replaced."
_FIELD: Final = struct.Struct("!BH")
_KEYED: Final = 1
"Flag: a code follows the body."


class Field(msgspec.Struct, frozen=True):
    """One field of a message: its name here, its number on the wire, its form."""

    name: str
    number: int
    form: Form[Any]
    most: int = 1
    "How often it may stand there; above 1 it is a tuple."


def numbered(
    *fields: tuple[str, Form[Any]] | tuple[str, Form[Any], int],
    first: int = 1,
) -> dict[int, Field]:
    """The fields of a message by their numbers, which count from the first one's."""
    return {number: Field(field[0], number, *field[1:]) for number, field in enumerate(fields, start=first)}


def encode_fields(fields: Mapping[int, Field], message: Any) -> bytes:
    """The fields of a message, in the order of their numbers; one that is None is left out."""
    return b"".join([_encode_field(field, getattr(message, field.name)) for field in fields.values()])


def split_fields(body: Reader) -> list[tuple[int, Reader]]:
    """Number and value of each field that is there, to be read by `decode_fields`, once.

    Raises:
        WireError: the last one passes the end.
    """
    found = []
    while len(body):
        number, length = body.take(_FIELD)
        found.append((number, body.window(length)))
    return found


def decode_fields(fields: Mapping[int, Field], split: Sequence[tuple[int, Reader]], what: str) -> dict[str, Any]:
    """The values of those fields that are there; of repeated ones a tuple, empty where there is none.

    Raises:
        WireError: a field is wrong, or there too often.
    """
    found: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    for number, window in split:
        field = fields.get(number)
        if field is None:
            continue
        value = field.form.decode(window)
        window.close()
        if field.most > 1:
            values = repeated.setdefault(field.name, [])
            if len(values) == field.most:
                raise WireError(f"more than {field.most} {field.name} in {what}")
            values.append(value)
        elif field.name in found:
            raise WireError(f"{field.name} twice in {what}")
        else:
            found[field.name] = value
    for field in fields.values():
        if field.most > 1:
            found[field.name] = tuple(repeated.get(field.name, ()))
    return found


def build(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """The message that has these values.

    Raises:
        WireError: one is missing.
    """
    try:
        return kind(**values)
    except TypeError as error:  # a field without default is missing
        raise WireError(str(error)) from error


def overlay_tag(overlay: str) -> bytes:
    """The four bytes that keep the datagrams of overlays of different names apart."""
    return hashlib.sha1(overlay_bytes(overlay), usedforsecurity=False).digest()[:4]


def code_bytes(flags: int) -> int:
    """How many bytes of a code the flags of a header announce."""
    return MAC_BYTES if flags & _KEYED else 0


class Keys:
    """The keys by which hosts of an overlay know each other.

    Args:
        keys: the one to send with first; without one every datagram is believed.

    Attributes:
        flag: what they add to the flags of a header.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if len(keys) > KEYS_MAX:
            raise ValueError(f"{len(keys)} keys, at most {KEYS_MAX} are accepted at a time")
        self._keys = tuple(keys)
        self.flag = _KEYED if keys else 0

    def signed(self, data: bytes) -> bytes:
        """Header and body with the code behind them, if there is a key."""
        return data + _mac(self._keys[0], data) if self._keys else data

    def check(self, signed: bytes, code: bytes, flags: int) -> None:
        """See what stands behind the body.

        Raises:
            WireError: it is not what the flags announce, or does not prove a key.
        """
        if len(code) != code_bytes(flags):
            raise WireError(f"{len(code)} bytes behind the body")
        if not self._keys:
            if code:
                raise WireError("proves a shared key, and none is configured here")
        elif not any(hmac.compare_digest(code, _mac(key, signed)) for key in self._keys):
            raise WireError("does not prove the shared key")


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:MAC_BYTES]


def _encode_field(field: Field, value: Any) -> bytes:
    if field.most == 1:
        return b"" if value is None else _with_head(field, value)
    return b"".join([_with_head(field, one) for one in value[: field.most]])


def _with_head(field: Field, value: Any) -> bytes:
    data = field.form.encode(value)
    return _FIELD.pack(field.number, len(data)) + data
