"""Objects that GIST does not look into: Session-Identifier, cookies, NSLP-Data, Hello-ID.

RFC 5971 appendices A.3.2, A.3.6 to A.3.8, A.3.10. Their values are bytes, and for Hello-ID a number.
"""

from typing import Final

from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.tlv import VALUE_MAX, ObjectType

SID_SIZE: Final = 16
HELLO_ID_SIZE: Final = 4


def check_sid(sid: bytes) -> None:
    """Raise `FormatError` unless these are the 16 bytes of a Session-Identifier."""
    if len(sid) != SID_SIZE:
        raise FormatError(f"a SID has {SID_SIZE} bytes", ValueFault.LENGTH, objects=(ObjectType.SID,))


def check_words(value: bytes, kind: ObjectType) -> None:
    """Raise `FormatError` unless these are whole words that an object can hold: of a cookie, or of NSLP-Data."""
    if len(value) % 4 or len(value) > VALUE_MAX:
        text = f"{kind.name} has whole words, up to {VALUE_MAX} bytes; these are {len(value)}"
        raise FormatError(text, ValueFault.LENGTH, objects=(kind,))


def decode_hello_id(value: bytes) -> int:
    """The number of a Hello-ID; raises `FormatError` unless it has 32 bits."""
    if len(value) != HELLO_ID_SIZE:
        raise FormatError(f"a Hello-ID has {HELLO_ID_SIZE} bytes", ValueFault.LENGTH, objects=(ObjectType.HELLO_ID,))
    return int.from_bytes(value, "big")
