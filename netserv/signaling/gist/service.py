"""The service interface between an NSLP and GIST (RFC 5971 appendix B), as values.

The one thing that GIST asks in the middle of its work is whether to peer on a Query: `Application.peering`.
"""

from enum import Enum
from typing import Protocol

import msgspec

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.messages import HOPS_DEFAULT
from netserv.signaling.gist.objects.mri import Mri


class SiiHandle(msgspec.Struct, frozen=True):
    """Names a peer and the interface towards it; opaque to an NSLP, which only hands it back."""

    peer_identity: bytes
    address: PackedAddress
    port: int
    interface: int
    association: int = 0
    "0 for none."


class TransferAttributes(msgspec.Struct, frozen=True, kw_only=True):
    """How a message is to be carried, or was."""

    reliable: bool = False
    secure: bool = False
    no_state: bool = False
    "Do not set up routing state for it."
    q_mode: bool = False
    "Send it along the flow, as a Query is."


class SendMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An NSLP wants a message sent to the adjacent node of a flow (B.1)."""

    nslp_id: int
    sid: bytes
    mri: Mri
    "Its direction says which neighbour: downstream with the flow, upstream against it."
    data: bytes
    handle: int | None = None
    "Names the message in a MessageStatus; None: nobody wants to know."
    attributes: TransferAttributes = TransferAttributes()
    sii: SiiHandle | None = None
    "Send to this peer, whatever the routing state."
    timeout_s: float | None = None
    "Give up after so long; it shortens the search for a next node too."
    ip_ttl: int | None = None
    hops: int = HOPS_DEFAULT


class RecvMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message has come for an NSLP (B.2)."""

    nslp_id: int
    sid: bytes
    mri: Mri
    "As in the message: downstream came from upstream."
    data: bytes
    "Empty where a Query without payload asks about peering."
    attributes: TransferAttributes = TransferAttributes()
    sii: SiiHandle | None = None
    ip_ttl: int = 0
    ip_distance: int = 0
    "IP hops from the previous node."
    hops: int = 0
    interface: int = 0
    to_flow_endpoint: bool = False
    "This node is the destination of the flow."
    routability_checked: bool = False
    "The peer has shown that it receives at the address it claims."
    explicitly_routed: bool = False
    state_validated: bool = True
    "False for what came by Q-mode or by a handle."


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """What an NSLP says to a Query."""

    peer: bool
    payload: bytes | None = None
    "For the Response when peering; in place of the Query's own payload when it is forwarded; None: none, or unchanged."


class SendFailure(Enum):
    """Why a message was not sent or not delivered (B.3)."""

    NO_NEXT_NODE = "no next node found"
    TOO_LARGE = "too large for the way it was to be sent"
    RATE_LIMITED = "over the rate limit"
    NO_STATE = "no routing state in this direction, and none can be set up"
    TRANSPORT = "the connection to the peer failed"
    SECURITY = "no association of the wanted security can be had"
    TIMED_OUT = "timed out"
    OWN_DESTINATION = "this node is the destination"
    UNREACHABLE = "no route"
    HOPS = "a message needs a hop limit over 0"


class LastBy(Enum):
    """How a node knows that nobody of the NSLP is behind it (thesis 6.1.1)."""

    ICMP = "icmp"
    "The destination's kernel said that nothing listens on the GIST port."
    TIMEOUT = "timeout"
    ENDPOINT = "endpoint"
    "It is the destination itself, or the destination's GIST says Endpoint Found."


class MessageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message that was to be sent (B.3)."""

    nslp_id: int
    handle: int
    attributes: TransferAttributes
    failure: SendFailure | None = None


class RoutingStatus(Enum):
    """How far a routing state can be relied on (RFC 5971 section 7.1.3)."""

    GOOD = "good"
    TENTATIVE = "tentative"
    BAD = "bad"


class NotificationKind(Enum):
    """What GIST tells of the network (B.4)."""

    LAST_NODE = "last node"
    ROUTING_STATUS_CHANGE = "routing status change"
    ROUTE_DELETION = "route deletion"
    AUTHORISATION_CHANGE = "node authorisation change"
    COMMUNICATION_FAILURE = "communication failure"


class NetworkNotification(msgspec.Struct, frozen=True, kw_only=True):
    """GIST tells an NSLP of an event on a flow (B.4)."""

    nslp_id: int
    sid: bytes
    mri: Mri
    kind: NotificationKind
    status: RoutingStatus | None = None
    sii: SiiHandle | None = None
    last_by: LastBy | None = None


class Application(Protocol):
    """What GIST needs of an NSLP while it treats a Query; pure, and quick."""

    def peering(self, query: RecvMessage, now: float) -> Peering:
        """Say whether this node is to be the next one of that session.

        A Query can come several times, by retransmission; nothing may be done for its payload but answer it.
        """
        ...
