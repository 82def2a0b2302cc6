"""The error catalogue of GIST (RFC 5971 appendix A.4.4), and the one error that strange bytes raise."""

from enum import IntEnum
from typing import Final

from netserv.errors import LocalProtocolError, RemoteProtocolError


class ErrorClass(IntEnum):
    """How bad it is (appendix A.4.1)."""

    INFORMATIONAL = 0
    SUCCESS = 1
    PROTOCOL_ERROR = 2
    TRANSIENT_FAILURE = 3
    PERMANENT_FAILURE = 4


class ErrorCode(IntEnum):
    """What went wrong (appendix A.4.4)."""

    COMMON_HEADER_PARSE_ERROR = 1
    HOP_LIMIT_EXCEEDED = 2
    INCORRECT_ENCAPSULATION = 3
    INCORRECTLY_DELIVERED_MESSAGE = 4
    NO_ROUTING_STATE = 5
    UNKNOWN_NSLPID = 6
    ENDPOINT_FOUND = 7
    MESSAGE_TOO_LARGE = 8
    OBJECT_TYPE_ERROR = 9
    OBJECT_VALUE_ERROR = 10
    INVALID_IP_TTL = 11
    MRI_VALIDATION_FAILURE = 12


class HeaderFault(IntEnum):
    """Subcodes of COMMON_HEADER_PARSE_ERROR."""

    VERSION = 0
    TYPE = 1
    R_FLAG = 2
    LENGTH = 3
    E_FLAG = 4
    C_FLAG = 5


class TypeFault(IntEnum):
    """Subcodes of OBJECT_TYPE_ERROR."""

    DUPLICATE = 0
    UNRECOGNISED = 1
    MISSING = 2
    INVALID = 3
    "Known, but not allowed in this message or at this place."
    UNTRANSLATED = 4
    "A NAT has changed the packet and did not know GIST."
    INVALID_AB = 5
    "The extensibility flags are 11."


class ValueFault(IntEnum):
    """Subcodes of OBJECT_VALUE_ERROR."""

    LENGTH = 0
    NOT_SUPPORTED = 1
    INVALID_COMBINATION = 2
    EMPTY_LIST = 3
    COOKIE = 4
    STACK_MISMATCH = 5


class RoutingFault(IntEnum):
    """Subcodes of MRI_VALIDATION_FAILURE."""

    TOO_WILD = 0
    IP_VERSION = 1
    INGRESS_FILTER = 2


class InfoType(IntEnum):
    """What an additional information field of an Error tells (appendix A.4.2)."""

    MESSAGE_LENGTH = 1
    "Words behind the common header, as the objects add up: 16 bits, 16 reserved."
    MTU = 2
    "Bytes: 16 bits, 16 reserved."
    OBJECT_TYPE = 3
    "First 16 bits of an object: 16 bits, 16 reserved."
    OBJECT_VALUE = 4
    "Words of the object that follows: 16 bits, first 4 reserved; offset of the fault in it: 16 bits; the object."


CLASS_OF: Final = {
    ErrorCode.COMMON_HEADER_PARSE_ERROR: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.HOP_LIMIT_EXCEEDED: ErrorClass.PERMANENT_FAILURE,
    ErrorCode.INCORRECT_ENCAPSULATION: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.INCORRECTLY_DELIVERED_MESSAGE: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.NO_ROUTING_STATE: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.UNKNOWN_NSLPID: ErrorClass.PERMANENT_FAILURE,
    # Section 4.3.4 calls it informational, appendix A.4.4.7 gives it this class; the appendix is the format.
    ErrorCode.ENDPOINT_FOUND: ErrorClass.PERMANENT_FAILURE,
    ErrorCode.MESSAGE_TOO_LARGE: ErrorClass.PERMANENT_FAILURE,
    ErrorCode.OBJECT_TYPE_ERROR: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.OBJECT_VALUE_ERROR: ErrorClass.PROTOCOL_ERROR,
    ErrorCode.INVALID_IP_TTL: ErrorClass.PERMANENT_FAILURE,
    ErrorCode.MRI_VALIDATION_FAILURE: ErrorClass.PERMANENT_FAILURE,
}


class GistError(RemoteProtocolError):
    """A message of a peer breaks a rule of GIST; it carries what an Error message about it would say.

    Args:
        text: the cause, for our own log and the comment of the Error.
        code: of the catalogue.
        subcode: one of the enumeration that belongs to the code; 0 where it has none.
        info: additional information fields of the Error object, each `(type, words as bytes)`.
    """

    def __init__(
        self, text: str, *, code: ErrorCode, subcode: int = 0, info: tuple[tuple[int, bytes], ...] = ()
    ) -> None:
        super().__init__(text)
        self.code = code
        self.subcode = subcode
        self.info = info


class FormatError(LocalProtocolError):
    """A value breaks a rule of the format: a mistake of the caller who makes it.

    Where the value came off the wire, `faults.on_the_wire` makes the `GistError` of it.

    Args:
        text: the cause.
        subcode: one of the enumeration that belongs to the code.
        code: of the catalogue.
        at: byte of the object's value where the fault is.
        objects: types of the objects that are wrong, or missing.
    """

    def __init__(
        self,
        text: str,
        subcode: int,
        *,
        code: ErrorCode = ErrorCode.OBJECT_VALUE_ERROR,
        at: int = 0,
        objects: tuple[int, ...] = (),
    ) -> None:
        super().__init__(text)
        self.code = code
        self.subcode = subcode
        self.at = at
        self.objects = objects
