"""Error: what was wrong with a message (RFC 5971 appendix A.4.1)."""

import msgspec


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
