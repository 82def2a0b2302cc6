"""The common header in front of every message (RFC 5971 section 5.2.1, appendix A.1)."""

from enum import IntEnum
from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.errors import ErrorCode, GistError, HeaderFault
from netserv.signaling.gist.tlv import HEADER_SIZE, wrong_length

VERSION: Final = 1


class MessageType(IntEnum):
    """The messages of RFC 5971 (section 9)."""

    QUERY = 0
    RESPONSE = 1
    CONFIRM = 2
    DATA = 3
    ERROR = 4
    MA_HELLO = 5


_FORM: Final = Struct("!BBHHBB")
_C, _S, _R, _E = 0x80, 0x80, 0x40, 0x20
_TYPE: Final = 0x7F
_MAY_WANT_REPLY: Final = frozenset({MessageType.QUERY, MessageType.RESPONSE, MessageType.MA_HELLO})
_GOOD: Final = frozenset(
    {(MessageType.QUERY | _C, _R), (MessageType.DATA, 0), (MessageType.DATA, _E)}
    | {(MessageType.DATA | _C, 0), (MessageType.DATA | _C, _E), (MessageType.CONFIRM, 0), (MessageType.ERROR, 0)}
    | {(kind, flags) for kind in (MessageType.RESPONSE, MessageType.MA_HELLO) for flags in (0, _R)}
)
"C and type, with R and E, that belong together."


class CommonHeader(msgspec.Struct, frozen=True, gc=False):
    """The first 8 bytes."""

    hops: int
    length_words: int
    "Of what follows the header."
    nslp_id: int
    kind: int
    "A `MessageType`."
    context_free: bool
    "C: to be understood without routing state; the Query, and Data sent in Q-mode."
    source_is_signaller: bool
    "S"
    wants_reply: bool
    "R"
    explicitly_routed: bool
    "E"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the header; what follows it is not looked at.

        Raises:
            GistError: version or type are unknown, or a flag does not go with the type.
        """
        if len(data) < HEADER_SIZE:
            raise wrong_length(data)
        version, hops, words, nslp_id, kind, flags = _FORM.unpack_from(data)
        if version != VERSION or (kind, flags & (_R | _E)) not in _GOOD:
            raise _fault(version, kind, flags)
        return cls(hops, words, nslp_id, kind & _TYPE, kind >= _C, flags >= _S, flags & _R != 0, flags & _E != 0)


def encode_header(
    kind: MessageType,
    words: int,
    *,
    hops: int,
    nslp_id: int = 0,
    c: bool = False,
    s: bool,
    r: bool = False,
    e: bool = False,
) -> bytes:
    """The 8 bytes in front of so many words of objects."""
    return _FORM.pack(VERSION, hops, words, nslp_id, kind | (c and _C), (s and _S) | (r and _R) | (e and _E))


def _fault(version: int, kind: int, flags: int) -> GistError:
    name = MessageType(kind & _TYPE) if kind & _TYPE in MessageType._value2member_map_ else None
    text, subcode = "C is set or clear against the rule", HeaderFault.C_FLAG
    if version != VERSION:
        text, subcode = f"GIST version {version}, known is {VERSION}", HeaderFault.VERSION
    elif name is None:
        text, subcode = f"message type {kind & _TYPE} is unknown", HeaderFault.TYPE
    elif (flags & _R and name not in _MAY_WANT_REPLY) or (not flags & _R and name is MessageType.QUERY):
        text, subcode = f"R is {flags & _R and 1} in a {name.name}", HeaderFault.R_FLAG
    elif flags & _E and name is not MessageType.DATA:
        text, subcode = f"E is set in a {name.name}", HeaderFault.E_FLAG
    return GistError(text, code=ErrorCode.COMMON_HEADER_PARSE_ERROR, subcode=subcode)
