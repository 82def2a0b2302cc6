"""How a node stands, as values for people and scripts."""

from collections import Counter
from itertools import islice
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import PackedAddress, address_text
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.counters import GistCounters
from netserv.signaling.gist.objects.mri import LooseEndMri, OffPathMri, PathCoupledMri
from netserv.signaling.gist.peers import Peer
from netserv.signaling.gist.querying import QueryingRow
from netserv.signaling.gist.routing_state import Row

ROWS_SHOWN_MAX: Final = 1_000
"Rows that a status names; the counts are of all."


class KnownPeer(msgspec.Struct, frozen=True, kw_only=True):
    """An adjacent node that routing state leads to."""

    identity: bytes
    address: PackedAddress
    port: int
    interface: int
    "By which it is reached, or heard; 0 where that is not known."
    distance: int
    "IP hops; 0 where that is not known."


class RowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One row of routing state."""

    nslp_id: int
    sid: str
    flow: str
    "source>destination"
    direction: str
    "Towards its peer: downstream or upstream."
    role: str
    "querying or responding."
    state: str
    status: str
    peer: str | None
    association: int | None
    expires_in_s: float | None
    waiting: int
    "Messages."


class AssociationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One messaging association."""

    number: int
    state: str
    secure: bool
    opened_by_us: bool
    peer: str | None
    rows: int
    under_way: int
    "Messages that the peer is not known to have."


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One adjacent node."""

    identity: str
    address: str
    port: int
    interface: int
    distance: int
    rows: int


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All of a node."""

    identity: str
    sessions: dict[str, int]
    "Rows by role and state, as `querying established`."
    rows: tuple[RowStatus, ...]
    "The first thousand."
    associations: tuple[AssociationStatus, ...]
    peers: tuple[PeerStatus, ...]
    queued_bytes: int
    counters: GistCounters


def known_peer(peer: Peer) -> KnownPeer:
    """A peer as a value."""
    return KnownPeer(
        identity=peer.identity,
        address=peer.address,
        port=peer.port,
        interface=peer.interface,
        distance=peer.distance,
    )


def status_of(commons: Commons, associations: list[Association], now: float) -> NodeStatus:
    """The status of a node."""
    return NodeStatus(
        identity=commons.identity.hex(),
        sessions=dict(Counter(f"{_role(row)} {row.state.value}" for row in commons.table)),
        rows=tuple(_row(row, now) for row in islice(commons.table, ROWS_SHOWN_MAX)),
        associations=tuple(_association(association) for association in associations),
        peers=tuple(_peer(peer) for peer in islice(commons.peers.all(), ROWS_SHOWN_MAX)),
        queued_bytes=commons.queued_bytes,
        counters=commons.counters,
    )


def _role(row: Row) -> str:
    return "querying" if isinstance(row, QueryingRow) else "responding"


def _row(row: Row, now: float) -> RowStatus:
    mri = row.mri
    flow = "?"
    if isinstance(mri, PathCoupledMri | LooseEndMri | OffPathMri):
        flow = f"{address_text(mri.source)}>{address_text(mri.destination)}"
    left_s = row.expires_at - now
    return RowStatus(
        nslp_id=row.nslp_id,
        sid=row.sid.hex(),
        flow=flow,
        direction=mri.direction.name.lower(),
        role=_role(row),
        state=row.state.value,
        status=row.status.value,
        peer=None if row.peer is None else address_text(row.peer.address),
        association=None if row.association is None else row.association.number,
        expires_in_s=round(left_s, 1) if left_s < 1e9 else None,
        waiting=len(row.queue or ()),
    )


def _association(association: Association) -> AssociationStatus:
    return AssociationStatus(
        number=association.number,
        state=association.state.value,
        secure=association.secure,
        opened_by_us=association.ours,
        peer=address_text(association.peer_address) if association.peer_address else None,
        rows=len(association.rows),
        under_way=len(association.under_way),
    )


def _peer(peer: Peer) -> PeerStatus:
    return PeerStatus(
        identity=peer.identity.hex(),
        address=address_text(peer.address),
        port=peer.port,
        interface=peer.interface,
        distance=peer.distance,
        rows=peer.rows,
    )
