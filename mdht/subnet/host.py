"""One host of a subnet as one core: who is there, which subnet it is, and its part of the node that the subnet is.

Composes `Membership`, `Founding` and, in a subnet, a `NodePart` (mDHT design, sections 1 and 3 to 6).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable

from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.ids import Address
from mdht.subnet.effects import Effect, MemberChanged, Settled
from mdht.subnet.face_messages import OverlayDatagram
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
from mdht.subnet.node_part import Entered, Inherits, NodePart, PartEffect, Reached, Unreached
from mdht.subnet.wire import Header

MakePart = Callable[[Subnet, float], NodePart]
"Makes a host's part of a subnet's node, at a time."


class SubnetHost:
    """One host.

    Args:
        membership: who is there.
        founding: which subnet it is.
        make_part: makes its part of the node, for each subnet that it comes to be in.

    Attributes:
        part: of the node, None as long as it is in no subnet.
    """

    def __init__(self, membership: Membership, founding: Founding, make_part: MakePart) -> None:
        self.membership = membership
        self.part: NodePart | None = None
        self._founding = founding
        self._make_part = make_part

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

    # ---- driver's side -------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Say hello, and see who is there."""
        return self._carry_out(self._founding.start(now), now) + self._noted(self.membership.start(now), now)

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> list[Effect]:
        """Act on one message of the link."""
        wanted = self._founding.receive(header, message, now, multicast=multicast)
        effects = self._carry_out(wanted, now)
        effects += self._noted(self.membership.receive(header, message, source, now, multicast=multicast), now)
        if self.part is not None:
            effects += self._sorted(self.part.receive(header, message, now, multicast=multicast), now)
        return effects

    def receive_overlay(self, packet: OverlayDatagram | BootstrapPacket, source: Address, now: float) -> list[Effect]:
        """Act on one datagram of a host of another subnet, or of the bootstrap server."""
        if self.part is None or self.membership.state is State.LEFT:
            return []
        return self._sorted(self.part.receive_overlay(packet, source, now), now)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if self.membership.state is State.LEFT:
            return self.membership.tick(now)
        effects = self._carry_out(self._founding.tick(now), now) + self._noted(self.membership.tick(now), now)
        if self.part is not None and now >= self.part.next_deadline():
            effects += self._sorted(self.part.tick(now), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        due_at = self.membership.next_deadline()
        if self.membership.state is State.LEFT:
            return due_at
        part_at = math.inf if self.part is None else self.part.next_deadline()
        return min(due_at, self._founding.next_deadline(), part_at)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye, twice, and to the overlay too if nobody stays; drive it on until `next_deadline` is never."""
        farewell = [] if self.part is None else self._sorted(self.part.leave(now), now)
        return farewell + self.membership.leave(now, handed_over=True)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _noted(self, effects: Iterable[Effect], now: float) -> list[Effect]:
        """What the membership wants; its news is the node's too."""
        done: list[Effect] = []
        for effect in effects:
            done.append(effect)
            if isinstance(effect, MemberChanged) and self.part is not None:
                done += self._sorted(self.part.on_member(effect.state, now), now)
        return done

    def _sorted(self, effects: Iterable[PartEffect], now: float) -> list[Effect]:
        """What the node's part wants; what has come of its work the founding must know."""
        done: list[Effect] = []
        for effect in effects:
            match effect:
                case Reached(ring_id=ring_id, alone=alone):
                    done += self._carry_out(self._founding.reached(ring_id, now, alone=alone), now)
                case Unreached():
                    done += self._carry_out(self._founding.unreached(now), now)
                case Inherits(ring_id=ring_id):
                    done += self._carry_out(self._founding.inherit(ring_id, now), now)
                case Entered():
                    done += self._become(State.READY, now)
                case _:
                    done.append(effect)
        return done

    def _become(self, state: State, now: float) -> list[Effect]:
        if self.membership.state is state:
            return []
        effects = self.membership.become(state, now)
        if self.part is not None:
            effects += self._sorted(self.part.on_member(state, now), now)
        return effects

    def _carry_out(self, wanted: Iterable[FoundingEffect], now: float) -> list[Effect]:
        effects: list[Effect] = []
        for one in wanted:
            match one:
                case Found(subnet=subnet, founded_at=founded_at):
                    effects += self._settle(subnet, founded_at, now)
                case Adopt(subnet=subnet, founded_at=founded_at):
                    effects += self._settle(subnet, founded_at, now)
                    effects += [] if self.part is None else self._sorted(self.part.take_over(now), now)
                case Withdraw():
                    effects += self._settle(None, now, now)
                case LookForOverlay() if self.part is not None:
                    effects += self._sorted(self.part.look(now), now)
                case BeRing(ring_id=ring_id) if self.part is not None:
                    effects += self._sorted(self.part.begin(ring_id, now), now)
                case JoinRing() if self.part is not None:
                    effects += self._sorted(self.part.join(now), now)
                case SayHello():
                    effects += self.membership.hello()
        return effects

    def _settle(self, subnet: Subnet | None, founded_at: float, now: float) -> list[Effect]:
        """Be in a subnet from now on, or in none; of another one that this host was in it takes its leave."""
        effects: list[Effect] = []
        if self.part is not None:
            effects += self._sorted([*self.part.stop(now), *self.part.leave(now)], now)
        self.membership.settle(subnet, founded_at)
        self.part = None if subnet is None else self._make_part(subnet, now)
        return [*effects, Settled(subnet), *self._become(State.JOINING, now)]
