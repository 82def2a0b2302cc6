"""A link in virtual time whose hosts come to their subnet by themselves, and look for an overlay that may be away."""

import math
from collections.abc import Callable, Sequence
from random import Random

from mdht.subnet.effects import Merged
from mdht.subnet.founding import COLD, Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.founding_effects import (
    Adopt,
    BeRing,
    Found,
    FoundingEffect,
    JoinRing,
    LookForOverlay,
    SayHello,
    Withdraw,
)
from mdht.subnet.identity import Subnet, derive
from mdht.subnet.kept import Kept
from mdht.subnet.membership import Membership
from mdht.subnet.merging import Merging
from mdht.subnet.merging_config import MergingConfig
from mdht.subnet.messages import Message, State
from mdht.subnet.wire import Header
from tests.mdht.subnet.link_network import Host, LinkOf

SERVER_S = 0.3
"Until the bootstrap server has answered, or a join is done."


class FoundingHost(Host):
    """Does what the founding wants, as the driver of a real host would."""

    def __init__(
        self, number: int, membership: Membership, seed: int, kept: Kept | None = None, *, merges: bool = True
    ) -> None:
        super().__init__(number, membership)
        rng = Random(f"{seed} founding {number} {membership.incarnation}")
        merging = Merging(membership, "test", MergingConfig(), rng) if merges else None
        self.founding = Founding(membership.hid, lambda: derive([], rng), kept, FoundingConfig(), rng, merging)
        self.later: list[tuple[float, Callable[[float], Sequence[object]]]] = []
        self.founded: list[float] = []
        self.effects: list[tuple[float, FoundingEffect]] = []
        self.merged: list[Merged] = []
        self.tag = self.founding.tag

    @property
    def subnet(self) -> Subnet | None:
        return self.founding.subnet

    def start(self, now: float) -> Sequence[object]:
        return [*self.founding.start(now), *self.membership.start(now)]

    def receive(
        self, header: Header, message: Message, source: tuple[str, int], now: float, *, multicast: bool
    ) -> Sequence[object]:
        effects = self.founding.receive(header, message, now, multicast=multicast)
        return [*effects, *self.membership.receive(header, message, source, now, multicast=multicast)]

    def tick(self, now: float) -> Sequence[object]:
        effects: list[object] = []
        for at, action in [one for one in self.later if one[0] <= now]:
            self.later.remove((at, action))
            effects += action(now)
        return [*effects, *self.founding.tick(now), *self.membership.tick(now)]

    def next_deadline(self) -> float:
        later = min([at for at, _ in self.later], default=math.inf)
        return min(later, self.founding.next_deadline(), self.membership.next_deadline())

    def be_ready(self, now: float) -> Sequence[object]:
        return [] if self.founding.stage in COLD else self.membership.become(State.READY, now)


class FoundingNetwork(LinkOf[FoundingHost]):
    """The link."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.ring: bytes | None = None
        "Of the overlay that the bootstrap server knows."
        self.server_s = SERVER_S
        self.asked_server = 0
        self.kept: dict[int, Kept] = {}
        self.merges = True

    def make(self, number: int, membership: Membership) -> FoundingHost:
        return FoundingHost(number, membership, self.seed, self.kept.get(number), merges=self.merges)

    def special(self, host: FoundingHost, effect: object) -> None:
        founding, membership, now = host.founding, host.membership, self.now
        host.tag = founding.tag
        match effect:
            case Found(subnet=subnet, founded_at=at):
                host.founded.append(now)
                membership.settle(subnet, at)
            case Adopt(subnet=subnet, founded_at=at):
                host.later.clear()
                membership.settle(subnet, at)
                self.perform(host, membership.become(State.JOINING, now))
                host.later.append((now + 0.01, host.be_ready))
            case Withdraw():
                host.later.clear()
                membership.settle(None, now)
                self.perform(host, membership.become(State.JOINING, now))
            case LookForOverlay():
                self.asked_server += 1
                host.later.append((now + self.server_s, lambda at: self._answer(host, at)))
            case JoinRing() | BeRing():
                host.later.append((now + SERVER_S, host.be_ready))
            case SayHello():
                self.perform(host, membership.hello(now))
            case Merged():
                host.merged.append(effect)
            case _:
                raise AssertionError(effect)
        assert isinstance(effect, FoundingEffect)
        host.effects.append((now, effect))

    def _answer(self, host: FoundingHost, now: float) -> Sequence[object]:
        return host.founding.unreached(now) if self.ring is None else host.founding.reached(self.ring, now)

    # ---- what tests ask ------------------------------------------------------------------------------------------

    @property
    def founders(self) -> list[FoundingHost]:
        return [host for host in self.hosts if host.founded]

    @property
    def agreed(self) -> bool:
        """Whether all are ready, and in one subnet."""
        ready = all(host.membership.state is State.READY for host in self.living)
        return ready and len({host.subnet for host in self.living}) == 1 and self.living[0].subnet is not None

    def start_all(self, count: int, within_s: float) -> None:
        """Start hosts in any order of their names, each at some time."""
        rng = Random(f"{self.seed} start")
        begin = self.now
        numbers = rng.sample(range(200), count)
        for number, at in zip(numbers, sorted(rng.random() * within_s for _ in numbers), strict=True):
            self.run(begin + at - self.now)
            self.add(number=number)

    def run_until_agreed(self, most_s: float) -> float:
        """How long that took."""
        begin = self.now
        while not self.agreed and self.now - begin < most_s:
            self.run(0.1)
        return self.now - begin
