"""One request to a node, until a host of it has answered or all of them were silent."""

import math
from random import Random
from typing import Final

import msgspec

from dhtboot.ids import Address
from dhtboot.rpc import Asker
from dhtboot.rtt import RttEstimator
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Asked, Carried
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_choice import Copy, Hop, HopState, Parallel

_SILENT: Final = frozenset({HopState.UNANSWERED, HopState.EMPTY, HopState.FAILED})


class Call:
    """One request.

    First hosts are asked as the settings have it. When all that may be asked so were silent, the others are asked all
    at once, in rounds; when none is left, the node's neighbours are asked for others, a few times. To whoever wants it
    it is one request all the time: of what the overlay's core does not hear nothing changes in its tables.

    Args:
        to: the node's pseudo-address.
        node: its hosts.
        body: the request, as each host gets it.
        receipt: whether a receipt ends it, rather than a response.
        asker: waits for it; None where the overlay's core does.
        config: limits.
        rtt: round trips of hosts.
        rng: chooses hosts.

    Attributes:
        answered: whether a host has answered.
        needs_pull: whether the node's neighbours are to be asked, after which `pulled` is called.
        alternates: copies sent to other hosts than the first ones.
        failed: whether it was given up.
        late: whether the hosts asked first were silent.
    """

    __slots__ = (
        "_config",
        "_hops",
        "_pulls",
        "_rng",
        "_rounds",
        "_rtt",
        "alternates",
        "answered",
        "asker",
        "body",
        "failed",
        "late",
        "needs_pull",
        "node",
        "receipt",
        "to",
    )

    def __init__(
        self,
        to: Address,
        node: RemoteNode,
        body: Carried | Asked,
        *,
        receipt: bool,
        asker: Asker | None,
        config: FaceConfig,
        rtt: RttEstimator,
        rng: Random,
    ) -> None:
        self.to = to
        self.node = node
        self.body = body
        self.receipt = receipt
        self.asker = asker
        self.answered = False
        self.needs_pull = False
        self.failed = False
        self.late = False
        self.alternates = 0
        self._config = config
        self._rtt = rtt
        self._rng = rng
        self._pulls = 0
        self._rounds = 0
        self._hops = [Hop(node, config.way, rtt, config.hosts, rng)]

    def start(self, now: float) -> list[Copy]:
        """The first copies."""
        return self._go_on(self._hops[-1].start(now), now)

    def on_answer(self, hid: bytes, now: float) -> bool:
        """A host has answered; True for the first one, whose answer counts."""
        for hop in self._hops:
            hop.answered(hid, now)
        first = not self.answered
        self.answered = True
        self.needs_pull = False
        return first and not self.failed

    def tick(self, now: float) -> list[Copy]:
        """Count who was silent; the copies to send instead."""
        hop = self._hops[-1]
        if hop.next_deadline() > now:
            return []
        copies = hop.tick(now)
        self.alternates += len(copies)
        return self._go_on(copies, now)

    def pulled(self, now: float) -> list[Copy]:
        """The neighbours were asked, and the node has learnt what they know."""
        if not self.needs_pull:
            return []
        self.needs_pull = False
        self._rounds = 0
        if self.node.usable:
            return self._next_round(now)
        self._hops[-1].pulled(now)
        return self._go_on([], now)

    @property
    def over(self) -> bool:
        """Whether nothing is waited for any more, silent hosts included."""
        return (self.answered or self.failed) and self.next_deadline() == math.inf

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        hop = self._hops[-1]
        if self.failed or (self.answered and hop.state is not HopState.ANSWERED):
            return math.inf
        return hop.next_deadline()

    def _go_on(self, copies: list[Copy], now: float) -> list[Copy]:
        if self.answered:
            return copies
        state = self._hops[-1].state
        self.late = self.late or state in _SILENT
        if state is HopState.UNANSWERED and self._rounds < self._config.hosts.fails_max and self.node.usable:
            return self._next_round(now)
        if state in _SILENT and self._pulls < self._config.pulls_max:
            self._pulls += 1
            self.needs_pull = True
        elif state in _SILENT:
            self.failed = True
        return copies

    def _next_round(self, now: float) -> list[Copy]:
        """All hosts that are left, once."""
        self._rounds += 1
        way = Parallel(len(self.node.usable))
        hop = Hop(self.node, way, self._rtt, msgspec.structs.replace(self._config.hosts, tries_max=1), self._rng)
        self._hops.append(hop)
        copies = hop.start(now)
        self.alternates += len(copies)
        return copies
