"""One host of a subnet as one core: who is there, and which subnet it is (mDHT design, sections 1, 3 and 6).

Composes `Membership` and `Founding`. It knows no overlay yet: a founder's search for one ends at once, so that its node
is a ring of its own, and there is neither state nor are there records to take over before a host is ready.
"""

from collections import Counter
from collections.abc import Iterable

from dhtboot.ids import Address
from mdht.subnet.effects import Effect, Settled
from mdht.subnet.founding import (
    Adopt,
    BeRing,
    Found,
    Founding,
    FoundingEffect,
    JoinRing,
    LookForOverlay,
    SayHello,
    Withdraw,
)
from mdht.subnet.identity import Subnet
from mdht.subnet.membership import Membership
from mdht.subnet.messages import Message, State
from mdht.subnet.wire import Header


class SubnetHost:
    """One host.

    Args:
        membership: who is there.
        founding: which subnet it is.
    """

    def __init__(self, membership: Membership, founding: Founding) -> None:
        self.membership = membership
        self._founding = founding

    @property
    def hid(self) -> bytes:
        """Own name."""
        return self.membership.hid

    @property
    def incarnation(self) -> int:
        """Number of this start, larger than any before."""
        return self.membership.incarnation

    @incarnation.setter
    def incarnation(self, incarnation: int) -> None:
        self.membership.incarnation = incarnation

    @property
    def tag(self) -> bytes:
        """Which subnet this host is in, as every datagram says."""
        return self._founding.tag

    @property
    def subnet(self) -> Subnet | None:
        """The same in full, None as long as it is in none."""
        return self._founding.subnet

    @property
    def counters(self) -> Counter[str]:
        """Of what was refused."""
        return self.membership.counters

    def start(self, now: float) -> list[Effect]:
        """Say hello, and see who is there."""
        return self._carry_out(self._founding.start(now), now) + self.membership.start(now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        """Act on one message of the link."""
        wanted = self._founding.receive(header, message, now, multicast=multicast)
        effects = self._carry_out(wanted, now)
        return effects + self.membership.receive(header, message, source, now, multicast=multicast)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        effects = [] if self.membership.state is State.LEFT else self._carry_out(self._founding.tick(now), now)
        return effects + self.membership.tick(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        due_at = self.membership.next_deadline()
        return due_at if self.membership.state is State.LEFT else min(due_at, self._founding.next_deadline())

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye, twice; drive it on until `next_deadline` is never."""
        return self.membership.leave(now, handed_over=True)

    def _carry_out(self, wanted: Iterable[FoundingEffect], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for one in wanted:
            match one:
                case Found(subnet=subnet, founded_at=founded_at):
                    self.membership.settle(subnet, founded_at)
                    effects.append(Settled(subnet))
                case Adopt(subnet=subnet, founded_at=founded_at):
                    self.membership.settle(subnet, founded_at)
                    effects += [Settled(subnet), *self.membership.become(State.READY, now)]
                case Withdraw():
                    self.membership.settle(None, now)
                    effects += [Settled(None), *self.membership.become(State.JOINING, now)]
                case LookForOverlay():
                    effects += self._carry_out(self._founding.unreached(now), now)
                case BeRing() | JoinRing():
                    effects += self.membership.become(State.READY, now)
                case SayHello():
                    effects += self.membership.hello()
        return effects
