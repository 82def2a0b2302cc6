"""The value of an object, read front to back within its bounds."""

from struct import Struct
from typing import Any

from netserv.signaling.gist.errors import FormatError, ValueFault


class Reader:
    """A cursor over the value of one object; it never passes the end.

    Args:
        data: the value, without its header.
        kind: type of the object, for the errors.
    """

    __slots__ = ("_data", "_kind", "at")

    def __init__(self, data: bytes, kind: int) -> None:
        self._data = data
        self._kind = kind
        self.at = 0

    def __len__(self) -> int:
        return len(self._data) - self.at

    def take(self, form: Struct) -> tuple[Any, ...]:
        """Read numbers.

        Raises:
            FormatError: fewer bytes are left.
        """
        at, end = self.at, self.at + form.size
        if end > len(self._data):
            raise self._short(form.size)
        self.at = end
        return form.unpack_from(self._data, at)

    def take_bytes(self, size: int) -> bytes:
        """Read so many bytes.

        Raises:
            FormatError: fewer are left.
        """
        at, end = self.at, self.at + size
        if end > len(self._data):
            raise self._short(size)
        self.at = end
        return self._data[at:end]

    def take_padding(self) -> None:
        """Pass what fills up the word; it is ignored (appendix A).

        Raises:
            FormatError: the word is cut off.
        """
        self.take_bytes(-self.at % 4)

    def close(self) -> None:
        """Make sure that nothing is left.

        Raises:
            FormatError: something is.
        """
        if self.at != len(self._data):
            raise self.refused(f"{len(self)} bytes too many", ValueFault.LENGTH)

    def refused(self, text: str, fault: ValueFault, at: int | None = None) -> FormatError:
        """The error about what stands here, or at `at`."""
        return FormatError(text, fault, at=self.at if at is None else at, objects=(self._kind,))

    def _short(self, size: int) -> FormatError:
        return self.refused(f"{size} bytes wanted, {len(self)} left", ValueFault.LENGTH)
