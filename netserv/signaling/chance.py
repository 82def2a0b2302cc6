"""Chance for a node that treats thousands of messages a second."""

import os
from random import SystemRandom
from typing import Final

BLOCK_BYTES: Final = 4_096
_FRACTION_BITS: Final = 53
"Of a float between 0 and 1."


class BlockwiseRandom(SystemRandom):
    """`random.SystemRandom` that reads the kernel's generator in blocks: a call for each cookie takes longer than it.

    Not for a process that forks: parent and child would draw the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._block, self._at = b"", 0

    def randbytes(self, n: int) -> bytes:
        """Return so many bytes."""
        if n > BLOCK_BYTES:
            return os.urandom(n)
        end = self._at + n
        if end > len(self._block):
            self._block, self._at, end = os.urandom(BLOCK_BYTES), 0, n
        drawn = self._block[self._at : end]
        self._at = end
        return drawn

    def getrandbits(self, k: int) -> int:
        """Return a number of so many bits."""
        if k < 0:
            raise ValueError("the number of bits is not negative")
        size = (k + 7) // 8
        return int.from_bytes(self.randbytes(size)) >> (size * 8 - k)

    def random(self) -> float:
        """Return a number from 0 to below 1, with all the bits that a float has for it."""
        return (int.from_bytes(self.randbytes(7)) >> 3) * 2.0**-_FRACTION_BITS
