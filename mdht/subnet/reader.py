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
        at, end = self._at, self._at + form.size
        if end > self._end:
            raise self._short(form.size)
        self._at = end
        return form.unpack_from(self._data, at)

    def number(self, size: int) -> int:
        """Read one unsigned number of so many bytes."""
        return int.from_bytes(self.take_bytes(size), "big")

    def take_bytes(self, size: int) -> bytes:
        """Read so many bytes."""
        at, end = self._at, self._at + size
        if end > self._end:
            raise self._short(size)
        self._at = end
        return self._data[at:end]

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take_bytes(self._end - self._at)

    def window(self, size: int) -> Self:
        """A reader of the next `size` bytes, which this one passes."""
        at, end = self._at, self._at + size
        if end > self._end:
            raise self._short(size)
        self._at = end
        return type(self)(self._data, at, end)

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self._at != self._end:
            raise WireError(f"{self._end - self._at} bytes too many")

    def _short(self, size: int) -> WireError:
        return WireError(f"{size} bytes wanted, {self._end - self._at} left")
