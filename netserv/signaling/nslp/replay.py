"""Which requests this node has acted on: one that comes again is answered as before, and not acted on again.

Nonce, expiry and flow stand in what is signed: a request is good for one flow, and until it expires. So long its nonce
is kept.
"""

import heapq
from collections import Counter
from typing import Final

import msgspec

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.handling import Answer
from netserv.signaling.nslp.requests import Request, Trigger
from netserv.signaling.nslp.values import Flow

_CLAIMS: Final = ("nonce", "expires", "flow")


class _Known(msgspec.Struct, frozen=True):
    identity: bytes
    answer: Answer


def check_claims(request: Request, flow: Flow, unix_now: float, config: NslpConfig) -> None:
    """See that a request is for this path and this time.

    Raises:
        NslpError: it is not, or does not say (unless the operator has set `thesis_mode`).
    """
    if isinstance(request, Trigger):
        return  # it has none; those of the request in it are checked when that is to be sent
    missing = [name for name in _CLAIMS if getattr(request, name) is None]
    if missing and not config.thesis_mode:
        raise NslpError(f"header {missing[0]} is missing, which this node demands")
    if request.flow is not None and request.flow != flow:
        raise NslpError(f"signed for the flow {request.flow}, not for {flow}", code=Code.FORBIDDEN)
    if request.expires is None:
        return
    left_s = request.expires - unix_now
    if left_s < -config.clock_skew_s:
        raise NslpError(f"expired {-left_s:.0f} s ago by this node's clock", code=Code.GONE)
    if left_s > config.expires_ahead_max_s + config.clock_skew_s:
        most_s = config.expires_ahead_max_s
        raise NslpError(f"expires in {left_s:.0f} s, and this node takes {most_s:.0f} s at most", code=Code.FORBIDDEN)


class SeenRequests:
    """Nonces with what was answered, until they expire. Look up only what is signed, and by whom.

    When it is full, new ones are refused: to forget one would let it be sent again.
    """

    def __init__(self, config: NslpConfig) -> None:
        self._config = config
        self._known: dict[tuple[bytes, bytes], _Known] = {}
        self._expiry: list[tuple[float, bytes, bytes]] = []
        self._of_publisher: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def look(self, publisher: bytes, nonce: bytes, identity: bytes, unix_now: float) -> Answer | None:
        """What was answered to the same request before; None for a new one.

        Raises:
            NslpError: another request had that nonce, or no more are remembered.
        """
        self._forget(unix_now)
        known = self._known.get((publisher, nonce))
        if known is None:
            if len(self._known) >= self._config.seen_max:
                raise NslpError("too many requests are remembered here: try again later", code=Code.TOO_MANY)
            if self._of_publisher[publisher] >= self._config.seen_of_publisher_max:
                raise NslpError("too many requests of this publisher: try again later", code=Code.TOO_MANY)
            return None
        if known.identity != identity:
            raise NslpError("another request had that nonce", code=Code.FORBIDDEN)
        return known.answer

    def remember(self, publisher: bytes, nonce: bytes, identity: bytes, expires: float, answer: Answer) -> None:
        """Note a request that was new, until `expires` (Unix time)."""
        self._known[publisher, nonce] = _Known(identity, answer)
        self._of_publisher[publisher] += 1
        heapq.heappush(self._expiry, (expires + self._config.clock_skew_s, publisher, nonce))

    def _forget(self, unix_now: float) -> None:
        while self._expiry and self._expiry[0][0] < unix_now:
            _, publisher, nonce = heapq.heappop(self._expiry)
            del self._known[publisher, nonce]
            self._of_publisher[publisher] -= 1
            if not self._of_publisher[publisher]:
                del self._of_publisher[publisher]
