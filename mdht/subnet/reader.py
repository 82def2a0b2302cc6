"""Bytes of a message, read front to back within bounds."""

import struct
from typing import Any, Self

from mdht.subnet.errors import WireError


class Reader:
    """A cursor over a window of bytes; it never passes the window's end.

    Args:
        data: the whole datagram.
        at: first byte of the window.
        end: first byte behind it.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._at = at
        self._end = len(data) if end is None else end

    def __len__(self) -> int:
        return self._end - self._at

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        """Read numbers."""
        at = self._pass(form.size)
        return form.unpack_from(self._data, at)

    def number(self, size: int) -> int:
        """Read one unsigned number of so many bytes."""
        at = self._pass(size)
        return int.from_bytes(self._data[at : at + size], "big")

    def take_bytes(self, size: int) -> bytes:
        """Read so many bytes."""
        at = self._pass(size)
        return self._data[at : at + size]

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take_bytes(len(self))

    def window(self, size: int) -> Self:
        """A reader of the next `size` bytes, which this one passes."""
        at = self._pass(size)
        return type(self)(self._data, at, at + size)

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self._at != self._end:
            raise WireError(f"{self._end - self._at} bytes too many")

    def _pass(self, size: int) -> int:
        at = self._at
        if size > self._end - at:
            raise WireError(f"{size} bytes wanted, {self._end - at} left")
        self._at = at + size
        return at
