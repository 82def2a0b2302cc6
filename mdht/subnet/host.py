"""One host of a subnet as one core: who is there, which subnet it is, and its part of the node that the subnet is.

Composes `Membership`, `Founding` and, in a subnet, a `NodePart` (mDHT design, sections 1 and 3 to 6), and what keeps
the node's records, if there is to be something that does.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.ids import Address
from mdht.records import Copy
from mdht.subnet.effects import Effect, MemberChanged, Merged, Settled
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.founding import Founding
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
from mdht.subnet.identity import Subnet
from mdht.subnet.membership import Membership
from mdht.subnet.messages import AckStatus, Message, State
from mdht.subnet.node_part import NodePart
from mdht.subnet.part_outcome import Entered, Inherits, PartEffect, Reached, Unreached
from mdht.subnet.record_part import Records
from mdht.subnet.store_effects import HandedOver, KeyLost, Synced
from mdht.subnet.wire import Header

MakePart = Callable[[Subnet, float], NodePart]
"Makes a host's part of a subnet's node, at a time."


LEAD_S: Final = 5.0
"A host that takes another identifier for its subnet is ready under it by then, and its siblings come after it."
GOING: Final = frozenset({State.LEAVING, State.LEFT})

MakeRecords = Callable[[Subnet, NodePart, list[Copy], float], Records]
"Makes what keeps the records of a subnet's node, for a host that has held these copies in another one, at a time."


class SubnetHost:
    """One host.

    Args:
        membership: who is there.
        founding: which subnet it is.
        make_part: makes its part of the node, for each subnet that it comes to be in.
        make_records: makes what keeps the node's records; None where nobody wants any.
        former: what this host has held before it was started.
        now: the time, for what is left of their life.
        named: where hosts of other subnets reach it, by the word of its user.

    Attributes:
        part: of the node, None as long as it is in no subnet.
        keeper: of the node's records; None likewise.
    """

    def __init__(
        self,
        membership: Membership,
        founding: Founding,
        make_part: MakePart,
        make_records: MakeRecords | None = None,
        former: Iterable[Copy] = (),
        now: float = 0.0,
        named: Address | None = None,
    ) -> None:
        self.membership = membership
        self.part: NodePart | None = None
        self.keeper: Records | None = None
        self._make_records = make_records
        self._former, self._former_at = list(former), now
        self._syncing = False
        self._named = named
        self._part_of: Subnet | None = None
        self._give_way_at = math.inf
        self._founding = founding
        self._make_part = make_part
        self._link_at: float | None = None
        "When the link's parts are due; None where they must be asked. What other subnets say seldom changes it."

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
    def founded_at(self) -> float:
        """When that was founded."""
        return self._founding.founded_at

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
        """Act on one message of the link.

        Args:
            header: says who has sent it.
            message: what he says.
            source: where he is.
            now: the time.
            multicast: whether it is meant for all, though it may have come as a copy by unicast.
        """
        wanted = self._founding.receive(header, message, now, multicast=multicast)
        effects = self._carry_out(wanted, now)
        effects += self._noted(self.membership.receive(header, message, source, now, multicast=multicast), now)
        if self.part is not None:
            effects += self._sorted(self.part.receive(header, message, now, multicast=multicast), now)
        if self.keeper is not None and self.membership.state is not State.LEFT:
            effects += self._sorted(self.keeper.receive(header, message, source, now, multicast=multicast), now)
        return effects

    def heard_by_group(self, hid: bytes, now: float) -> None:
        """A datagram of another host has come by multicast, though perhaps not for the first time."""
        self.membership.reach.heard_by_group(hid, now)

    def copies(self, now: float) -> list[Address]:
        """Where copies of what is told to all go by unicast."""
        return self.membership.reach.copies(now)

    def receive_overlay(self, packet: OverlayDatagram | BootstrapPacket, source: Address, now: float) -> list[Effect]:
        """Act on one datagram of a host of another subnet, or of the bootstrap server."""
        if self.part is None or self.membership.state is State.LEFT:
            return []
        if isinstance(packet, OverlayDatagram) and packet.tag == self.tag and packet.hid != self.hid:
            self.membership.peers.add(source, now)  # a sibling, which may not be known as such
            self._link_at = None
        effects = self._sorted(self.part.receive_overlay(packet, source, now), now) + self.collect(now)
        return effects + self._give_way(now)

    def collect(self, now: float) -> list[Effect]:
        """What is to be done after an operation on records was started."""
        return [] if self.keeper is None else self._sorted(self.keeper.collect(now), now)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        self._link_at = None
        if self.membership.state is State.LEFT:
            return self.membership.tick(now)
        effects = self._carry_out(self._founding.tick(now), now) + self._noted(self.membership.tick(now), now)
        if self.part is not None and now >= self.part.next_deadline():
            effects += self._sorted(self.part.tick(now), now)
        effects += self._give_way(now)
        if self.keeper is not None and now >= self.keeper.next_deadline():
            effects += self._sorted(self.keeper.tick(now), now)
        return effects + self.collect(now)

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        if self.membership.state is State.LEFT:
            return self.membership.next_deadline()
        if self._link_at is None:
            self._link_at = min(self.membership.next_deadline(), self._founding.next_deadline())
        part_at = math.inf if self.part is None else self.part.next_deadline()
        records_at = math.inf if self.keeper is None else self.keeper.next_deadline()
        return min(self._link_at, part_at, records_at, self._give_way_at)

    def leave(self, now: float) -> list[Effect]:
        """Hand records over, then say goodbye, twice, and to the overlay too if nobody stays.

        Drive it on until `next_deadline` is never.
        """
        if self.keeper is None or self.membership.state is not State.READY:
            return self._goodbye(now, handed_over=True)
        return self._become(State.LEAVING, now) + self._sorted(self.keeper.hand_over(now), now)

    def leave_now(self, now: float) -> list[Effect]:
        """Say goodbye at once, though not everything is handed over."""
        return self._goodbye(now, handed_over=False) if self.membership.state is State.LEAVING else []

    def look_soon(self, now: float) -> None:
        """There is a new entry point to the overlay."""
        self._link_at = None
        self._founding.look_soon(now)
        if self.part is not None:
            self.part.meet_soon(now)

    def name(self, address: Address | None, now: float) -> list[Effect]:
        """Hosts of other subnets are to reach this one there from now on, if they get through; None for nowhere."""
        self._named = address
        if self.part is None or self.membership.state in GOING:
            return []
        return self._sorted(self.part.face.reach.name(address, now), now)

    # ---- the bulk channel ----------------------------------------------------------------------------------------

    def records(self, key: bytes, now: float, *, cached: bool) -> tuple[bytes, ...]:
        """What a sibling gets that asks over the bulk channel, for what is held or for what is cached."""
        return () if self.keeper is None else self.keeper.records(key, now, cached=cached)

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[Effect]:
        """What came of a `FetchBulk`; nothing when the transfer has failed."""
        return [] if self.keeper is None else self._sorted(self.keeper.on_bulk(qid, hid, records, now), now)

    def take_bulk(self, hid: bytes, records: Sequence[bytes], now: float) -> tuple[tuple[AckStatus, ...], list[Effect]]:
        """Store what a sibling sends over it; the answer is a status for each record."""
        if self.keeper is None:
            return (), []
        statuses, effects = self.keeper.take_bulk(hid, records, now)
        return statuses, self._sorted(effects, now)

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], now: float) -> list[Effect]:
        """What came of a `BulkTo`; nothing when the transfer has failed."""
        return [] if self.keeper is None else self._sorted(self.keeper.on_bulk_sent(qid, statuses, now), now)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _noted(self, effects: Iterable[Effect], now: float) -> list[Effect]:
        """What the membership wants; its news is the node's too."""
        done: list[Effect] = []
        for effect in effects:
            done.append(effect)
            if isinstance(effect, MemberChanged):
                done += self._told(effect.hid, effect.state, now)
        return done

    def _told(self, hid: bytes, state: State, now: float) -> list[Effect]:
        """A member has become something else: what node and records want because of it."""
        effects = [] if self.part is None else self._sorted(self.part.on_member(state, now), now)
        if self.keeper is not None:
            effects += self._sorted(self.keeper.on_member(hid, state, now), now)
        return effects

    def _sorted(self, effects: Iterable[PartEffect | Synced | HandedOver | KeyLost], now: float) -> list[Effect]:
        """What the node's part and its records want; what has come of their work others here must know."""
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
                    done += self._enter(now)
                case Synced():
                    done += self._become(State.READY, now)
                case HandedOver(complete=complete):
                    done += self._goodbye(now, handed_over=complete)
                case KeyLost():
                    pass  # nodes nearest to it hold it too, and offer it when they publish it again
                case _:
                    done.append(effect)
        return done

    def _become(self, state: State, now: float) -> list[Effect]:
        if self.membership.state is state:
            return []
        self._link_at = None
        return self.membership.become(state, now) + self._told(self.hid, state, now)

    def _enter(self, now: float) -> list[Effect]:
        """This host can answer for the node; it is READY when it has the records too that belong to it."""
        if self.part is not None:
            self.part.meet_soon(now)
        if self.keeper is None:
            return self._become(State.READY, now)
        if self._syncing:
            return []
        self._syncing = True
        return self._sorted(self.keeper.sync(now), now)

    def _goodbye(self, now: float, *, handed_over: bool) -> list[Effect]:
        self._link_at = None
        farewell = [] if self.part is None else self._sorted(self.part.leave(now), now)
        return farewell + self.membership.leave(now, handed_over=handed_over)

    def _carry_out(self, wanted: Iterable[FoundingEffect], now: float) -> list[Effect]:
        self._link_at = None
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
                    effects += self.membership.hello(now)
                case Merged():
                    self.counters["merges"] += 1
                    effects.append(one)
        return effects

    def _give_way(self, now: float) -> list[Effect]:
        """Another subnet has the identifier of this one, and keeps it: one host leads, the others follow it.

        Several may have been told; each waits until those before it have had their time.
        """
        if self.part is None or not self.part.face.rivals.gives_way or self.membership.state in GOING:
            return []
        if self._give_way_at == math.inf:
            ready = self.membership.ready_hids()
            self._give_way_at = now + LEAD_S * (ready.index(self.hid) if self.hid in ready else 0)
        if now < self._give_way_at:
            return []
        self.counters["conflicts_lost"] += 1
        return self._carry_out(self._founding.salt(now), now)

    def _stays_the_node(self, subnet: Subnet | None) -> bool:
        """Whether another founding has the identifier of the one that is left, which then stays in the overlay."""
        former = self._part_of
        return subnet is not None and former is not None and subnet.identity in {former.identity, former.salted}

    def _settle(self, subnet: Subnet | None, founded_at: float, now: float) -> list[Effect]:
        """Be in a subnet from now on, or in none; of another one that this host was in it takes its leave."""
        effects: list[Effect] = []
        if self.part is not None:
            farewell = [] if self._stays_the_node(subnet) else self.part.leave(now)
            effects += self._sorted([*self.part.stop(now), *farewell], now)
        self._give_way_at = math.inf
        self.membership.settle(subnet, founded_at)
        self.part, self._part_of = None if subnet is None else self._make_part(subnet, now), subnet
        if self.part is not None:
            self.part.face.rivals.founded_at = founded_at
            self.part.face.reach.named = self._named
        if self.keeper is not None:
            self._former, self._former_at = self.keeper.copies(now), now
        self.keeper, self._syncing = None, False
        if subnet is not None and self.part is not None and self._make_records is not None:
            former = [copy.aged(now - self._former_at) for copy in self._former]
            self.keeper = self._make_records(subnet, self.part, former, now)
            self._former = []
        return [*effects, Settled(subnet), *self._become(State.JOINING, now)]
