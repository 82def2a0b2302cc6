"""Round-trip estimates and the timeouts that follow from them (RFC 6298, with the floor of a LAN)."""

from collections import OrderedDict

import msgspec

from dhtboot.ids import Address


class TimeoutConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the retransmission timeout, in seconds."""

    initial_s: float = 0.5
    "Before anything was measured."
    min_s: float = 0.02
    "Floor; below it a busy event loop looks like a dead peer."
    max_s: float = 1.5
    "Ceiling: the RPC timeout of the thesis' experiments."
    death_min_s: float = 0.5
    """The last attempt is given so long at least: whoever was merely busy must not be taken for dead, for each node
    that is struck off and found again costs its neighbours more work, which makes more of them busy."""
    peers_max: int = 4096
    "Peers whose own estimate is kept."

    def __post_init__(self) -> None:
        if not 0 < self.min_s <= self.initial_s <= self.max_s or self.death_min_s < 0:
            raise ValueError("timeouts must satisfy 0 < min_s <= initial_s <= max_s and 0 <= death_min_s")

    @property
    def fixed(self) -> bool:
        """Whether the bounds leave but one timeout."""
        return self.min_s == self.max_s


class RttEstimator:
    """Mean and deviation per peer; a peer never measured gets the estimate over all peers.

    Where the bounds leave but one timeout, as in the experiments of the thesis, nothing is measured.
    """

    __slots__ = ("_all", "_config", "_fixed_s", "_peers")

    def __init__(self, config: TimeoutConfig) -> None:
        self._config = config
        self._fixed_s = config.max_s if config.fixed else 0.0
        self._peers: OrderedDict[Address, tuple[float, float]] = OrderedDict()
        self._all: tuple[float, float] | None = None

    def sample(self, peer: Address, rtt_s: float) -> None:
        """Take one measured round trip into account."""
        if self._fixed_s:
            return
        self._peers[peer] = _smoothed(self._peers.get(peer), rtt_s)
        self._peers.move_to_end(peer)
        if len(self._peers) > self._config.peers_max:
            self._peers.popitem(last=False)
        self._all = _smoothed(self._all, rtt_s)

    def timeout_s(self, peer: Address) -> float:
        """Mean plus four deviations, within the bounds."""
        if self._fixed_s:
            return self._fixed_s
        known = self._peers.get(peer)
        if known is not None:
            bound = known[0] + 4.0 * known[1]
        elif self._all is not None:
            # A stranger may be farther away than the peers measured so far: twice their bound, not the whole second.
            bound = 2.0 * (self._all[0] + 4.0 * self._all[1])
        else:
            bound = self._config.initial_s
        return min(max(bound, self._config.min_s), self._config.max_s)

    def hedge_s(self) -> float:
        """After so long most peers have answered: time to ask another one as well, not yet to give this one up."""
        bound = self._config.initial_s if self._all is None else self._all[0] + 4.0 * self._all[1]
        return min(max(bound, self._config.min_s), self._config.max_s)

    def mean_s(self, peer: Address) -> float | None:
        """Smoothed round trip of one peer, None when never measured."""
        known = self._peers.get(peer)
        return None if known is None else known[0]


def _smoothed(known: tuple[float, float] | None, rtt_s: float) -> tuple[float, float]:
    if known is None:
        return rtt_s, rtt_s / 2.0
    mean, deviation = known
    return mean + 0.125 * (rtt_s - mean), deviation + 0.25 * (abs(rtt_s - mean) - deviation)
