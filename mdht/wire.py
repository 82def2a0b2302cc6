"""Bytes of the record store's packets."""

from typing import Any, Final

from dhtboot.wire import Codec
from mdht.messages import StorePacket
from mdht.records import Copy

PAGE_BYTES: Final = 1130
"Room for copies in a datagram of their own: 1,200 less headers and the fields around them."
SHARED_PAGE_BYTES: Final = 780
"Room for copies beside 8 contacts of IPv6."
_COPY_OVERHEAD: Final = 154
"Fixed fields of a copy and the lengths of the others, at most."


def store_codec(network: str) -> Codec[Any]:
    """The codec of one network of record stores."""
    return Codec(StorePacket, network=network)


def copy_bytes(copy: Copy) -> int:
    """Upper bound of a copy's encoded size."""
    return _COPY_OVERHEAD + len(copy.record.name) + len(copy.record.value)


def page(copies: list[Copy], room: int) -> tuple[Copy, ...]:
    """The first copies that fit into `room` bytes."""
    end = 0
    for copy in copies:
        room -= copy_bytes(copy)
        if room < 0:
            break
        end += 1
    return tuple(copies[:end])
