"""The adjacent nodes that routing state leads to; one value for all sessions with the same one."""

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.service import SiiHandle


class Peer:
    """One node at one address and port, shared by the rows that lead to it.

    Attributes:
        rows: how many they are.
        interface: by which its last Query came, or the way to it; 0 where that is not known.
        distance: IP hops to it, as last told; 0 where that is not known.
    """

    __slots__ = ("address", "distance", "identity", "interface", "port", "rows")

    def __init__(self, identity: bytes, address: PackedAddress, port: int) -> None:
        self.identity = identity
        self.address = address
        self.port = port
        self.rows = 0
        self.interface = 0
        self.distance = 0

    def is_at(self, identity: bytes, address: PackedAddress) -> bool:
        """Both must be equal for messages of the same peer (section 4.4.3)."""
        return self.identity == identity and self.address == address

    def handle(self, association: int = 0) -> SiiHandle:
        """Return what an NSLP gets to name this peer."""
        return SiiHandle(self.identity, self.address, self.port, self.interface, association)


class Peers:
    """All peers with routing state; as many as rows at most."""

    __slots__ = ("_peers",)

    def __init__(self) -> None:
        self._peers: dict[tuple[bytes, PackedAddress, int], Peer] = {}

    def hold(self, identity: bytes, address: PackedAddress, port: int) -> Peer:
        """The peer, for one row more; each `hold` wants its `release`."""
        key = (identity, address, port)
        peer = self._peers.get(key)
        if peer is None:
            peer = self._peers[key] = Peer(identity, address, port)
        peer.rows += 1
        return peer

    def release(self, peer: Peer) -> None:
        """One row less; without rows it is forgotten."""
        peer.rows -= 1
        if not peer.rows:
            del self._peers[(peer.identity, peer.address, peer.port)]

    def all(self) -> list[Peer]:
        """Every peer, the longest known first."""
        return list(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)
