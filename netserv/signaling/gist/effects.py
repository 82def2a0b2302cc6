"""What the GIST node wants done by whoever drives it, and what the driver knows of the network."""

from typing import Protocol, TypeAlias

import msgspec

from netserv.signaling.gist.addresses import Endpoint, PackedAddress
from netserv.signaling.gist.service import MessageStatus, NetworkNotification, RecvMessage


class SendDatagram(msgspec.Struct, frozen=True, gc=False):
    """Normal D-mode: one UDP datagram from this node to a peer."""

    payload: bytes
    "With the magic number."
    to: Endpoint
    source_port: int
    ip_ttl: int


class SendAlongFlow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Q-mode: one UDP datagram along the flow to port 270, for the next node to catch (section 5.8.1.2)."""

    payload: bytes
    source: PackedAddress | None
    "The flow's source, to be put in place of our own (S=0); None: our own (S=1)."
    destination: PackedAddress
    source_port: int
    ip_ttl: int
    dscp: int
    "0 to 63."
    router_alert: bool


class Forward(msgspec.Struct, frozen=True, gc=False):
    """Send a caught packet on its way: IP TTL one less, addresses, ports, DSCP and options as they were."""

    packet: "Caught"
    payload: bytes
    "To go instead of the caught one."


class OpenAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """Connect to a peer; the answer is `GistNode.association_opened` or `association_closed`."""

    association: int
    to: Endpoint
    secure: bool
    "TLS over TCP; else plain TCP."


class SendOnAssociation(msgspec.Struct, frozen=True, gc=False):
    """Append bytes to the stream of an association."""

    association: int
    data: bytes


class CloseAssociation(msgspec.Struct, frozen=True):
    """Close a connection after what was to be sent on it."""

    association: int


class Deliver(msgspec.Struct, frozen=True):
    """Hand a message to its NSLP."""

    message: RecvMessage


class Report(msgspec.Struct, frozen=True):
    """Tell the NSLP what became of its message."""

    status: MessageStatus


class Notify(msgspec.Struct, frozen=True):
    """Tell the NSLP of an event of the network."""

    notification: NetworkNotification


Effect: TypeAlias = (
    SendDatagram
    | SendAlongFlow
    | Forward
    | OpenAssociation
    | SendOnAssociation
    | CloseAssociation
    | Deliver
    | Report
    | Notify
)


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """A UDP packet for the GIST port that passed here, or came to this node itself."""

    payload: bytes
    "With the magic number."
    source: Endpoint
    destination: Endpoint
    "Where it was going: another host's address if `in_transit`."
    in_transit: bool
    "Caught on its way to somebody else; it is gone unless it is forwarded."
    ip_ttl: int
    "As received."
    dscp: int = 0
    router_alert: bool = False
    interface: int = 0
    "Index of the interface that it came by; 0 where that is not known."
    token: int = 0
    "Of the interceptor: which packet this is."


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """The way to a destination."""

    interface: int
    address: PackedAddress
    "Own address on that interface."
    mtu: int
    next_hop: PackedAddress | None = None
    "None where the destination is on the link."


class Topology(Protocol):
    """What this machine's kernel says of addresses and routes; quick, and without waiting."""

    def outgoing(self, destination: PackedAddress) -> Outgoing | None:
        """The way to a destination; None without a route."""
        ...

    def is_own(self, address: PackedAddress) -> bool:
        """Whether this is an address of this machine."""
        ...

    def may_come_from(self, source: PackedAddress, prefix: int, interface: int) -> bool:
        """Ingress filter: whether packets of that source range belong on that interface (section 5.8.1.1)."""
        ...
