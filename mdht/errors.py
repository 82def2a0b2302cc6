"""Errors of the record store and its node."""

from enum import IntEnum


class RefusalCode(IntEnum):
    """Why a node did not store a record; travels on the wire, so numbers stay."""

    BAD_SIGNATURE = 1
    "The signature does not fit the record and its writer."
    EXPIRED = 2
    "No lifetime is left."
    STALE = 3
    "A newer record of the same writer and name is held."
    TOO_LARGE = 4
    "Value, name or lease over the limit."
    STORE_FULL = 5
    "The quota of the key, the writer or the node is used up."
    BUSY = 6
    "Over the rate limit of this source: try again later."
    MALFORMED = 7
    "A field has a size or value that no record may have."


class MdhtError(Exception):
    """Base of every error that `mdht` raises on purpose."""


class LocalProtocolError(MdhtError):
    """The caller asked for something that the store cannot do; the text says what to change."""


class RemoteProtocolError(MdhtError):
    """A peer sent something that no correct peer sends."""

    def __init__(self, message: str, *, code: RefusalCode = RefusalCode.MALFORMED) -> None:
        super().__init__(message)
        self.code = code


class MissingChunkError(MdhtError):
    """A chunked value could not be put together again: a chunk is gone or does not fit its hash."""


class UnreachableError(MdhtError):
    """No node of the overlay answered."""
