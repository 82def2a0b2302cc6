"""Values larger than one record: a manifest under the key, numbered chunks under keys derived from the content.

The first byte of every stored value says what follows, so that no value of a user can pass for a manifest.
"""

import struct
from collections.abc import Sequence
from hashlib import sha1, sha256
from typing import Final

import msgspec

from mdht.errors import LocalProtocolError, MissingChunkError, RemoteProtocolError
from mdht.records import VALUE_MAX

LARGE_VALUE_MAX: Final = 16_384
"Bytes of one value (issue: values to 16 KiB); 23 chunks, so that a read stays within one round of requests."
WHOLE_MAX: Final = VALUE_MAX - 1
"Bytes of a value that fits one record behind its tag."

_WHOLE: Final = 0
_MANIFEST: Final = 1
_CHUNK: Final = 2
_CHUNK_BYTES: Final = VALUE_MAX - 1
_MANIFEST_HEAD: Final = struct.Struct("!BH32s")
_HASH_BYTES: Final = 16
"A chunk's own hash only names the culprit and stops a second pre-image; the whole is checked by all 32 bytes."


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader needs to fetch and check a chunked value."""

    size: int
    "Bytes of the value."
    content: bytes
    "SHA-256 of the value."
    chunk_hashes: tuple[bytes, ...]

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys under which the chunks lie, in order."""
        return tuple(chunk_key(self.content, index) for index in range(len(self.chunk_hashes)))


def chunk_key(content: bytes, index: int) -> bytes:
    """Return the 20-byte key of one chunk of the value with this SHA-256."""
    return sha1(b"mdht chunk" + content + struct.pack("!H", index), usedforsecurity=False).digest()


def split(value: bytes) -> tuple[bytes, list[bytes]]:
    """Return the head that goes under the user's key, and the chunks that go under `chunk_keys(head)`.

    Raises:
        LocalProtocolError: the value is too large for the store.
    """
    if len(value) > LARGE_VALUE_MAX:
        raise LocalProtocolError(f"value of {len(value)} bytes; the store takes at most {LARGE_VALUE_MAX}")
    if len(value) <= WHOLE_MAX:
        return bytes((_WHOLE,)) + value, []
    parts = [value[at : at + _CHUNK_BYTES] for at in range(0, len(value), _CHUNK_BYTES)]
    head = _MANIFEST_HEAD.pack(_MANIFEST, len(value), sha256(value).digest())
    return head + b"".join(_part_hash(part) for part in parts), [bytes((_CHUNK,)) + part for part in parts]


def is_manifest(head: bytes) -> bool:
    """Say whether a stored value is (or claims to be) the manifest of a chunked value."""
    return head[:1] == bytes((_MANIFEST,))


def chunk_keys(head: bytes) -> tuple[bytes, ...]:
    """Return the keys of the chunks that a stored value needs, none for a value that is whole.

    Raises:
        RemoteProtocolError: the stored value is neither whole nor a manifest.
    """
    return read_manifest(head).keys if is_manifest(head) else ()


def read_manifest(head: bytes) -> Manifest:
    """Decode a manifest.

    Raises:
        RemoteProtocolError: the bytes are no manifest that `split` makes.
    """
    if len(head) < _MANIFEST_HEAD.size or not is_manifest(head):
        raise RemoteProtocolError(f"a stored value of {len(head)} bytes is no manifest")
    _tag, size, content = _MANIFEST_HEAD.unpack_from(head)
    count = -(-size // _CHUNK_BYTES)
    if not WHOLE_MAX < size <= LARGE_VALUE_MAX or len(head) != _MANIFEST_HEAD.size + count * _HASH_BYTES:
        raise RemoteProtocolError(f"a manifest of {len(head)} bytes does not fit a value of {size} bytes")
    starts = range(_MANIFEST_HEAD.size, len(head), _HASH_BYTES)
    return Manifest(size=size, content=content, chunk_hashes=tuple(head[at : at + _HASH_BYTES] for at in starts))


def join(head: bytes, chunks: Sequence[bytes | None] = ()) -> bytes:
    """Return the user's value.

    Args:
        head: the stored value under the user's key.
        chunks: the stored values under `chunk_keys(head)`, in that order; None for one that was not found.

    Raises:
        MissingChunkError: a chunk is missing or is not the one that was put.
        RemoteProtocolError: the head is neither a whole value nor a manifest.
    """
    if head[:1] == bytes((_WHOLE,)):
        return head[1:]
    manifest = read_manifest(head)
    count = len(manifest.chunk_hashes)
    parts: list[bytes] = []
    for index, expected in enumerate(manifest.chunk_hashes):
        chunk = chunks[index] if index < len(chunks) else None
        if chunk is None:
            raise MissingChunkError(f"chunk {index + 1} of {count} is missing")
        if chunk[:1] != bytes((_CHUNK,)) or _part_hash(chunk[1:]) != expected:
            raise MissingChunkError(f"chunk {index + 1} of {count} is not the one that was put")
        parts.append(chunk[1:])
    value = b"".join(parts)
    if len(value) != manifest.size or sha256(value).digest() != manifest.content:
        raise MissingChunkError(f"the {count} chunks are not those of the value that was put")
    return value


def _part_hash(part: bytes) -> bytes:
    return sha256(part).digest()[:_HASH_BYTES]
