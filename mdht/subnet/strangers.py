"""Who says that he is here, until he has answered from where he says he is: whoever cannot be reached is no member."""

import math
from collections import Counter
from collections.abc import Callable

from dhtboot.ids import Address
from mdht.subnet.effects import Unicast
from mdht.subnet.messages import Ping, State


class Stranger:
    """One of them."""

    __slots__ = ("addresses", "expires_at", "hid", "incarnation", "nonce", "proven", "state")

    def __init__(
        self,
        hid: bytes,
        incarnation: int,
        addresses: tuple[Address, ...],
        state: State,
        nonce: bytes,
        expires_at: float,
        *,
        proven: bool,
    ) -> None:
        self.hid = hid
        self.incarnation = incarnation
        self.addresses = addresses
        self.state = state
        self.nonce = nonce
        self.expires_at = expires_at
        self.proven = proven
        "It has itself said, and signed, that it is here."


class Strangers:
    """Those being pinged at once.

    Args:
        most: how many at most; the others come again with their next heartbeat.
        patience_s: an answer takes so long at most.
        nonce: draws eight bytes that nobody can guess.
        counters: of those turned away, and of those who never answered.
    """

    def __init__(self, *, most: int, patience_s: float, nonce: Callable[[], bytes], counters: Counter[str]) -> None:
        self._most = most
        self._patience_s = patience_s
        self._nonce = nonce
        self._counters = counters
        self._known: dict[bytes, Stranger] = {}

    def meet(
        self,
        hid: bytes,
        incarnation: int,
        addresses: tuple[Address, ...],
        state: State,
        now: float,
        *,
        proven: bool = False,
    ) -> list[Unicast]:
        """Ping somebody, unless that is being done.

        Who has signed that he is here takes the place of hearsay: of a false address of his own, or of made-up names.
        """
        if not addresses:
            return []
        known = self._known.get(hid)
        if known is None and len(self._known) >= self._most and proven:
            known = next((one for one in self._known.values() if not one.proven), None)
        if known is not None:
            if known.proven or not proven:
                return []
            del self._known[known.hid]
        if len(self._known) >= self._most:
            self._counters["turned_away"] += 1
            return []
        until = now + self._patience_s
        stranger = Stranger(hid, incarnation, addresses, state, self._nonce(), until, proven=proven)
        self._known[hid] = stranger
        return [Unicast(addresses[0], Ping(nonce=stranger.nonce))]

    def on_pong(self, hid: bytes, nonce: bytes) -> Stranger | None:
        """Whoever has answered is a stranger no longer; None for any other answer."""
        stranger = self._known.get(hid)
        if stranger is None or stranger.nonce != nonce:
            return None
        return self._known.pop(hid)

    def expire(self, now: float) -> None:
        """Forget who has not answered."""
        silent = [hid for hid, stranger in self._known.items() if stranger.expires_at <= now]
        for hid in silent:
            del self._known[hid]
        self._counters["strangers_silent"] += len(silent)

    def next_deadline(self) -> float:
        """When to call `expire`."""
        return min((stranger.expires_at for stranger in self._known.values()), default=math.inf)
