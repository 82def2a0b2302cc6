"""What a cache has, in 1,024 bytes that are right about what is in it and wrong about few others (mDHT design, 15)."""

from collections.abc import Iterable
from typing import Final, Self

from dhtboot.ids import ID_BYTES
from mdht.errors import LocalProtocolError
from mdht.subnet.errors import WireError

FILTER_BYTES: Final = 1024
"It fits a datagram of 1,200 bytes with header and code."
HASHES: Final = 5
"Of 800 keys they set 39 % of the bits, so that 0.9 % of all others are taken for members; the best number would be 7."
KEYS_MAX: Final = 800
_HASH_BITS: Final = (8 * FILTER_BYTES).bit_length() - 1
_HASHES_BYTES: Final = -(-HASHES * _HASH_BITS // 8)


def mask(key: bytes) -> int:
    """The bits that a key sets; for whoever asks many filters for one key.

    A key is a SHA-1, so slices of it are independent hashes.

    Raises:
        LocalProtocolError: the key has not 20 bytes.
    """
    if len(key) != ID_BYTES:
        raise LocalProtocolError(f"a key has {ID_BYTES} bytes, not {len(key)}")
    rest = int.from_bytes(key[:_HASHES_BYTES], "big")
    bits = 0
    for _ in range(HASHES):
        bits |= 1 << (rest & ((1 << _HASH_BITS) - 1))
        rest >>= _HASH_BITS
    return bits


class Bloom:
    """A filter; empty at first, and nothing is ever taken out of it."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = 0

    @classmethod
    def of(cls, keys: Iterable[bytes]) -> Self:
        """The filter of these keys."""
        bloom = cls()
        for key in keys:
            bloom.add(key)
        return bloom

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A filter as it was sent.

        Raises:
            WireError: it has another size.
        """
        if len(data) != FILTER_BYTES:
            raise WireError(f"{len(data)} bytes of filter, {FILTER_BYTES} wanted")
        bloom = cls()
        bloom._bits = int.from_bytes(data, "big")
        return bloom

    def __bytes__(self) -> bytes:
        return self._bits.to_bytes(FILTER_BYTES, "big")

    def __contains__(self, key: bytes) -> bool:
        return self.covers(mask(key))

    def add(self, key: bytes) -> None:
        """Put a key in."""
        self._bits |= mask(key)

    def covers(self, bits: int) -> bool:
        """Whether the key of which these are the bits is in it; sometimes so of one that is not."""
        return self._bits & bits == bits
