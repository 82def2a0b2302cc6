"""One subnet on virtual time: its hosts crash and leave, and the shipped policies say what is copied where.

What a policy asks for takes `transfer_s`. A crash is told to all others `detection_s` after it; who leaves hands over
first, and refuses what others send it meanwhile. What the policies do not bring back stays away: digests are not
compared here, and neighbours in the overlay hold no copies.
"""

import heapq
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

import msgspec

from mdht.subnet.messages import State
from mdht.subnet.policies import (
    Action,
    Announce,
    CopyTo,
    DropAfterAck,
    Fixed,
    Lost,
    Policy,
    PullFrom,
    Scene,
    policy_from,
)
from mdht.subnet.view import rank

SETTLE_S: Final = 2.0
"Between the puts and the first life that counts: all copies are there by then."
HANDOVER_MAX_S: Final = 10.0
"A leaver waits no longer for its acknowledgements (mDHT design, section 6)."


class Churn(msgspec.Struct, frozen=True, kw_only=True):
    """How hosts come and go."""

    hosts: int = 10
    median_s: float
    "Of lifetimes, which are exponential."
    crash_share: float
    "Of all lives: the others end with a leave."
    duration_s: float = 4 * 3600.0
    detection_s: float = 4.5
    "From a crash until the others know of it."
    transfer_s: float = 0.5
    "For all that one host copies because of one event."


class Life(msgspec.Struct, frozen=True):
    """One host."""

    hid: bytes
    lasts_s: float
    crashes: bool


class Outcome(msgspec.Struct, frozen=True):
    """What has become of the records."""

    records: int
    lost: int
    copied: int
    "Records sent to a host that had none, those of the puts left out."
    lives: int
    "Hosts that have come to an end."


def lives(churn: Churn, rng: Random) -> list[list[Life]]:
    """The hosts of each place in the subnet, one after the other: enough for the duration.

    They do not depend on the policy, so that all policies are compared with the same churn.
    """
    found: list[list[Life]] = []
    for _ in range(churn.hosts):
        place: list[Life] = []
        total_s = 0.0
        while total_s <= churn.duration_s:
            lasts_s = rng.expovariate(math.log(2.0) / churn.median_s)
            place.append(Life(rng.randbytes(8), lasts_s, rng.random() < churn.crash_share))
            total_s += lasts_s
        found.append(place)
    return found


class Orders:
    """Who ranks where for each key, worked out once for all hosts of a run: hashing them anew is most of the time.

    Attributes:
        event: who comes or goes, and the READY members by then.
        answers: what hosts have worked out while they hear of that, and share.
    """

    def __init__(self, keys: Sequence[bytes], hids: Sequence[bytes]) -> None:
        self._places = {key: {hid: at for at, hid in enumerate(rank(key, list(hids)))} for key in keys}
        self.event: tuple[bytes, Sequence[bytes]] = (b"", ())
        self.answers: dict[bytes, tuple[list[bytes], list[bytes]]] = {}

    def begin(self, hid: bytes, ready: Sequence[bytes]) -> None:
        """Hosts hear of another event."""
        self.event = (hid, ready)
        self.answers = {}

    def order(self, key: bytes, hids: Collection[bytes]) -> list[bytes]:
        """What `rank` says."""
        return sorted(hids, key=self._places[key].__getitem__)


class KnownOrder(Fixed):
    """`Fixed` that looks the order of hosts up; all else, and so each decision, is inherited. A test compares both."""

    def __init__(self, replicas: int, orders: Orders) -> None:
        super().__init__(replicas)
        self._orders = orders

    def _around(self, key: bytes, hid: bytes, ready: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        orders = self._orders
        if orders.event[1] is not ready or orders.event[0] != hid:
            orders.begin(hid, ready)
        found = orders.answers.get(key)
        if found is None:
            order = orders.order(key, {*ready, hid})
            rest = [other for other in order if other != hid]
            found = orders.answers[key] = self._pick(rest, None, None), self._pick(order, None, None)
        return found


class _Host:
    __slots__ = ("hid", "keys", "life", "place", "policy", "state", "tick_at")

    def __init__(self, life: Life, place: int, policy: Policy, state: State) -> None:
        self.hid = life.hid
        self.life = life
        self.place = place
        self.policy = policy
        self.state = state
        self.keys: dict[bytes, None] = {}  # in the order in which they came, as a set's is another one each time
        self.tick_at = math.inf


class SubnetRun:
    """One run.

    Args:
        policy: makes a host's part of the policy.
        churn: how hosts come and go.
        places: the hosts, from `lives`.
        keys: of the records, one of each key.
        rng: who receives which record.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        churn: Churn,
        places: Sequence[Sequence[Life]],
        keys: Sequence[bytes],
        rng: Random,
    ) -> None:
        self._policy = policy
        self._churn = churn
        self._places = [iter(place) for place in places]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._now = 0.0
        self._hosts: dict[bytes, _Host] = {}
        self._ready: tuple[bytes, ...] = ()
        self._copies = dict.fromkeys(keys, 0)
        self._copied = 0
        self._ended = 0
        first = [self._born(place, State.READY, SETTLE_S) for place in range(len(places))]
        self._ready = tuple(host.hid for host in first)
        for key in keys:
            receiver = rng.choice(first)
            self._hold(receiver, key)
            self._do(receiver, receiver.policy.on_store(key, self._scene(receiver, receiver.keys)))

    def run(self) -> Outcome:
        """Run to the end."""
        end = SETTLE_S + self._churn.duration_s
        while self._events and self._events[0][0] <= end:
            self._now, _, event = heapq.heappop(self._events)
            event()
        lost = sum(count == 0 for count in self._copies.values())
        return Outcome(len(self._copies), lost, self._copied, self._ended)

    # ---- hosts come and go -------------------------------------------------------------------------------------------

    def _born(self, place: int, state: State, delay_s: float = 0.0) -> _Host:
        life = next(self._places[place])  # there is one: those of a place last longer than the run
        host = _Host(life, place, self._policy(), state)
        self._hosts[host.hid] = host
        self._after(delay_s + life.lasts_s, partial(self._crash if life.crashes else self._leave, host))
        return host

    def _join(self, place: int) -> None:
        host = self._born(place, State.JOINING)
        listed: dict[bytes, None] = {}
        for sibling in self._siblings(host):
            listed |= sibling.keys
            for key in sibling.keys:
                stats = sibling.policy.stats(key)
                if stats is not None:
                    host.policy.learn(key, stats, self._scene(host, listed))
        actions = host.policy.on_join(host.hid, self._scene(host, listed))
        self._after(self._churn.transfer_s if actions else 0.0, partial(self._pulled, host, actions))

    def _pulled(self, host: _Host, actions: Sequence[Action]) -> None:
        """The newcomer is READY when it has all that it wants and anybody has."""
        if host.state is not State.JOINING:
            return
        again = self._carry_out(host, actions)
        if again:
            self._after(self._churn.transfer_s, partial(self._pulled, host, again))
            return
        host.state = State.READY
        self._ready = (*self._ready, host.hid)
        for sibling in self._siblings(host):
            self._do(sibling, sibling.policy.on_join(host.hid, self._scene(sibling, sibling.keys)))

    def _crash(self, host: _Host) -> None:
        host.state = State.DEAD
        self._remove(host)
        self._after(self._churn.detection_s, partial(self._detected, host.hid))
        self._join(host.place)

    def _detected(self, hid: bytes) -> None:
        self._ready = tuple(other for other in self._ready if other != hid)
        for host in list(self._hosts.values()):
            self._do(host, host.policy.on_dead(hid, self._scene(host, host.keys)))

    def _leave(self, host: _Host) -> None:
        host.state = State.LEAVING
        self._ready = tuple(other for other in self._ready if other != host.hid)
        self._hand_over(host, list(host.keys), self._now + HANDOVER_MAX_S)

    def _hand_over(self, host: _Host, keys: Collection[bytes], until: float) -> None:
        actions = host.policy.on_leave(host.hid, self._scene(host, keys))
        self._after(self._churn.transfer_s if actions else 0.0, partial(self._handed_over, host, actions, until))

    def _handed_over(self, host: _Host, actions: Sequence[Action], until: float) -> None:
        """What nobody has acknowledged is offered again, as the policy says by then."""
        refused = {action.key: None for action in self._carry_out(host, actions)}
        if refused and self._now < until:
            self._hand_over(host, refused, until)
            return
        host.state = State.LEFT
        self._remove(host)
        for sibling in self._siblings(host):
            self._do(sibling, sibling.policy.on_leave(host.hid, self._scene(sibling, sibling.keys)))
        self._join(host.place)

    def _remove(self, host: _Host) -> None:
        del self._hosts[host.hid]
        self._ended += 1
        for key in host.keys:
            self._copies[key] -= 1

    # ---- what the policies ask for -----------------------------------------------------------------------------------

    def _do(self, host: _Host, actions: Sequence[Action]) -> None:
        """Start what a policy asks for, and wake it when it wants to be woken."""
        if actions:
            self._after(self._churn.transfer_s, partial(self._done, host, actions))
        wanted = host.policy.next_deadline()
        if wanted < host.tick_at:
            host.tick_at = wanted
            self._after(wanted - self._now, partial(self._tick, host))

    def _done(self, host: _Host, actions: Sequence[Action]) -> None:
        if host.hid in self._hosts:
            # A copy that was not acknowledged is the policy's to see to, when it hears why; a fetch goes on elsewhere.
            self._do(host, [action for action in self._carry_out(host, actions) if isinstance(action, PullFrom)])

    def _tick(self, host: _Host) -> None:
        if host.hid in self._hosts:
            host.tick_at = math.inf
            self._do(host, host.policy.tick(self._scene(host, host.keys)))

    def _carry_out(self, host: _Host, actions: Sequence[Action]) -> list[CopyTo | PullFrom | DropAfterAck]:
        """Finish what was started one transfer ago.

        Returns:
            What has failed; of fetches only those for which there is somebody else, to whom they go.
        """
        failed: list[CopyTo | PullFrom | DropAfterAck] = []
        for action in actions:
            match action:
                case CopyTo(key=key, hid=hid):
                    if key in host.keys and not self._give(host.hid, hid, key):
                        failed.append(action)
                case PullFrom(key=key, hid=hid):
                    if not self._give(hid, host.hid, key):
                        others = (other.hid for other in self._siblings(host) if key in other.keys)
                        failed += [PullFrom(key, other) for other in others][:1]
                case DropAfterAck(key=key, hid=hid):
                    if key in host.keys and self._give(host.hid, hid, key):
                        del host.keys[key]
                        self._copies[key] -= 1
                case Announce(key=key, stats=stats):
                    for other in self._siblings(host):
                        self._do(other, other.policy.on_note(key, stats, self._scene(other, other.keys)))
                case Lost():
                    pass
        return failed

    def _give(self, source: bytes, target: bytes, key: bytes) -> bool:
        """Whether the target has the key now; one that leaves takes nothing any more."""
        giver, taker = self._hosts.get(source), self._hosts.get(target)
        if giver is None or taker is None or taker.state is State.LEAVING or key not in giver.keys:
            return False
        if key not in taker.keys:
            self._hold(taker, key)
            self._copied += self._now > SETTLE_S
        return True

    def _hold(self, host: _Host, key: bytes) -> None:
        host.keys[key] = None
        self._copies[key] += 1

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def _siblings(self, host: _Host) -> list[_Host]:
        return [other for other in self._hosts.values() if other is not host]

    def _scene(self, host: _Host, keys: Mapping[bytes, None] | Collection[bytes]) -> Scene:
        return Scene(host.hid, self._ready, keys, self._now)

    def _after(self, delay_s: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self._now + delay_s, self._count, event))


def simulate(policy: str, churn: Churn, records: int, seed: int) -> Outcome:
    """Put records into a subnet, let its hosts come and go, count what is lost."""
    rng = Random(f"durability {seed} {churn.median_s} {churn.crash_share}")
    places = lives(churn, rng)
    keys = [rng.randbytes(20) for _ in range(records)]

    def shipped() -> Policy:
        return policy_from(policy)

    make: Callable[[], Policy] = shipped
    replicas = policy.removeprefix("fixed:")
    if policy.startswith("fixed:") and replicas.isdecimal():
        make = partial(KnownOrder, int(replicas), Orders(keys, [life.hid for place in places for life in place]))
    return SubnetRun(make, churn, places, keys, rng).run()
