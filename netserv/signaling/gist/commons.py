"""What all parts of a node share: settings, tables, limits, and the list of effects of the call that is running."""

from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Final

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.cookies import ResponderCookies
from netserv.signaling.gist.counters import GistCounters
from netserv.signaling.gist.effects import Deliver, Effect, Notify, Outgoing, Report, Topology
from netserv.signaling.gist.ends import Ends
from netserv.signaling.gist.objects.mri import Direction, Mri, PathCoupledMri
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.peers import Peers
from netserv.signaling.gist.rate import SourceLimits, TokenBucket
from netserv.signaling.gist.routing_state import RoutingTable, Row
from netserv.signaling.gist.service import (
    Application,
    LastBy,
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    RecvMessage,
    RoutingStatus,
    SendFailure,
    SendMessage,
    SiiHandle,
    TransferAttributes,
)
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.timers import Timers

IP_TTL: Final = 64
"Of messages whose NSLP wants no other."
D_MODE_MAX: Final = 512
"Bytes of a message in D-mode where the path's MTU is not known: 576 less the allowance of 64 (section 4.3.3)."
ALLOWANCE: Final = 64
OWN_NLIS_MAX: Final = 256
"That are kept: one for each own address and distance of a peer, as long as all routing state has the same validity."


class Commons:
    """Shared by the machines of one node.

    Attributes:
        out: effects of the call that is running.
        queued_bytes: NSLP data that waits for handshakes and connections.
    """

    __slots__ = (
        "applications",
        "config",
        "cookies",
        "counters",
        "datagrams",
        "ends",
        "error_limits",
        "identity",
        "out",
        "peers",
        "queued_bytes",
        "rng",
        "stacks",
        "table",
        "timers",
        "topology",
    )

    def __init__(
        self,
        config: GistConfig,
        identity: bytes,
        topology: Topology,
        applications: Mapping[int, Application],
        rng: Random,
        now: float,
    ) -> None:
        self.config = config
        self.identity = identity
        self.topology = topology
        self.applications = applications
        self.rng = rng
        self.counters = GistCounters()
        self.table = RoutingTable()
        self.timers = Timers()
        self.peers = Peers()
        self.ends = Ends()
        self.stacks = Stacks(config)
        self.cookies = ResponderCookies(rng, now)
        self.datagrams = TokenBucket(config.datagrams_per_s, now)
        self.error_limits = SourceLimits(config.errors_per_s, now)
        self.queued_bytes = 0
        self.out: list[Effect] = []

    def taken(self) -> list[Effect]:
        """The effects so far; the next call begins a new list."""
        out, self.out = self.out, []
        return out

    def validity_s(self) -> float:
        """How long routing state is to live: longer under load, so that refreshes fit the rate (section 4.4.4)."""
        return max(self.config.validity_s, 2.0 * len(self.table) / self.config.datagrams_per_s)

    def own_nli(self, way: Outgoing, ip_ttl: int) -> Nli:
        """This node, as peers on that way see it."""
        return _nli(self.identity, way.address, ip_ttl, round(self.validity_s() * 1000))

    # To the NSLPs.

    def deliver(self, message: RecvMessage) -> None:
        """Hand over a message."""
        self.counters.delivered += 1
        self.out.append(Deliver(message))

    def report(
        self, message: SendMessage, failure: SendFailure | None, attributes: TransferAttributes | None = None
    ) -> None:
        """Tell what became of a message, if anybody wants to know: the failure, or how it is carried."""
        if message.handle is not None:
            status = MessageStatus(
                nslp_id=message.nslp_id,
                handle=message.handle,
                attributes=message.attributes if attributes is None else attributes,
                failure=failure,
            )
            self.out.append(Report(status))

    def notify(
        self,
        row: Row,
        kind: NotificationKind,
        *,
        status: RoutingStatus | None = None,
        sii: SiiHandle | None = None,
        last_by: LastBy | None = None,
    ) -> None:
        """Tell an NSLP of an event on the flow of a row."""
        self.notify_flow(row.nslp_id, row.sid, row.mri, kind, status=status, sii=sii, last_by=last_by)

    def notify_flow(
        self,
        nslp_id: int,
        sid: bytes,
        mri: Mri,
        kind: NotificationKind,
        *,
        status: RoutingStatus | None = None,
        sii: SiiHandle | None = None,
        last_by: LastBy | None = None,
    ) -> None:
        """Tell an NSLP of an event on a flow."""
        notification = NetworkNotification(
            nslp_id=nslp_id, sid=sid, mri=mri, kind=kind, status=status, sii=sii, last_by=last_by
        )
        self.out.append(Notify(notification))

    def set_status(self, row: Row, status: RoutingStatus, *, tell: bool = True) -> None:
        """Change how far a row can be relied on, and tell its NSLP if that is news."""
        if row.status is not status:
            row.status = status
            if tell:
                sii = row.handle() if status is RoutingStatus.GOOD else None
                self.notify(row, NotificationKind.ROUTING_STATUS_CHANGE, status=status, sii=sii)

    def end(self, row: Row, *, tell: bool) -> None:
        """Take a row out, whose machine has ended; `tell` the NSLP that the way to its peer is gone."""
        if row.peer is not None:
            if tell:
                self.notify(row, NotificationKind.ROUTE_DELETION, sii=row.handle())
            self.peers.release(row.peer)
            row.peer = None
        if row.association is not None:
            row.association.rows.pop(row, None)
            row.association = None
        self.table.remove(row)
        self.timers.cancel(row)


@lru_cache(maxsize=OWN_NLIS_MAX)
def _nli(identity: bytes, address: PackedAddress, ip_ttl: int, validity_ms: int) -> Nli:
    return Nli(peer_identity=identity, address=address, ip_ttl=ip_ttl, validity_ms=validity_ms)


def far_end(mri: Mri) -> PackedAddress:
    """Where a message of that direction is going in the end."""
    return mri.destination if mri.direction is Direction.DOWNSTREAM else mri.source


def q_mode_destination(mri: Mri, *, upstream: bool) -> PackedAddress | None:
    """Where Q-mode messages of that flow go; None where there is no such encapsulation (section 5.8).

    Args:
        mri: with the direction to look in.
        upstream: Queries against a flow are wanted.
    """
    if mri.direction is Direction.DOWNSTREAM:
        return mri.destination
    return mri.source if upstream and isinstance(mri, PathCoupledMri) else None
