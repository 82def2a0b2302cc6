"""Identifiers of 160 bits and the contacts that carry them."""

import hashlib
from random import Random
from typing import Final, final

from dhtboot.address import Address as Address  # noqa: PLC0414 - for all who import it from here

ID_BITS: Final = 160
ID_BYTES: Final = 20
PREFIX_BITS: Final = 62
"""Upper bits that tell most identifiers apart. A number of so many bits is a plain machine word in compiled code, while
one of 160 is an object, which each step of a computation makes anew."""
PREFIX_SHIFT: Final = ID_BITS - PREFIX_BITS
_int_from_bytes: Final = int.from_bytes  # looked up once: each time makes an object


@final
class NodeRef:
    """One contact: who and where. Immutable by convention; compared by both parts.

    A plain slotted class: it is built for every contact of every reply, and a frozen dataclass costs three times that.

    Attributes:
        prefix: the upper bits of the identifier; two that differ there need no further comparison.
    """

    __slots__ = ("address", "id", "prefix")

    def __init__(self, id: int, address: Address) -> None:  # noqa: A002 - the field's name in every paper
        self.id = id
        self.address = address
        self.prefix = id >> PREFIX_SHIFT

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeRef) and self.id == other.id and self.address == other.address

    def __hash__(self) -> int:
        return hash((self.id, self.address))

    def __repr__(self) -> str:
        return f"NodeRef({self.id:040x} at {format_address(self.address)})"


class Contacts:
    """Gives the contacts that packets come from; derived from where many nodes share a memory."""

    __slots__ = ()

    def of(self, sender: bytes, address: Address) -> NodeRef:
        """The contact of a sender."""
        return NodeRef(int.from_bytes(sender, "big"), address)


def format_address(address: Address) -> str:
    """`host:port`, with brackets around IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def hash_id(data: bytes) -> int:
    """The identifier of some bytes: SHA-1, as in Chord and Kademlia."""
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest(), "big")


def random_id(rng: Random) -> int:
    """An identifier drawn uniformly."""
    return rng.getrandbits(ID_BITS)


def id_bytes(identifier: int) -> bytes:
    """The 20 bytes of an identifier, big-endian."""
    return identifier.to_bytes(ID_BYTES, "big")


def id_from(data: bytes) -> int:
    """The identifier in 20 big-endian bytes."""
    return _int_from_bytes(data, "big")
