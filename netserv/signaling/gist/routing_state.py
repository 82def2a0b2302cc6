"""The table of routing state: one row for each flow, direction, session and NSLP (RFC 5971 section 4.2.1)."""

import math
from collections import deque
from collections.abc import Iterator
from enum import Enum

from netserv.signaling.gist.association import Association
from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.peers import Peer
from netserv.signaling.gist.service import RoutingStatus, SendMessage, SiiHandle
from netserv.signaling.gist.timers import Timed


class Row(Timed):
    """What leads to the neighbour of one session in one direction.

    Attributes:
        flow: value of its MRI, by which it is found.
        state: of its machine; only `querying.py` and `responding.py` assign it.
        status: how far it can be relied on (section 7.1.3).
        peer: None before the first Response.
        association: None in D-mode.
        interface: by which the peer's last Query came, 0 for none or unknown.
        distance: IP hops to the peer, 0 where that is not known.
        expires_at: without a refresh it ends then, s.
        inactive_at: without messages it ends then, s.
        lifetime_s: what `inactive_at` starts again from with each message.
        queue: messages that wait, with the time when they are given up.
        had_association: reliable messages may wait for another one.
    """

    __slots__ = (
        "association",
        "distance",
        "expires_at",
        "flow",
        "had_association",
        "inactive_at",
        "interface",
        "lifetime_s",
        "mri",
        "nslp_id",
        "peer",
        "queue",
        "sid",
        "state",
        "status",
    )

    state: Enum

    def __init__(self, mri: Mri, sid: bytes, nslp_id: int, state: Enum) -> None:
        super().__init__()
        self.flow = mri.encode()
        self.mri = mri
        self.sid = sid
        self.nslp_id = nslp_id
        self.state = state
        self.status = RoutingStatus.BAD
        self.peer: Peer | None = None
        self.association: Association | None = None
        self.interface = 0
        self.distance = 0
        self.expires_at = math.inf
        self.inactive_at = math.inf
        self.lifetime_s = math.inf
        self.queue: deque[tuple[SendMessage, float]] | None = None
        self.had_association = False

    def handle(self) -> SiiHandle | None:
        """Name of the peer for the NSLP."""
        if self.peer is None:
            return None
        return self.peer.handle(0 if self.association is None else self.association.number)


class RoutingTable:
    """All rows, by flow and direction, then by session and NSLP.

    Nearly every flow has one session, and then its row stands there itself: that saves a table of 232 bytes.
    """

    __slots__ = ("_count", "_flows")

    def __init__(self) -> None:
        self._flows: dict[bytes, Row | dict[tuple[bytes, int], Row]] = {}
        self._count = 0

    def get(self, flow: bytes, sid: bytes, nslp_id: int) -> Row | None:
        """The row that leads along that MRI (its value as bytes) for that session and NSLP."""
        there = self._flows.get(flow)
        if there is None:
            return None
        if isinstance(there, dict):
            return there.get((sid, nslp_id))
        return there if there.sid == sid and there.nslp_id == nslp_id else None

    def opposite(self, row: Row) -> Row | None:
        """The row of the same session that leads the other way."""
        return self.get(row.mri.inverted().encode(), row.sid, row.nslp_id)

    def add(self, row: Row) -> None:
        """Put in a row, where there is none yet."""
        there = self._flows.get(row.flow)
        self._count += 1
        if there is None:
            self._flows[row.flow] = row
        elif isinstance(there, dict):
            there[row.sid, row.nslp_id] = row
        else:
            self._flows[row.flow] = {(there.sid, there.nslp_id): there, (row.sid, row.nslp_id): row}

    def remove(self, row: Row) -> None:
        """Take out a row that is there."""
        there = self._flows[row.flow]
        self._count -= 1
        if isinstance(there, dict):
            del there[row.sid, row.nslp_id]
            if there:
                return
        del self._flows[row.flow]

    def of_flow(self, flow: bytes) -> list[Row]:
        """All rows of one flow and direction."""
        there = self._flows.get(flow)
        if there is None:
            return []
        return list(there.values()) if isinstance(there, dict) else [there]

    def __iter__(self) -> Iterator[Row]:
        for there in list(self._flows.values()):
            if isinstance(there, dict):
                yield from list(there.values())
            else:
                yield there

    def __len__(self) -> int:
        return self._count
