"""One request to one node: which of its hosts get it, and when the node counts as silent (mDHT design, section 5)."""

import math
from collections.abc import Mapping
from enum import Enum
from random import Random
from typing import Final

import msgspec

from dhtboot.ids import Address
from dhtboot.rtt import RttEstimator
from mdht.subnet.hostset import RemoteHost, RemoteNode
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import HOSTS_MAX


class One(msgspec.Struct, frozen=True):
    """To one host, chosen at random [thesis 3.3]."""


class Parallel(msgspec.Struct, frozen=True):
    """To several hosts at once; the first answer counts [thesis 3.3, for iterative routing]."""

    hosts: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.hosts <= HOSTS_MAX:
            raise ValueError(f"1 to {HOSTS_MAX} hosts can be asked at once, not {self.hosts}")


class Hedged(msgspec.Struct, frozen=True):
    """To one host, and to a second one when 95 of 100 answers would have come."""


Way = One | Parallel | Hedged


class HopState(Enum):
    """How a request to a node stands."""

    ASKING = "asking"
    ANSWERED = "answered"
    "Late answers of other hosts are still worth to be told: they clear their fails."
    UNANSWERED = "unanswered"
    "As many hosts as may be tried were silent, others are left: go by another node this time."
    EMPTY = "empty"
    "No host is left to ask: pull a set from the node's neighbours, let the node learn it, then call `pulled`."
    RETRYING = "retrying"
    "Asking hosts that the neighbours named."
    FAILED = "failed"
    "The neighbours know no host either: the overlay's own handling of failures may take the node out."


class HopInput(Enum):
    """What can happen to a request."""

    ANSWER = "answer"
    TRIES_SPENT = "tries spent"
    HOSTS_SPENT = "hosts spent"
    PULLED_SOME = "pulled some"
    PULLED_NONE = "pulled none"


TRANSITIONS: Final[Mapping[tuple[HopState, HopInput], HopState]] = {
    (HopState.ASKING, HopInput.ANSWER): HopState.ANSWERED,
    (HopState.ASKING, HopInput.TRIES_SPENT): HopState.UNANSWERED,
    (HopState.ASKING, HopInput.HOSTS_SPENT): HopState.EMPTY,
    (HopState.EMPTY, HopInput.ANSWER): HopState.ANSWERED,
    (HopState.EMPTY, HopInput.PULLED_SOME): HopState.RETRYING,
    (HopState.EMPTY, HopInput.PULLED_NONE): HopState.FAILED,
    (HopState.RETRYING, HopInput.ANSWER): HopState.ANSWERED,
    (HopState.RETRYING, HopInput.TRIES_SPENT): HopState.UNANSWERED,
    (HopState.RETRYING, HopInput.HOSTS_SPENT): HopState.FAILED,
}
"A pair that is not listed changes nothing: who has gone elsewhere does not come back for a late answer."

_UNDER_WAY: Final = frozenset({HopState.ASKING, HopState.RETRYING})


class Copy(msgspec.Struct, frozen=True):
    """Send the request to this host; all copies carry the same number, so that a second one does no harm."""

    hid: bytes
    to: Address


class _Flight:
    __slots__ = ("expires_at", "sent_at", "to")

    def __init__(self, to: Address, sent_at: float, expires_at: float) -> None:
        self.to = to
        self.sent_at = sent_at
        self.expires_at = expires_at


class Hop:
    """The copies of one request to one node.

    Args:
        node: which; its hosts gain fails and lose them.
        way: how many hosts at once.
        rtt: round trips of all hosts, of all nodes.
        config: limits.
        rng: chooses hosts.

    Attributes:
        state: how it stands. Copies that are still out when it is answered are waited for: silent ones gain a fail.
    """

    __slots__ = ("_asked", "_config", "_hedge_at", "_out", "_rng", "_rtt", "_tries", "_way", "node", "state")

    def __init__(self, node: RemoteNode, way: Way, rtt: RttEstimator, config: HostSetConfig, rng: Random) -> None:
        self.node = node
        self.state = HopState.ASKING
        self._way = way
        self._rtt = rtt
        self._config = config
        self._rng = rng
        self._tries = 0
        self._out: dict[bytes, _Flight] = {}
        self._asked: dict[bytes, _Flight | None] = {}
        "Whoever got a copy; None where an answer would not tell the round trip any more."
        self._hedge_at = math.inf

    # ---- driver's side -------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Copy]:
        """The first copies."""
        copies = self._ask(self._width, now)
        if isinstance(self._way, Hedged) and copies:
            self._hedge_at = now + self._hedge_s(copies[0].to)
        return copies

    def answered(self, hid: bytes, now: float) -> None:
        """A host of the node has answered this request, however late."""
        if hid not in self._asked:
            return
        flight = self._asked[hid]
        if flight is not None:
            # Late ones count too: else the timeout of a host that has become slower would never grow.
            self._rtt.sample(flight.to, now - flight.sent_at)
            self._asked[hid] = None
        self._out.pop(hid, None)
        self.node.answered(hid, now)
        self._step(HopInput.ANSWER)

    def pulled(self, now: float) -> list[Copy]:
        """The node's neighbours were asked, and `node` has learnt what they told: go on, or give it up."""
        if self.state is not HopState.EMPTY:
            return []
        if not self.node.usable:
            self._step(HopInput.PULLED_NONE)
            return []
        self._step(HopInput.PULLED_SOME)
        self._tries = 0
        return self._ask(self._width, now)

    def tick(self, now: float) -> list[Copy]:
        """Count who was silent; the copies to send instead."""
        for hid, flight in [(hid, flight) for hid, flight in self._out.items() if flight.expires_at <= now]:
            del self._out[hid]
            self.node.silent(hid, flight.sent_at, now)
        if self.state not in _UNDER_WAY:
            return []
        wanted = 1 if now >= self._hedge_at else self._width - len(self._out)
        if wanted <= 0:
            return []
        self._hedge_at = math.inf
        return self._ask(wanted, now)

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        hedge_at = self._hedge_at if self.state in _UNDER_WAY else math.inf
        return min([hedge_at, *[flight.expires_at for flight in self._out.values()]])

    # ---- inside --------------------------------------------------------------------------------------------------

    @property
    def _width(self) -> int:
        return self._way.hosts if isinstance(self._way, Parallel) else 1

    def _step(self, what: HopInput) -> None:
        self.state = TRANSITIONS.get((self.state, what), self.state)

    def _ask(self, wanted: int, now: float) -> list[Copy]:
        left = max(self._config.tries_max, self._width) - self._tries
        copies = [self._send(host, now) for host in self._choose(min(wanted, left))]
        self._tries += len(copies)
        if not self._out:
            self._step(HopInput.TRIES_SPENT if self.node.usable else HopInput.HOSTS_SPENT)
        return copies

    def _choose(self, wanted: int) -> list[RemoteHost]:
        """Hosts that have no copy yet; when all have had one and none is out, one of them again."""
        usable = self.node.usable
        fresh = [host for host in usable if host.hid not in self._asked]
        if fresh:
            return self._rng.sample(fresh, min(wanted, len(fresh)))
        return [self._rng.choice(usable)] if wanted > 0 and usable and not self._out else []

    def _send(self, host: RemoteHost, now: float) -> Copy:
        again = host.hid in self._asked
        wait_s = self._rtt.timeout_s(host.address) * (2.0 if again else 1.0)
        if all(other.fails + 1 >= self._config.fails_max for other in self.node.usable):
            wait_s = max(wait_s, self._config.last_chance_s)
        flight = _Flight(host.address, now, now + wait_s)
        # Which copy a host answers that got two cannot be told (RFC 6298, section 3).
        self._asked[host.hid] = None if again else flight
        self._out[host.hid] = flight
        return Copy(host.hid, host.address)

    def _hedge_s(self, to: Address) -> float:
        """The 95th percentile of a host's round trip: mean and two mean deviations, as for a normal distribution.

        The timeout is mean and four of them, so this is half way.
        """
        mean_s = self._rtt.mean_s(to)
        return self._rtt.hedge_s() if mean_s is None else (mean_s + self._rtt.timeout_s(to)) / 2.0
