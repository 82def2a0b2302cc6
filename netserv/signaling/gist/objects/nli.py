"""Network-Layer-Information: who the sender is, and where (RFC 5971 appendix A.3.3)."""

import msgspec

from netserv.signaling.gist.addresses import PackedAddress


class Nli(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One node, as it describes itself to its peer."""

    peer_identity: bytes
    address: PackedAddress
    "Of the interface, usable as a destination for replies."
    ip_ttl: int
    "With which the packet was sent, downstream; hops to the peer, upstream; 0 where that is not known."
    validity_ms: int
    "How long routing state to this node is good for, 1 or more."
