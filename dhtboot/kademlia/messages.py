"""Messages of Kademlia and the packet around them.

`Q`, `A` and `N` are the questions, answers and notes of the layer above (a record store); `None` for a bare overlay.
A question may ride on a `FindNode`, so that an iterative lookup asks on its way instead of a second time at its end.
"""

from typing import Annotated, Final, Generic, TypeVar

import msgspec

from dhtboot.ids import ID_BYTES, NodeRef

Q = TypeVar("Q")
A = TypeVar("A")
N = TypeVar("N")


class Ping(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """Are you there?"""


class Pong(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """Yes."""

    seen: bytes = b""
    "Address of the asker as seen here, in compact form (`compact.pack_address`)."
    cookie: bytes = b""
    "For the next requests to this node: shows that the asker receives at its address."


class FindNode(msgspec.Struct, Generic[Q], frozen=True, array_like=True, gc=False, tag=3):
    """Which contacts closest to `target` do you know?"""

    target: Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
    question: Q | None = None
    "A question to answer on the way."


class Nodes(msgspec.Struct, Generic[A], frozen=True, array_like=True, gc=False, tag=4):
    """The closest contacts known here; the answer to `FindNode`."""

    nodes: tuple[NodeRef, ...]
    answer: A | None = None
    cookie: bytes = b""
    "Not empty: your address is not verified, this reply was cut to size; ask again with the cookie."


class Tell(msgspec.Struct, Generic[N], frozen=True, array_like=True, gc=False, tag=7):
    """A note of the layer above; nobody answers it."""

    note: N


class Busy(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """Over the rate limit; the answer to any request."""

    retry_after_s: float


class Leaving(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """The sender goes away: forget it. Nobody answers this."""


class Packet(msgspec.Struct, Generic[Q, A, N], frozen=True, array_like=True, gc=False):
    """What one datagram carries."""

    sender: bytes
    "Identifier of the sending node, 20 bytes; empty for a sender that is no node (a client)."
    request_id: int
    "Drawn at random by the asker (64 bits) and echoed in the response; 0 where no answer is due."
    message: Ping | Pong | FindNode[Q] | Nodes[A] | Tell[N] | Busy | Leaving
    cookie: bytes = b""
    "Proof that the sender receives at its address, as handed out by the receiver; empty at first contact."


REQUESTS: Final = frozenset({FindNode, Ping})
RESPONSES: Final = frozenset({Nodes, Pong, Busy})
