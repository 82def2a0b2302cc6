"""Error: what was wrong with a message (RFC 5971 appendix A.4.1)."""

import re
from struct import Struct
from typing import Final, Self

import msgspec

from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import HEADER_SIZE, VALUE_MAX, ObjectType

_FORM: Final = Struct("!BHBHBB")
_INFO: Final = Struct("!HH")
_S, _M, _C, _D, _Q = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_SID_SIZE: Final = 16
_NO_UTF_8: Final = re.compile("[\ud800-\udfff]")


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fault, and enough of the message that had it to find it again."""

    error_class: int
    code: int
    subcode: int = 0
    was_d_mode: bool = False
    was_q_mode: bool = False
    original_header: bytes
    "The common header of the message, 8 bytes."
    sid: bytes | None = None
    mri: bytes | None = None
    "Value of the MRI, uninterpreted."
    info: tuple[tuple[int, bytes], ...] = ()
    "Additional information: type and whole words each."
    comment: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.error_class <= 0xFF or not 0 <= self.code <= 0xFFFF or not 0 <= self.subcode <= 0xFF:
            raise _refused("class and subcode have 8 bits, the code 16", ValueFault.NOT_SUPPORTED)
        if self.was_q_mode and not self.was_d_mode:
            raise _refused("what came in Q-mode came in D-mode", ValueFault.INVALID_COMBINATION, at=4)
        if len(self.original_header) != HEADER_SIZE:
            raise _refused(f"a common header has {HEADER_SIZE} bytes", ValueFault.LENGTH, at=8)
        if self.sid is not None and len(self.sid) != _SID_SIZE:
            raise _refused(f"a SID has {_SID_SIZE} bytes", ValueFault.LENGTH, at=16)
        if self.mri is not None and (len(self.mri) % 4 or len(self.mri) > 4 * 0xFF):
            raise _refused("an MRI has up to 255 whole words", ValueFault.LENGTH, at=6)
        if len(self.info) > 0xFF or not all(_is_whole(kind, value) for kind, value in self.info):
            raise _refused("there are up to 255 fields of whole words", ValueFault.LENGTH, at=7)
        if self.comment is not None and ("\0" in self.comment or _NO_UTF_8.search(self.comment)):
            raise _refused("a comment is text without NUL", ValueFault.NOT_SUPPORTED)
        if self._size() > VALUE_MAX:
            raise _refused(f"an Error has up to {VALUE_MAX} bytes", ValueFault.LENGTH)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Additional information and comment only explain, and no Error is answered by another: where the fields end
        too early, or something follows them, what can be read is taken.

        Raises:
            FormatError: what comes before them breaks a rule.
        """
        error_class, code, subcode, flags, mri_words, info_count = reader.take(_FORM)
        header = reader.take_bytes(HEADER_SIZE)
        sid = reader.take_bytes(_SID_SIZE) if flags & _S else None
        mri = reader.take_bytes(4 * mri_words) if flags & _M else None
        return cls(
            error_class=error_class,
            code=code,
            subcode=subcode,
            was_d_mode=flags & _D != 0,
            was_q_mode=flags & _Q != 0,
            original_header=header,
            sid=sid,
            mri=mri,
            info=_take_info(reader, info_count),
            comment=_take_comment(reader) if flags & _C else None,
        )

    def encode(self) -> bytes:
        """The value of the object."""
        sid, mri, comment = self.sid, self.mri, self.comment
        flags = (self.was_d_mode and _D) | (self.was_q_mode and _Q)
        flags |= (sid is not None and _S) | (mri is not None and _M) | (comment is not None and _C)
        words = len(mri or b"") // 4
        parts = [_FORM.pack(self.error_class, self.code, self.subcode, flags, words, len(self.info))]
        parts += [self.original_header, sid or b"", mri or b""]
        for kind, value in self.info:
            parts += [_INFO.pack(kind, len(value) // 4), value]
        if comment is not None:
            text = comment.encode() + b"\0"
            parts += [text, bytes(-len(text) % 4)]
        return b"".join(parts)

    def _size(self) -> int:
        comment = 0 if self.comment is None else (len(self.comment.encode()) + 4) & ~3
        fields = sum(_INFO.size + len(value) for _, value in self.info)
        return _FORM.size + HEADER_SIZE + len(self.sid or b"") + len(self.mri or b"") + fields + comment


def _take_info(reader: Reader, count: int) -> tuple[tuple[int, bytes], ...]:
    fields = []
    for _ in range(count):
        try:
            kind, words = reader.take(_INFO)
            fields.append((kind, reader.take_bytes(4 * words)))
        except FormatError:
            break
    return tuple(fields)


def _take_comment(reader: Reader) -> str:
    text, _, _ = reader.take_bytes(len(reader)).partition(b"\0")
    # A question mark for each strange byte, so that the comment still fits where it came from.
    return _NO_UTF_8.sub("?", text.decode("utf-8", errors="surrogateescape"))


def _is_whole(kind: int, value: bytes) -> bool:
    return 0 <= kind <= 0xFFFF and len(value) % 4 == 0


def decode_error_object(value: bytes) -> ErrorObject:
    """The object that these bytes are.

    Raises:
        FormatError: they break a rule.
    """
    return ErrorObject.decode(Reader(value, ObjectType.ERROR))


def _refused(text: str, fault: ValueFault, at: int = 0) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.ERROR,))
