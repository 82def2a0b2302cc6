"""The six messages of GIST (RFC 5971 section 5.1) as values; `wire.py` turns them into bytes and back.

Of the common header they hold what is not fixed by the kind: hops, NSLPID and the flags that may differ.
"""

from typing import Final, TypeAlias

import msgspec

from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.stack_configuration import StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal

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


class Error(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Reports that a message could not be treated."""

    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    nli: Nli | None = None
    "There in D-mode, absent in C-mode."
    error: ErrorObject
    nat: NatTraversal | None = None


class MaHello(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Keeps a messaging association alive, or asks whether it is."""

    hops: int = HOPS_OF_ANSWERS
    source_is_signaller: bool = True
    wants_reply: bool = False
    hello_id: int = 0
    "0 unless a reply is wanted, or this is one."


Message: TypeAlias = Query | Response | Confirm | Data | Error | MaHello
