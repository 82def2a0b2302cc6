"""The six messages of GIST (RFC 5971 section 5.1) as values; `wire.py` turns them into bytes and back.

Of the common header they hold what is not fixed by the kind: hops, NSLPID and the flags that may differ.
"""

from typing import Final, TypeAlias

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.errors import ErrorCode, FormatError, HeaderFault, TypeFault, ValueFault
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.opaque import check_sid, check_words
from netserv.signaling.gist.objects.stack_configuration import StackConfiguration, check_stack
from netserv.signaling.gist.objects.stack_proposal import StackProposal
from netserv.signaling.gist.tlv import ObjectType

HOPS_DEFAULT: Final = 32
"GIST hops of a Query, as the independent implementation has them; RFC 5971 leaves the number open."
HOPS_OF_ANSWERS: Final = 1
"Of messages to a known peer: they are not forwarded."


class Query(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Looks for the next node; sent in Q-mode only."""

    nslp_id: int
    hops: int = HOPS_DEFAULT
    source_is_signaller: bool = True
    "S: the IP source is the querying node itself, not the flow's source."
    mri: Mri
    sid: bytes
    "16 bytes."
    nli: Nli
    query_cookie: bytes
    stack_proposal: StackProposal | None = None
    stack_configuration: StackConfiguration | None = None
    "Present exactly when the proposal is."
    nslp_data: bytes | None = None
    nat: NatTraversal | None = None

    def __post_init__(self) -> None:
        _check_routed(self.hops, self.nslp_id, self.sid, self.nslp_data)
        check_words(self.query_cookie, ObjectType.QUERY_COOKIE)
        _check_offer(self.stack_proposal, self.stack_configuration)


class Response(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The next node answers a Query."""

    nslp_id: int
    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    wants_confirm: bool
    "R; true whenever there is a Responder-Cookie."
    mri: Mri
    "The Query's with its direction inverted."
    sid: bytes
    nli: Nli
    query_cookie: bytes
    responder_cookie: bytes | None = None
    stack_proposal: StackProposal | None = None
    stack_configuration: StackConfiguration | None = None
    nslp_data: bytes | None = None
    nat: NatTraversal | None = None

    def __post_init__(self) -> None:
        _check_routed(self.hops, self.nslp_id, self.sid, self.nslp_data)
        check_words(self.query_cookie, ObjectType.QUERY_COOKIE)
        _check_cookie(self.responder_cookie, self.stack_proposal)
        if self.responder_cookie is not None and not self.wants_confirm:
            text = "R is clear in a Response with a Responder-Cookie"
            raise FormatError(text, HeaderFault.R_FLAG, code=ErrorCode.COMMON_HEADER_PARSE_ERROR)
        _check_offer(self.stack_proposal, self.stack_configuration)


class Confirm(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The querying node shows that it received the Response."""

    nslp_id: int
    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    mri: Mri
    "As in the Query."
    sid: bytes
    nli: Nli
    responder_cookie: bytes | None = None
    stack_proposal: StackProposal | None = None
    "The responder's, byte for byte."
    stack_configuration: StackConfiguration | None = None
    "With the first Confirm on a new association: its hold time, no options."
    nslp_data: bytes | None = None

    def __post_init__(self) -> None:
        _check_routed(self.hops, self.nslp_id, self.sid, self.nslp_data)
        _check_cookie(self.responder_cookie, self.stack_proposal)
        if self.stack_configuration is not None and self.stack_proposal is None:
            raise _missing(ObjectType.STACK_PROPOSAL)


class Data(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Carries NSLP data and changes no state of GIST."""

    nslp_id: int
    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    q_mode: bool = False
    "C: sent along the flow, without routing state."
    explicitly_routed: bool = False
    "E: sent through an SII handle."
    mri: Mri
    sid: bytes
    nli: Nli | None = None
    "There in D-mode, absent in C-mode."
    nslp_data: bytes
    nat: NatTraversal | None = None

    def __post_init__(self) -> None:
        _check_routed(self.hops, self.nslp_id, self.sid, self.nslp_data)
        if self.q_mode and self.nli is None:
            raise _missing(ObjectType.NLI)


class Error(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Reports that a message could not be treated."""

    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    nli: Nli | None = None
    "There in D-mode, absent in C-mode."
    error: ErrorObject
    nat: NatTraversal | None = None

    def __post_init__(self) -> None:
        _check_hops(self.hops)


class MaHello(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Keeps a messaging association alive, or asks whether it is."""

    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    wants_reply: bool = False
    hello_id: int = 0
    "0 unless a reply is wanted, or this is one."

    def __post_init__(self) -> None:
        _check_hops(self.hops)
        if not (1 if self.wants_reply else 0) <= self.hello_id <= 0xFFFF_FFFF:
            text = "a Hello-ID has 32 bits, and is not 0 where a reply is wanted"
            raise FormatError(text, ValueFault.NOT_SUPPORTED, objects=(ObjectType.HELLO_ID,))


Message: TypeAlias = Query | Response | Confirm | Data | Error | MaHello


def _check_routed(hops: int, nslp_id: int, sid: bytes, nslp_data: bytes | None) -> None:
    _check_hops(hops)
    if not 0 <= nslp_id <= 0xFFFF:
        raise LocalProtocolError(f"an NSLPID has 16 bits: {nslp_id}")
    check_sid(sid)
    if nslp_data is not None:
        check_words(nslp_data, ObjectType.NSLP_DATA)


def _check_hops(hops: int) -> None:
    if not 0 <= hops <= 0xFF:
        raise LocalProtocolError(f"GIST hops have 8 bits: {hops}")


def _check_offer(proposal: StackProposal | None, configuration: StackConfiguration | None) -> None:
    if proposal is not None and configuration is not None:
        check_stack(proposal, configuration)
    elif proposal is not None:
        raise _missing(ObjectType.STACK_CONFIGURATION)
    elif configuration is not None:
        raise _missing(ObjectType.STACK_PROPOSAL)


def _check_cookie(cookie: bytes | None, proposal: StackProposal | None) -> None:
    if cookie is not None:
        check_words(cookie, ObjectType.RESPONDER_COOKIE)
    elif proposal is not None:
        raise _missing(ObjectType.RESPONDER_COOKIE)


def _missing(kind: ObjectType) -> FormatError:
    return FormatError(f"{kind.name} is missing", TypeFault.MISSING, code=ErrorCode.OBJECT_TYPE_ERROR, objects=(kind,))
