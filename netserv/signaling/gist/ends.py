"""Flows behind which nobody was found a moment ago, so that each further message of theirs does not search again.

Linux sends one ICMP port unreachable a second to one address: of ten requests a second along a flow nine would have to
wait for Queries sent again, up to all the 7.5 s.
"""

from typing import Final

from netserv.signaling.gist.service import LastBy

KNOWN_S: Final = 1.0
"As long as the kernel at the end keeps silent after an answer; a node that starts meanwhile is found by the next one."
FLOWS_MAX: Final = 4_096
"About 1 MB; the oldest one goes for a new one."


class Ends:
    """What is known of flows; only what the destination itself has said: silence may be loss."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], tuple[float, LastBy]] = {}

    def note(self, flow: bytes, nslp_id: int, last_by: LastBy, now: float) -> None:
        """Nobody is behind this node on that flow."""
        if last_by is LastBy.TIMEOUT:
            return
        self._known.pop((flow, nslp_id), None)
        if len(self._known) >= FLOWS_MAX:
            del self._known[next(iter(self._known))]
        self._known[flow, nslp_id] = now + KNOWN_S, last_by

    def known(self, flow: bytes, nslp_id: int, now: float) -> LastBy | None:
        """How that is known; None where a search is due."""
        until, last_by = self._known.get((flow, nslp_id), (now, LastBy.TIMEOUT))
        if until > now:
            return last_by
        self._known.pop((flow, nslp_id), None)
        return None

    def forget(self, flow: bytes) -> None:
        """Something has changed there."""
        for key in [key for key in self._known if key[0] == flow]:
            del self._known[key]
