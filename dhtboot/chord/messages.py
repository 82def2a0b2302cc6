"""Messages of Chord and the packet around them.

No tag is one of Kademlia's or of the bootstrap server's, so no side takes a packet of the other for its own. `N` is the
note of the layer above, `None` for a bare overlay. A sender never names itself inside a message: its identifier stands
in the packet, and its address is where the packet came from.
"""

from enum import IntEnum
from typing import Annotated, Generic, TypeVar

import msgspec

from dhtboot.ids import ID_BYTES, NodeRef

N = TypeVar("N")

Identifier = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
LIST_MAX = 16
"Contacts in one message: 16 of IPv6 and a packet's head fit into a datagram."
AVOID_MAX = 8
"Dead nodes that one lookup goes around."
Contacts = Annotated[tuple[NodeRef, ...], msgspec.Meta(max_length=LIST_MAX)]


class Step(IntEnum):
    """What the contacts in `Successors` are."""

    HOPS = 0
    "The closest nodes known here that precede the target, closest first: ask them."
    SUCCESSORS = 1
    "The target lies between the sender and the first of them: that one is responsible, the others follow it."
    MINE = 2
    "The sender itself is responsible; its successors follow it."


class FindSuccessor(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=65):
    """Who is responsible for `target`, or closer to whoever is?"""

    target: Identifier
    avoid: Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=AVOID_MAX)] = ()
    "Nodes that the asker has found dead on the way: do not name them again, and see for yourself."


class Successors(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=66):
    """The answer to `FindSuccessor` and to `Route`."""

    nodes: Contacts
    step: Step
    hops: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    "Nodes that a recursive lookup passed; 0 in an iterative one, where the asker counts."


class Route(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=67):
    """A recursive lookup on its way: whoever knows the answer sends it to `origin`, under the packet's request id."""

    target: Identifier
    origin: NodeRef | None
    "None on the first step: the sender of the packet."
    hops: Annotated[int, msgspec.Meta(ge=0, le=255)]


class JoinRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=68):
    """Let `joiner` in; passed on to the node responsible for its identifier, which answers it directly."""

    joiner: NodeRef | None
    "None on the first step: the sender of the packet."
    hops: Annotated[int, msgspec.Meta(ge=0, le=255)]


class JoinReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=69):
    """The sender is the joiner's successor; the answer to `JoinRequest`."""

    predecessor: NodeRef | None
    "The sender's predecessor until now, None when it has none."
    alone: bool
    "Whether the sender was the only node: then it is the joiner's predecessor too."
    successors: Contacts
    "Those of the sender."


class NewSuccessorHint(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=70):
    """Aggressive join: the sender has taken `node` as predecessor in the receiver's place."""

    node: NodeRef


class Stabilize(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=71):
    """Who is your predecessor? Asked of the first successor."""


class Predecessor(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=72):
    """The answer to `Stabilize`."""

    node: NodeRef | None


class Notify(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=73):
    """The sender takes the receiver for its successor."""

    failed: NodeRef | None = None
    "The node between the two that has died, as far as the sender knows."


class Notified(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=74):
    """The sender's successor list; the answer to `Notify`."""

    successors: Contacts


class Ping(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=75):
    """Are you there?"""


class Pong(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=76):
    """Yes."""


class Tell(msgspec.Struct, Generic[N], frozen=True, array_like=True, gc=False, tag=77):
    """A note of the layer above; nobody answers it."""

    note: N


class Leaving(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=78):
    """The sender goes away; its neighbours take each other's hands. Nobody answers this."""

    predecessor: NodeRef | None
    successors: Contacts


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=79):
    """The sender is not part of the ring yet; the answer to any request but `Ping`."""


class Packet(msgspec.Struct, Generic[N], frozen=True, array_like=True, gc=False):
    """What one datagram carries."""

    sender: bytes
    "Identifier of the sending node, 20 bytes."
    request_id: int
    "Drawn at random by the asker (64 bits) and echoed in the response; 0 where no answer is due."
    message: (
        FindSuccessor
        | Successors
        | Route
        | JoinRequest
        | JoinReply
        | NewSuccessorHint
        | Stabilize
        | Predecessor
        | Notify
        | Notified
        | Ping
        | Pong
        | Tell[N]
        | Leaving
        | Refused
    )
