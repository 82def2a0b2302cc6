"""What others see as our address: believed when two agree, for one could say anything."""

from collections import Counter
from typing import Final

from dhtboot.compact import unpack_address
from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import Address

WITNESSES_MAX: Final = 32
"Nodes whose view is kept."
WITNESSES_MIN: Final = 2


class Witnesses:
    """Own address as others see it."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}

    def note(self, witness: int, seen: bytes) -> None:
        """Take in what one node says, in compact form."""
        self._seen[witness] = seen
        if len(self._seen) > WITNESSES_MAX:
            del self._seen[next(iter(self._seen))]

    @property
    def address(self) -> Address | None:
        """The address on which most agree, None while fewer than two do."""
        common = Counter(self._seen.values()).most_common(1)
        if not common or common[0][1] < WITNESSES_MIN:
            return None
        try:
            return unpack_address(common[0][0])
        except RemoteProtocolError:
            return None
