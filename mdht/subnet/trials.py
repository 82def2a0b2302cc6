"""What a host does for others that want to know whether they are reached (`reachability`; mDHT design, section 13).

It has a host of a third node send a probe, or sends it itself from another port where it knows nobody else. Nobody can
use that against others: a probe goes only to the IP address at which the asker has shown that it receives, it is one
datagram, no larger than the question, and all of it is limited, per asker and per target.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from dhtboot.effects import Send
from dhtboot.ids import Address
from dhtboot.limits import TokenBuckets
from mdht.subnet.face_messages import OverlayDatagram, Probe, Trying, TryMe, TryThem
from mdht.subnet.hostset import in_private, reaches, same_family
from mdht.subnet.hostset_handout import Own
from mdht.subnet.push import Peer
from mdht.subnet.reachability import Reachability

ASKS_PER_S: Final = 1.0
ASKS_BURST: Final = 16.0
"Of one IP address, behind which there may be many hosts; each asks three times when it starts, and then rarely."
PASSED_PER_S: Final = 5.0
PASSED_BURST: Final = 50.0
"Of one host that passes them on."


class Trials:
    """One host's part.

    Args:
        reach: of this host, which gets what others answer to it.
        own: what it tells of itself, now.
        helpers: hosts of other nodes, each with its node's pseudo-address.
        say: says something to one of them, or answers.
        counters: of what was sent and refused.
        rng: chooses whom to ask.
    """

    def __init__(
        self,
        reach: Reachability,
        own: Callable[[], Own],
        helpers: Callable[[], Sequence[tuple[Address, Peer]]],
        say: Callable[[Address, Peer, Trying | TryThem, float], Send],
        counters: Counter[str],
        rng: Random,
    ) -> None:
        self._reach = reach
        self._own = own
        self._helpers = helpers
        self._say = say
        self._counters = counters
        self._rng = rng
        self._askers = TokenBuckets(rate_per_s=ASKS_PER_S, burst=ASKS_BURST)
        self._passing = TokenBuckets(rate_per_s=PASSED_PER_S, burst=PASSED_BURST)
        self._targets = TokenBuckets(rate_per_s=ASKS_PER_S, burst=ASKS_BURST)

    def hear(
        self, message: TryMe | TryThem | Trying, node: Address, sender: Peer, now: float, *, client: bool
    ) -> list[Send]:
        """Act on what a host says that has shown that it receives at its address.

        Args:
            message: what it says.
            node: pseudo-address of its node.
            sender: the host.
            now: the time.
            client: whether its node has no place in the overlay.
        """
        match message:
            case TryMe():
                return self._on_try_me(message, node, sender, now)
            case TryThem() if not client:
                return self._on_try_them(message, sender, now)
            case Trying():
                self._reach.on_trying(message)
            case _:
                self._counters["tries_refused"] += 1
        return []

    def _on_try_me(self, wanted: TryMe, node: Address, asker: Peer, now: float) -> list[Send]:
        if self._askers.take(asker.address[0], now):
            self._counters["tries_refused"] += 1
            return []
        answer = self._say(node, asker, Trying(number=wanted.number, seen=asker.address), now)
        to = wanted.address or asker.address
        if to[0] != asker.address[0]:
            self._counters["tries_refused"] += 1
            return [answer]
        private = in_private(asker.address)
        others = [
            (at, peer)
            for at, peer in self._helpers()
            if peer.node_id != asker.node_id
            and peer.address[0] != asker.address[0]
            and in_private(peer.address) == private
            and same_family(peer.address, to)  # it need not have the other one
        ]
        if not others:
            return [answer, self._probe(wanted.number, to)]
        at, peer = self._rng.choice(others)
        return [answer, self._say(at, peer, TryThem(number=wanted.number, address=to), now)]

    def _on_try_them(self, wanted: TryThem, asker: Peer, now: float) -> list[Send]:
        allowed = reaches(wanted.address, allow_private=in_private(asker.address))
        over_rate = self._passing.take(asker.address[0], now) or self._targets.take(wanted.address[0], now)
        if not allowed or over_rate:
            self._counters["tries_refused"] += 1
            return []
        return [self._probe(wanted.number, wanted.address)]

    def _probe(self, number: int, to: Address) -> Send:
        self._counters["probes_sent"] += 1
        own = self._own()
        body = Probe(number=number, address=to)
        probe = OverlayDatagram(identity=own.identity, tag=own.tag, hid=own.hid, view_epoch=0, held=None, body=body)
        return Send(to, probe)
