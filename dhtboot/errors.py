"""Errors of the overlays: whose fault it is decides the class."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """What is wrong with a packet; sent back to the peer where an answer is due."""

    MALFORMED = 1
    "The bytes do not decode."
    VERSION = 2
    "A wire version that this node does not speak."
    UNKNOWN_KIND = 3
    "A well-formed packet of a kind that this version does not know."
    OTHER_NETWORK = 4
    "The packet belongs to an overlay of another name."
    TOO_LARGE = 5
    "Larger than a datagram of the protocol may be."
    BUSY = 6
    "Over the rate limit: ask again later."


class DhtbootError(Exception):
    """Base of every error that `dhtboot` raises on purpose."""


class LocalProtocolError(DhtbootError):
    """The caller broke the rules of an interface."""


class RemoteProtocolError(DhtbootError):
    """A peer broke the rules of the protocol."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.MALFORMED) -> None:
        super().__init__(message)
        self.code = code
