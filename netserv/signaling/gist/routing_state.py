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


def row_key(mri: bytes, sid: bytes, nslp_id: int) -> bytes:
    """The key of a row: the MRI with the direction towards its peer, session and NSLP."""
    return b"%b%b%b" % (mri, sid, nslp_id.to_bytes(2, "big"))


class Row(Timed):
    """What leads to the neighbour of one session in one direction.

    Attributes:
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
        "had_association",
        "inactive_at",
        "interface",
        "key",
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

    def __init__(self, key: bytes, mri: Mri, sid: bytes, nslp_id: int, state: Enum) -> None:
        super().__init__()
        self.key = key
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

    def mri_bytes(self) -> bytes:
        """Value of the MRI."""
        return self.key[:-18]


class RoutingTable:
    """All rows, found by key and by flow."""

    __slots__ = ("_by_flow", "_rows")

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self._by_flow: dict[bytes, Row | dict[bytes, Row]] = {}
        "By the MRI alone, for calls that name no session; nearly every flow has one row, which then needs no table."

    def get(self, key: bytes) -> Row | None:
        """The row of that key."""
        return self._rows.get(key)

    def add(self, row: Row) -> None:
        """Put in a row whose key is not there yet."""
        self._rows[row.key] = row
        flow = row.mri_bytes()
        there = self._by_flow.get(flow)
        if there is None:
            self._by_flow[flow] = row
        elif isinstance(there, dict):
            there[row.key] = row
        else:
            self._by_flow[flow] = {there.key: there, row.key: row}

    def remove(self, row: Row) -> None:
        """Take out a row that is there."""
        del self._rows[row.key]
        flow = row.mri_bytes()
        there = self._by_flow[flow]
        if isinstance(there, dict):
            del there[row.key]
            if there:
                return
        del self._by_flow[flow]

    def of_flow(self, mri: bytes) -> list[Row]:
        """All rows of one flow and direction."""
        there = self._by_flow.get(mri)
        if there is None:
            return []
        return list(there.values()) if isinstance(there, dict) else [there]

    def __iter__(self) -> Iterator[Row]:
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)
