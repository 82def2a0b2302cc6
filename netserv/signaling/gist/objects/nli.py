"""Network-Layer-Information: who the sender is, and where (RFC 5971 appendix A.3.3)."""

from functools import lru_cache
from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import ObjectType

REMEMBERED_MAX: Final = 4_096
"A peer's is the same for all its sessions; about 1 MB."

_FORM: Final = Struct("!BBHI")
_VERSION_OF: Final = {4: 4 << 12, 16: 6 << 12}
"By the bytes of an address."
_SIZE_OF: Final = {4: 4, 6: 16}
"Bytes of an address, by its IP version."
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
"Behind so many bytes over the last whole word."


class Nli(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One node, as it describes itself to its peer."""

    peer_identity: bytes
    "1 to 255 bytes."
    address: PackedAddress
    "Of the interface, usable as a destination for replies."
    ip_ttl: int
    "With which the packet was sent, downstream; hops to the peer, upstream; 0 where that is not known."
    validity_ms: int
    "How long routing state to this node is good for, 1 or more."

    def __post_init__(self) -> None:
        size, address = len(self.peer_identity), self.address
        if not 1 <= size <= 0xFF:
            raise _refused("a peer identity has 1 to 255 bytes", ValueFault.NOT_SUPPORTED)
        if not 0 <= self.ip_ttl <= 0xFF:
            raise _refused("an IP TTL has 8 bits", ValueFault.NOT_SUPPORTED, at=1)
        if len(address) not in _VERSION_OF:
            raise _refused("an address has 4 or 16 bytes", ValueFault.NOT_SUPPORTED, at=2)
        if not 1 <= self.validity_ms <= 0xFFFF_FFFF:
            raise _refused("routing state is valid for 1 to 4,294,967,295 ms", ValueFault.NOT_SUPPORTED, at=4)
        # Answers go there, so that multicast or broadcast would make one message many (RFC 5971 section 5.2.2).
        first = address[0]
        if (first >= 224 or first == 0) if len(address) == 4 else (first == 0xFF or not any(address)):
            behind = 8 + size + -size % 4
            raise _refused("the interface address is no address of one host", ValueFault.NOT_SUPPORTED, at=behind)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        size, ip_ttl, version, validity_ms = reader.take(_FORM)
        address_size = _SIZE_OF.get(version >> 12)
        if address_size is None:
            raise reader.refused(f"IP version {version >> 12}", ValueFault.NOT_SUPPORTED, at=2)
        identity = reader.take_bytes(size)
        reader.take_padding()
        address = reader.take_bytes(address_size)
        reader.close()
        return cls(peer_identity=identity, address=address, ip_ttl=ip_ttl, validity_ms=validity_ms)

    def encode(self) -> bytes:
        """The value of the object."""
        identity, address = self.peer_identity, self.address
        size = len(identity)
        head = _FORM.pack(size, self.ip_ttl, _VERSION_OF[len(address)], self.validity_ms)
        return head + identity + _PADDING[size & 3] + address


@lru_cache(maxsize=REMEMBERED_MAX)
def decode_nli(value: bytes) -> Nli:
    """The NLI that these bytes are.

    Raises:
        FormatError: they break a rule.
    """
    return Nli.decode(Reader(value, ObjectType.NLI))


def _refused(text: str, fault: ValueFault, at: int = 0) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.NLI,))
