"""The objects of a message as type, length and value (RFC 5971 appendix A.2), and which of them may be where."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

from netserv.signaling.gist.errors import ErrorCode, GistError, HeaderFault, InfoType, TypeFault


class ObjectType(IntEnum):
    """The objects of RFC 5971 (section 9)."""

    MRI = 0
    SID = 1
    NLI = 2
    STACK_PROPOSAL = 3
    STACK_CONFIGURATION = 4
    QUERY_COOKIE = 5
    RESPONDER_COOKIE = 6
    NAT_TRAVERSAL = 7
    NSLP_DATA = 8
    ERROR = 9
    HELLO_ID = 10


VALUE_MAX: Final = 4 * 0x0FFF
"Bytes of a value: the length has 12 bits."
HEADER_SIZE: Final = 8
"Of the common header, behind which the objects begin."

_HEAD: Final = Struct("!HH")
_AB_SHIFT: Final = 14
_AB_MANDATORY: Final = 0
_AB_INVALID: Final = 3
_FLAGGED: Final = 0x4000
"From here on a first half word has A or B set."
_TYPE: Final = 0x0FFF
_LENGTH: Final = 0x0FFF
_KNOWN: Final = frozenset(map(int, ObjectType))


def framed(kind: int, value: bytes) -> bytes:
    """An object: header with AB=00, and the value of whole words."""
    return _HEAD.pack(kind, len(value) >> 2) + value


def split(data: bytes, order: Mapping[int, int]) -> dict[int, bytes]:
    """The values of a message's objects by type; unknown ones that may be ignored are left out.

    Args:
        data: the message, of whole words.
        order: the place of each type that this message may have.

    Raises:
        GistError: the objects do not fill the message, or one is unknown, double, or not allowed here.
    """
    found: dict[int, bytes] = {}
    at, end, last = HEADER_SIZE, len(data), -1
    while at < end:
        first, words = _HEAD.unpack_from(data, at)
        behind = at + 4 + ((words & _LENGTH) << 2)
        if behind > end:
            raise wrong_length(data)
        kind = first & _TYPE
        place = order.get(kind, -1)
        if (place > last and first < _FLAGGED) or _is_wanted(first, place, last, kind in found):
            found[kind], last = data[at + 4 : behind], place
        at = behind
    return found


def _is_wanted(first: int, place: int, last: int, again: bool) -> bool:
    # Appendix A.2.1: the flags say what becomes of an object that is unknown here. AB=10 asks to keep it in what is
    # forwarded; that is the received bytes anyway, and so nothing is to be kept here.
    kind, extensibility = first & _TYPE, first >> _AB_SHIFT
    if extensibility == _AB_INVALID:
        raise wrong_type(f"object {kind} has the flags 11", TypeFault.INVALID_AB, first)
    if kind not in _KNOWN:
        if extensibility == _AB_MANDATORY:
            raise wrong_type(f"object {kind} is not known here, and must be", TypeFault.UNRECOGNISED, first)
        return False
    if again:
        raise wrong_type(f"two objects {ObjectType(kind).name}", TypeFault.DUPLICATE, first)
    if place <= last:
        raise wrong_type(f"object {ObjectType(kind).name} may not be here", TypeFault.INVALID, first)
    return True


def wrong_type(text: str, fault: TypeFault, first: int) -> GistError:
    """The error about an object whose header begins with these 16 bits; where it is missing, its type."""
    return GistError(
        text,
        code=ErrorCode.OBJECT_TYPE_ERROR,
        subcode=fault,
        info=((InfoType.OBJECT_TYPE, _HEAD.pack(first, 0)),),
    )


def wrong_length(data: bytes) -> GistError:
    """The error about a message whose length is not that of its objects."""
    words = 0
    for at, size in _walk(data):
        words = (at + size - HEADER_SIZE) >> 2
    return GistError(
        f"{len(data)} bytes do not hold the message: its objects have {words} words",
        code=ErrorCode.COMMON_HEADER_PARSE_ERROR,
        subcode=HeaderFault.LENGTH,
        info=((InfoType.MESSAGE_LENGTH, _HEAD.pack(min(words, 0xFFFF), 0)),),
    )


def place_of(data: bytes, kind: int) -> slice | None:
    """Where the first object of a type is, with its header; in a message that may be broken."""
    for at, size in _walk(data):
        if (data[at] << 8 | data[at + 1]) & _TYPE == kind and at + size <= len(data):
            return slice(at, at + size)
    return None


def find(data: bytes, kind: int) -> bytes | None:
    """The first object of a type, with its header; of a message that may be broken."""
    place = place_of(data, kind)
    return None if place is None else data[place]


def listed(data: bytes) -> list[tuple[int, bytes]]:
    """First 16 bits and value of every object, of a message that may be broken: the last may be cut off."""
    return [(data[at] << 8 | data[at + 1], data[at + 4 : at + size]) for at, size in _walk(data)]


def _walk(data: bytes) -> Iterator[tuple[int, int]]:
    # Where each object begins, and its size by its header; the last one may reach over the end.
    at = HEADER_SIZE
    while at + _HEAD.size <= len(data):
        size = 4 + ((_HEAD.unpack_from(data, at)[1] & _LENGTH) << 2)
        yield at, size
        at += size
