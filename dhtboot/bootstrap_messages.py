"""Messages between nodes and the bootstrap server (thesis section 2.3), and the packet around them.

The datagram is that of `dhtboot.wire`; the tags are none of Kademlia's, so neither side takes a packet of the other
for its own. The server's packets have no sender: it is no node.
"""

import msgspec

from dhtboot.ids import NodeRef


class ContactRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=33):
    """Whom may I join through?"""


class ContactReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=34):
    """One node that has joined, at random; the answer to `ContactRequest`."""

    contact: NodeRef | None = None
    "None: nobody has joined yet, so the asker is the first node and begins the overlay alone."
    cookie: bytes = b""
    "For the report that follows, so that a join costs two exchanges (thesis section 2.3)."


class JoinReport(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=35):
    """I have joined, or still am joined: give my address to others."""


class JoinAccepted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=36):
    """The answer to `JoinReport`."""

    lease_s: float
    "The node is forgotten after so many seconds without another report."


class LeaveReport(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=37):
    """I go away: forget me. Nobody answers this."""


class AddressChallenge(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=38):
    """Show that you receive at your address: ask again with this cookie."""

    cookie: bytes


class TryLater(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=39):
    """Over the rate limit, or the first node is about to begin; the answer to any request."""

    retry_after_s: float


BootstrapMessage = ContactRequest | ContactReply | JoinReport | JoinAccepted | LeaveReport | AddressChallenge | TryLater


class BootstrapPacket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one datagram carries."""

    sender: bytes
    "Identifier of the node, 20 bytes; empty from the server."
    request_id: int
    "Drawn at random by the node and echoed by the server."
    message: BootstrapMessage
    cookie: bytes = b""
    "Proof that the sender receives at its address, as handed out by the server; empty at first contact."
