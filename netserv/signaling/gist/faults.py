"""What is said of a message that breaks a rule: the error that its values become, and the Error about it."""

from struct import Struct
from typing import Final

from netserv.signaling.gist import tlv
from netserv.signaling.gist.errors import CLASS_OF, ErrorCode, FormatError, GistError, InfoType
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.opaque import SID_SIZE
from netserv.signaling.gist.tlv import HEADER_SIZE, ObjectType

OBJECTS_SHOWN_MAX: Final = 256
"Bytes of faulty objects in an Error. With our NLI, SID and an IPv6 MRI it is under the 512 bytes of D-mode."
MRI_SHOWN_MAX: Final = 64
"Bytes; the longest MRI of RFC 5971 has 52."

_OBJECT_VALUE: Final = Struct("!HH")
_TYPE_INFO: Final = Struct("!HH")


def on_the_wire(error: FormatError, data: bytes) -> GistError:
    """The error of the peer who sent this message, of what would be our caller's when we made it."""
    info: tuple[tuple[int, bytes], ...] = ()
    if error.code is ErrorCode.OBJECT_TYPE_ERROR:
        info = tuple((InfoType.OBJECT_TYPE, _TYPE_INFO.pack(kind, 0)) for kind in error.objects)
    elif error.code is ErrorCode.OBJECT_VALUE_ERROR:
        found = [tlv.find(data, kind) or b"" for kind in error.objects]
        shares = OBJECTS_SHOWN_MAX // max(1, len(found))
        info = tuple(object_value(one[:shares], error.at + 4) for one in found)
    return GistError(str(error), code=error.code, subcode=error.subcode, info=info)


def object_value(shown: bytes, offset: int) -> tuple[int, bytes]:
    """Additional information on an object, given with its header, and where its fault is (appendix A.4.2)."""
    return InfoType.OBJECT_VALUE, _OBJECT_VALUE.pack(len(shown) >> 2, min(offset, 0xFFFF)) + shown


def error_about(
    data: bytes, error: GistError, *, d_mode: bool, q_mode: bool = False, comment: str | None = None
) -> ErrorObject:
    """The Error object about a message, with as much of it as can be read.

    Args:
        data: the message, from the common header on; it may be cut off or senseless.
        error: what was found.
        d_mode: it came in a datagram.
        q_mode: it came along the flow, as a Query does.
        comment: for the people at the other end.
    """
    sid = mri = None
    # Appendix A.4.4.1: where the header is wrong nothing behind it can be relied on.
    if error.code is not ErrorCode.COMMON_HEADER_PARSE_ERROR:
        sid, mri = tlv.find(data, ObjectType.SID), tlv.find(data, ObjectType.MRI)
    return ErrorObject(
        error_class=CLASS_OF[error.code],
        code=error.code,
        subcode=error.subcode,
        was_d_mode=d_mode or q_mode,
        was_q_mode=q_mode,
        original_header=data[:HEADER_SIZE].ljust(HEADER_SIZE, b"\0"),
        sid=sid[4:] if sid is not None and len(sid) == 4 + SID_SIZE else None,
        mri=mri[4:] if mri is not None and len(mri) <= 4 + MRI_SHOWN_MAX else None,
        info=error.info,
        comment=comment,
    )
