"""When the members of a subnet tell other nodes that its hosts have changed, and whom (mDHT design, section 5)."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from dhtboot.ids import Address
from mdht.subnet.bounded import remember
from mdht.subnet.effects import Multicast
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.messages import NEIGHBOURS_MAX, HostSet, NodeEntry, Reason


class Peer(msgspec.Struct, frozen=True):
    """A host of another node that is told of changes."""

    node_id: int
    hid: bytes
    address: Address


class Push(msgspec.Struct, frozen=True):
    """Tell a host of another node of the members as they are now."""

    peer: Peer
    reason: Reason


class PushSchedule:
    """One member's part: all of them keep this schedule, and who comes first in the rota pushes.

    A copy goes to the siblings, by multicast: it is by that that the others see that it was done.

    Args:
        config: times and limits.
        entry: makes the set that siblings get, at a time.
        neighbours: a host each of the predecessor and the successors, at the time of the push.
    """

    def __init__(
        self,
        config: HostSetConfig,
        entry: Callable[[float], NodeEntry],
        neighbours: Callable[[], Sequence[Peer]],
    ) -> None:
        self._config = config
        self._entry = entry
        self._neighbours = neighbours
        self._askers: OrderedDict[Address, tuple[Peer, float]] = OrderedDict()
        self._reason: Reason | None = None
        "Of what is to be told; the gravest where there are several."
        self._epoch = -1
        self._due_at = math.inf
        self._pushed_at = -math.inf
        "By whichever member."

    @property
    def askers(self) -> list[Peer]:
        """Who has asked lately, longest ago first."""
        return [peer for peer, _ in self._askers.values()]

    def asked(self, peer: Peer, now: float) -> None:
        """A host of another node has asked something; of too many the one that asked longest ago is forgotten."""
        remember(self._askers, peer.address, (peer, now), self._config.askers_max)

    def changed(self, reason: Reason, epoch: int, place: int, now: float) -> None:
        """A member has come, gone or died; what is not yet told goes out together.

        Args:
            reason: which of these.
            epoch: of the view since.
            place: of this member in the rota.
            now: the time.
        """
        if reason is Reason.PULL:
            raise ValueError("a pull is answered, not pushed")
        if not self._config.push:
            return
        due_at = max(now + self._config.batch_s, self._pushed_at + self._config.spacing_s)
        self._due_at = min(self._due_at, due_at + place * self._config.repeat_s)
        self._reason = max(reason, self._reason or reason)
        self._epoch = epoch

    def seen(self, epoch: int, now: float) -> None:
        """Another member has pushed a set of this epoch, as its copy shows."""
        self._pushed_at = now
        if epoch >= self._epoch:
            self._done()
        elif self._reason is not None:
            self._due_at = max(self._due_at, now + self._config.spacing_s)

    def tick(self, now: float) -> list[Multicast | Push]:
        """Push if it is due."""
        if self._reason is None or now < self._due_at:
            return []
        reason = self._reason
        self._pushed_at = now
        self._done()
        return [
            Multicast(HostSet(entry=self._entry(now), reason=reason)),
            *[Push(peer, reason) for peer in self._peers(now)],
        ]

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._due_at

    def _done(self) -> None:
        self._reason, self._due_at = None, math.inf

    def _peers(self, now: float) -> list[Peer]:
        """Neighbours and recent askers, none of them twice."""
        since = now - self._config.asker_age_max_s
        for address in [address for address, (_, at) in self._askers.items() if at < since]:
            del self._askers[address]
        peers = {peer.address: peer for peer in self._neighbours()[:NEIGHBOURS_MAX]}
        for peer in self.askers:
            peers.setdefault(peer.address, peer)
        return list(peers.values())
