"""NAT-Traversal: what NATs on the way have changed (RFC 5971 appendix A.3.9)."""

from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import VALUE_MAX, ObjectType

_FORM: Final = Struct("!BBBx")
_NUMBER: Final = Struct("!H")


class NatTraversal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Copied into answers as it came."""

    original_mri: bytes
    "Value of the MRI before translation."
    translated_types: tuple[int, ...]
    "First 16 bits of the headers of the objects that were translated."
    opaque: tuple[bytes, ...]
    "One for each NAT."

    def __post_init__(self) -> None:
        size = len(self.original_mri)
        if size % 4 or not 4 <= size <= 4 * 0xFF:
            raise _refused("the original MRI has 1 to 255 whole words", ValueFault.NOT_SUPPORTED)
        if len(self.translated_types) > 0xFF or len(self.opaque) > 0xFF:
            raise _refused("there are up to 255 translated objects and NATs", ValueFault.NOT_SUPPORTED, at=1)
        size += _FORM.size + ((2 * len(self.translated_types) + 3) & ~3)
        for one in self.opaque:
            size += (_NUMBER.size + len(one) + 3) & ~3
        if size > VALUE_MAX:
            raise _refused(f"the object has up to {VALUE_MAX} bytes", ValueFault.LENGTH)
        if not all(0 <= one <= 0xFFFF for one in self.translated_types):
            raise _refused("a type has 16 bits", ValueFault.NOT_SUPPORTED)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        words, type_count, nat_count = reader.take(_FORM)
        mri = reader.take_bytes(4 * words)
        types = tuple(reader.take(_NUMBER)[0] for _ in range(type_count))
        reader.take_padding()
        opaque = []
        for _ in range(nat_count):
            (size,) = reader.take(_NUMBER)
            opaque.append(reader.take_bytes(size))
            reader.take_padding()
        reader.close()
        return cls(original_mri=mri, translated_types=types, opaque=tuple(opaque))

    def encode(self) -> bytes:
        """The value of the object."""
        types = b"".join(_NUMBER.pack(one) for one in self.translated_types)
        parts = [_FORM.pack(len(self.original_mri) // 4, len(self.translated_types), len(self.opaque))]
        parts += [self.original_mri, types, bytes(-len(types) % 4)]
        for one in self.opaque:
            parts += [_NUMBER.pack(len(one)), one, bytes(-(_NUMBER.size + len(one)) % 4)]
        return b"".join(parts)


def decode_nat_traversal(value: bytes) -> NatTraversal:
    """The object that these bytes are.

    Raises:
        FormatError: they break a rule.
    """
    return NatTraversal.decode(Reader(value, ObjectType.NAT_TRAVERSAL))


def _refused(text: str, fault: ValueFault, at: int = 0) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.NAT_TRAVERSAL,))
