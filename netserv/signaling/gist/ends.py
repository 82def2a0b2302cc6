"""Flows behind which nobody was found a moment ago, so that each further message of theirs does not search again.

Linux sends one ICMP port unreachable a second to one address: of ten requests a second along a flow nine would have to
wait for Queries sent again, up to all the 7.5 s. Of many flows to one host too all but a few a second get no such word.
"""

from typing import Final, TypeVar

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.service import LastBy

KNOWN_S: Final = 1.0
"As long as the kernel at the end keeps silent after an answer; a node that starts meanwhile is found by the next one."
BARE_S: Final = 30.0
"As long as routing state is valid: so often a host is asked again what it runs."
BARE_QUERIES: Final = 2
"To a host that has said to another flow that it has no GIST: a node before it would answer, and the host may be mute."
FLOWS_MAX: Final = 4_096
"About 1 MB; the oldest one goes for a new one."

K = TypeVar("K")
V = TypeVar("V")


class Ends:
    """What is known of flows; only what the destination itself has said: silence may be loss."""

    __slots__ = ("_bare", "_known")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], tuple[float, LastBy]] = {}
        self._bare: dict[PackedAddress, float] = {}

    def note(self, flow: bytes, nslp_id: int, host: PackedAddress | None, last_by: LastBy, now: float) -> None:
        """Nobody is behind this node on that flow, as its last host has said."""
        if last_by is LastBy.TIMEOUT or host is None:
            return
        _put(self._known, (flow, nslp_id), (now + KNOWN_S, last_by))
        _put(self._bare, host, now + BARE_S)

    def known(self, flow: bytes, nslp_id: int, now: float) -> LastBy | None:
        """How that is known; None where a search is due."""
        until, last_by = self._known.get((flow, nslp_id), (now, LastBy.TIMEOUT))
        if until > now:
            return last_by
        self._known.pop((flow, nslp_id), None)
        return None

    def is_bare(self, host: PackedAddress | None, now: float) -> bool:
        """Whether a host has said of late that it has no GIST, or not this NSLP."""
        return host is not None and self._bare.get(host, now) > now

    def forget(self, flow: bytes) -> None:
        """Something has changed there."""
        for key in [key for key in self._known if key[0] == flow]:
            del self._known[key]


def _put(table: dict[K, V], key: K, value: V) -> None:
    """Keep it as the newest one."""
    table.pop(key, None)
    if len(table) >= FLOWS_MAX:
        del table[next(iter(table))]
    table[key] = value
