"""The codes that a node answers with, as in HTTP (RFC 9110), and the one error that strange text raises."""

from enum import IntEnum

from netserv.errors import RemoteProtocolError


class Code(IntEnum):
    """What a node says to a request."""

    OK = 200
    ACCEPTED = 202
    "Work on it goes on; a PROBE tells the result."
    BAD_REQUEST = 400
    "It cannot be read, or a header is missing, strange or out of place."
    UNAUTHORIZED = 401
    "The signature does not fit, or nobody here knows who signed."
    FORBIDDEN = 403
    "A rule of this node: another flow, a nonce used before, something that its operator does not allow."
    NOT_FOUND = 404
    CONFLICT = 409
    "Another version of the module is there."
    GONE = 410
    "It has expired."
    TOO_LARGE = 413
    FAILED_DEPENDENCY = 424
    "A module or block that it needs is not to be had."
    TOO_MANY = 429
    "Over a limit of this node: try again later."
    ERROR = 500
    "The node's own fault."
    INSUFFICIENT_STORAGE = 507


class NslpError(RemoteProtocolError):
    """A text breaks a rule of the NSLP, or a request one of this node.

    Args:
        text: the cause, as it stands in the node's entry.
        code: for the entry.
    """

    def __init__(self, text: str, *, code: Code = Code.BAD_REQUEST) -> None:
        super().__init__(text)
        self.code = code
