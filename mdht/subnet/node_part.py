"""One host's part of the node that its subnet is: how it comes into the overlay, and what it does there.

The founder looks for the overlay and joins it, or begins a ring. Whoever comes later takes over what a sibling knows,
and asks nobody else. From then on each host answers for the node, in step with the others, and one at a time tells
other nodes that hosts have come or gone (mDHT design, sections 4 to 6).
"""

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from dhtboot import shared
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.effects import Effect as OverlayEffect
from dhtboot.effects import Joined, JoinFailed, Send
from dhtboot.ids import Address, NodeRef
from dhtboot.overlay import OnOwner, OverlayNode, find_owner, make_node
from mdht.subnet.effects import Effect
from mdht.subnet.face import Face
from mdht.subnet.face_config import face_config
from mdht.subnet.face_messages import HostsHeard, OverlayDatagram, Welcome
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.face_riding import Riding
from mdht.subnet.hostset_handout import Own, set_for
from mdht.subnet.identity import Subnet
from mdht.subnet.in_step import InStep
from mdht.subnet.meeting import Meeting
from mdht.subnet.membership import Membership
from mdht.subnet.messages import RING_BYTES, HostSet, Message, NodeEntry, Reason, State
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.node_part_stage import TRANSITIONS, Input, Stage
from mdht.subnet.outside import Outside
from mdht.subnet.part_outcome import Entered, Inherits, PartEffect, Reached, Unreached
from mdht.subnet.push import Peer, Push, PushSchedule
from mdht.subnet.pushing import Pushing
from mdht.subnet.reachability import Verdict
from mdht.subnet.rota import place_in_rota
from mdht.subnet.search import EntryPoints, MakeClient, Nobody, Search, Way
from mdht.subnet.wire import Header

_REASONS: Final = {State.READY: Reason.JOIN, State.LEFT: Reason.LEAVE, State.DEAD: Reason.DEATH}


class NodePart:
    """One host's part of one subnet; in another one it has another.

    Args:
        subnet: which.
        overlay: its name.
        membership: who is there; it must see each message of the link first.
        addresses: where hosts of other subnets reach this one, now.
        config: settings.
        make_client: makes the client of the bootstrap server; None where there is none.
        rng: all chance.
        now: the time.
        entry_points: gives addresses of hosts that may be in the overlay.

    Attributes:
        stage: where it stands with the overlay.
        face: towards other subnets.
        step: with the siblings.
        riding: answers questions that ride on the lookups of others.
        outside: whether others reach the node.
    """

    def __init__(
        self,
        subnet: Subnet,
        overlay: str,
        membership: Membership,
        addresses: Callable[[], tuple[Address, ...]],
        config: NodePartConfig,
        make_client: MakeClient | None,
        rng: Random,
        now: float,
        entry_points: EntryPoints = tuple,
    ) -> None:
        self.stage = Stage.OUT
        self._subnet = subnet
        self._membership = membership
        self._addresses = addresses
        self._config = config
        self._rng = rng
        self.riding = Riding()
        self._id = subnet.identity.node_id(overlay)
        self._push = PushSchedule(config.face.hosts, self._own_entry, self._neighbour_hosts)
        self.face = Face(
            self._core(now),
            overlay,
            self._own,
            membership.view,
            config.face,
            rng,
            asked=self._push.asked,
            ring_id=lambda: self.step.ring_id if self.stage is Stage.IN and not self.step.client else None,
            heard=self._on_heard,
            welcomed=self._on_welcomed,
        )
        self._pushing = Pushing(self.face, rng)
        self.step = InStep(self.face, self._core, subnet.tag, membership, config, rng)
        self.outside = Outside(self.face, self.step, membership)
        self._search = Search(make_client, entry_points, self.face.knock, config.search, rng)
        self._meeting = Meeting(entry_points, self.face.knock, self._known, rng)
        self._met: list[NodeRef] = []
        self._way: Way | None = None
        self._joins = 0
        self._waits = self._changes = False
        self._alone_at = math.inf

    def _core(self, now: float) -> OverlayNode:
        config = face_config(self._config.overlay, self._config.face)
        if self._config.rota:
            config = shared.without_rounds(config)
        return make_node(self._id, config, self._rng, now, self.riding)

    # ---- what the founding wants ---------------------------------------------------------------------------------

    def look(self, now: float) -> list[PartEffect]:
        """Look for the overlay; `Reached` or `Unreached` follows, perhaps at once."""
        return self._searched(self._search.begin(now), now)

    def join(self, now: float) -> list[PartEffect]:
        """Join the overlay by the contact that was found; `Entered` or `Unreached` follows."""
        if self._way is None or not self._step(Input.JOIN):
            return [Unreached()]
        self.step.start_over(now, client=self.outside.all_unlisted)
        self._joins, self._changes = 1, False
        return self._performed(self.face.join([self._way.contact], now), now)

    def begin(self, ring_id: bytes, now: float) -> list[PartEffect]:
        """The node is the first of a ring of its own."""
        if not self._step(Input.BEGIN):
            return []
        self.step.start_over(now, client=False)
        effects = self.face.sent(shared.follow(self.face.core, [], [], now), now)
        return [*effects, *self.step.enter(ring_id, now), *self._report(now), Entered()]

    def take_over(self, now: float) -> list[PartEffect]:
        """Have what siblings have; `Entered` follows."""
        if not self._step(Input.TAKE_OVER):
            return []
        self._alone_at = now + self._config.alone_s
        return self._stepped(self.step.take_over(now))

    def stop(self, now: float) -> list[PartEffect]:
        """Break off a search for the overlay: another host founds the subnet."""
        self._waits = False
        return [*_sent(self._search.break_off(now))]

    def leave(self, now: float) -> list[PartEffect]:
        """Say goodbye to the overlay, if nobody stays who answers for the node."""
        if self.stage is not Stage.IN or set(self.step.ready()) - {self._membership.hid}:
            return []
        return self._farewell(now)

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, header: Header, message: Message, now: float, *, multicast: bool) -> list[PartEffect]:
        """Act on one message of the link."""
        member = self._membership.view.get(header.hid)
        if member is None or not member.live or header.subnet_tag != self._subnet.tag:
            return []
        if isinstance(message, HostSet) and multicast:
            self._push.seen(message.entry.view_epoch, now)
        effects = self._stepped(self.step.receive(member, message, now, multicast=multicast))
        return effects + self._look_outside(now)

    def receive_overlay(
        self, packet: OverlayDatagram | BootstrapPacket, source: Address, now: float
    ) -> list[PartEffect]:
        """Act on one datagram of a host of another subnet, or of the bootstrap server."""
        if isinstance(packet, BootstrapPacket):
            return self._searched(self._search.receive(packet, source, now), now)
        effects: list[PartEffect] = self._performed(self.face.receive(packet, source, now), now)
        effects += self._meet(now) if self._met and self.stage is Stage.IN else []
        return [*effects, *self._searched((), now), *self._look_outside(now)]

    def meet_soon(self, now: float) -> None:
        """This host has come in, or there is a new entry point."""
        if self.stage is Stage.IN:
            self._meeting.begin(now)
            if self.face.reach.verdict is Verdict.UNKNOWN:
                self.face.reach.look_soon(now)

    def on_member(self, state: State, now: float) -> list[PartEffect]:
        """A member, this host perhaps, has become something else."""
        reason = _REASONS.get(state)
        if reason is None or self.stage is not Stage.IN:
            return []
        ready, me = self.step.ready(), self._membership.hid
        epoch = self._membership.view.epoch
        if not self.step.client:
            self._push.changed(reason, epoch, place_in_rota(me, ready, epoch), now)
        if reason is Reason.JOIN or ready[:1] != [me]:
            return []
        # Whoever was on the server's list for the node, or looked for the overlay, may be the one that is gone.
        alone = not self.step.state.state.neighbours
        return [*self._report(now), *([Inherits(self.step.ring_id)] if alone else []), *self._look_outside(now)]

    def tick(self, now: float) -> list[PartEffect]:
        """Act on the time."""
        effects = self._searched(self._search.tick(now), now)
        if now >= self.face.next_deadline():
            effects += self._performed(self.face.tick(now), now)
        if now >= self.step.next_deadline():
            effects += self._stepped(self.step.tick(now))
        if now >= self._alone_at:
            effects += self._wait_no_more(now)
        if now >= self._meeting.next_deadline():
            effects += _sent(self._meeting.tick(now))
        for effect in self._push.tick(now):
            effects += self._pushing.tell(effect, now) if isinstance(effect, Push) else [effect]
        return [*effects, *self._pushing.tick(now), *self.face.reach.tick(now), *self._look_outside(now)]

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        return min(
            self._search.next_deadline(),
            self.face.next_deadline(),
            self.step.next_deadline(),
            self._alone_at,
            self._meeting.next_deadline(),
            self._push.next_deadline(),
            self._pushing.next_deadline(),
            self.face.reach.next_deadline(),
        )

    # ---- the layer above -----------------------------------------------------------------------------------------

    def find_owner(self, key: int, now: float, on_owner: OnOwner) -> list[PartEffect]:
        """Look for the node responsible for a key; see `dhtboot.overlay.find_owner`."""
        find_owner(self.face.core, key, now, on_owner)
        return self.collect(now)

    def collect(self, now: float) -> list[PartEffect]:
        """What the core wants after its own methods were called."""
        return self._performed(self.face.collect(now), now)

    # ---- coming in -----------------------------------------------------------------------------------------------

    def _step(self, what: Input) -> bool:
        stage = TRANSITIONS.get((self.stage, what))
        if stage is None:
            return False
        self.stage = stage
        self._alone_at = math.inf
        return True

    def _stepped(self, effects: Iterable[Effect]) -> list[PartEffect]:
        """What keeping in step wants; perhaps a sibling has told all that is needed by now."""
        told = self.step.inside and self.stage is not Stage.IN and self._step(Input.TOLD)
        return [*effects, Entered()] if told else [*effects]

    def _wait_no_more(self, now: float) -> list[PartEffect]:
        """A host that takes over: is there still anybody who could tell?"""
        if self.step.ready():
            self._alone_at = now + self._config.alone_s
            return []
        return self._begin_anew(now)

    def _begin_anew(self, now: float) -> list[PartEffect]:
        ring_id = self._rng.randbytes(RING_BYTES)
        return [*self.begin(ring_id, now), Inherits(ring_id)]

    def _searched(self, effects: Iterable[OverlayEffect], now: float) -> list[PartEffect]:
        """What a search wants, and what has come of it."""
        done: list[PartEffect] = [*_sent(effects)]
        match self._search.outcome():
            case Way() as way:
                self._way = way
                if self.stage is Stage.JOINING:
                    return done + self._performed(self.face.join([way.contact], now), now)
                self._waits = True
                return [*done, *self.outside.find_out(now), *self._look_outside(now)]
            case Nobody():
                self._step(Input.FAILED)
                done.append(Unreached())
            case None:
                return done
        return done + self._report(now)

    def _on_welcomed(self, welcome: Welcome, contact: NodeRef, now: float) -> None:
        self._search.welcomed(welcome, contact, now)
        if self._meeting.welcomed(welcome.number, contact):
            self._met.append(contact)

    def _known(self) -> set[int]:
        return {self._id, *[contact.id for contact in contacts_of(self.face.core)]}

    def _meet(self, now: float) -> list[PartEffect]:
        """Nodes behind entry points get into the core's tables, or tell it of its neighbours in their ring."""
        met, self._met = self._met, []
        effects = list[OverlayEffect]()
        for contact in met:
            effects += self.face.core.learn(contact, now)
        return self._performed(self.face.perform(effects, now), now)

    def _on_heard(self, answer: HostsHeard, node_id: int, now: float) -> list[Send]:
        return self._pushing.heard(answer, node_id, now)

    def _report(self, now: float) -> list[PartEffect]:
        """Have the node put on the server's list, which has it where the server sees this host."""
        client = self._search.client if self.stage is Stage.IN else None
        return [] if client is None else [*_sent(self.outside.report(client, self._own(), now))]

    def _performed(self, effects: Iterable[OverlayEffect], now: float) -> list[PartEffect]:
        """What the face wants; and whether its core has other neighbours than before."""
        done: list[PartEffect] = []
        for effect in effects:
            match effect:
                case Joined():
                    done += self._on_joined(now)
                case JoinFailed():
                    done += self._on_join_failed(now)
                case _:
                    done.append(effect)
        return [*done, *self.step.tell_changes(now)]

    def _on_joined(self, now: float) -> list[PartEffect]:
        if self._way is None or not self._step(Input.JOINED):
            return []
        return [*self.step.enter(self._way.ring_id, now), *self._report(now), Entered()]

    def _on_join_failed(self, now: float) -> list[PartEffect]:
        if self.stage is Stage.IN:  # every node that was known is dead
            return [Unreached()]
        if self.stage is not Stage.JOINING:
            return []
        if self._joins < self._config.joins_max:
            self._joins += 1
            return self._searched(self._search.begin(now), now)
        self._step(Input.FAILED)
        return [*(self._begin_anew(now) if self._changes else ()), Unreached()]

    # ---- node or client -------------------------------------------------------------------------------------------

    def _look_outside(self, now: float) -> list[PartEffect]:
        """What follows from whether this host and its siblings are reached."""
        if self._waits and not self.face.reach.trying and self._way is not None:
            self._waits = False
            # Two that are alone agree who comes to whom; but nobody comes to one that is not reached.
            alone = self._way.alone and not self.outside.unlisted
            return [Reached(self._way.ring_id, alone), *self._report(now)]
        effects = self._report(now) if self.outside.tell() else []
        return effects + (self._change(now) if self.stage is Stage.IN and self.outside.must_change else [])

    def _change(self, now: float) -> list[PartEffect]:
        """Take a place in the overlay by the nodes that are known, or give it up, and go on asking them."""
        client, known = not self.step.client, self.outside.known
        told = self._farewell(now) if client else []
        if self.outside.change_in_place(now, client=client):
            return [*told, *self.collect(now), *self.step.enter(self.step.ring_id, now)]
        if not self._step(Input.JOIN):
            return []
        self._way = Way(known[0], self.step.ring_id, alone=False)
        self._joins, self._changes = 1, True
        self.step.start_over(now, client=client)
        return told + self._performed(self.face.join(known[: self._config.search.contacts], now), now)

    def _farewell(self, now: float) -> list[PartEffect]:
        """Say goodbye to the overlay, and to the server."""
        told = [] if self._search.client is None else _sent(self._search.client.leave(now))
        return [*told, *(() if self.step.client else self.face.sent(self.face.core.leave(), now))]

    # ---- what others are told ------------------------------------------------------------------------------------

    def _own(self) -> Own:
        # Who joins for a node that nobody else answers for must be reached by those that let it in.
        ready = self._membership.state is State.READY or self.stage is Stage.JOINING
        subnet, reach, addresses = self._subnet, self.face.reach, self._addresses()
        return Own(
            identity=subnet.identity,
            tag=subnet.tag,
            hid=self._membership.hid,
            addresses=addresses,
            ready=ready,
            direct=reach.seen in addresses,
            mapped=reach.mapped,
            unlisted=self.outside.unlisted,
            client=self.step.client,
        )

    def _own_entry(self, now: float) -> NodeEntry:
        allow_private = self._config.face.hosts.allow_private
        return set_for(b"", self._own(), self._membership.view, now, allow_private=allow_private)

    def _neighbour_hosts(self) -> list[Peer]:
        """One of each node that has this one among its neighbours, to be told of changes."""
        nodes = [node.id for node in self.step.neighbours()]
        before = shared.predecessor(self.face.core)
        if before is not None:  # of those that follow, the first one only has this node in its tables
            nodes = [*self._pushing.nodes_before(before.id), *nodes[1:2]]
        hosts = [self.face.nodes.hosts_of(node_id) for node_id in dict.fromkeys(nodes)]
        return [self._rng.choice(peers) for peers in hosts if peers]


def _sent(effects: Iterable[OverlayEffect]) -> list[Send]:
    """The packets among the effects; of the others nobody wants to know there."""
    return [effect for effect in effects if isinstance(effect, Send)]
