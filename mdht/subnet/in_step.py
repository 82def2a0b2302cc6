"""How the hosts of a subnet keep in step: each has a core of the node, and all cores have the same neighbours.

Who finds that the neighbours have changed, or one of them other hosts, tells the others; they follow as soon as they
know hosts of each neighbour. One at a time does a round of upkeep (mDHT design, section 4).
"""

import math
from collections.abc import Callable, Iterable
from random import Random

from dhtboot import shared
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Send
from dhtboot.ids import NodeRef, id_bytes, id_from
from dhtboot.overlay import OverlayNode
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.face import Face
from mdht.subnet.face_nodes import contact, pseudo_address
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.following import Following
from mdht.subnet.membership import Membership
from mdht.subnet.messages import NEIGHBOURS_MAX, RING_BYTES, Here, Message, Neighbour, NodeEntry, State
from mdht.subnet.messages import NodeState as NodeStateMessage
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.node_state import EntryTold, Maintain, Neighbourhood, NeighboursChanged, NodeState, StateEffect
from mdht.subnet.rota import Rota
from mdht.subnet.view import Member

StepEffect = Multicast | Unicast | Send
NO_RING = bytes(RING_BYTES)


class InStep:
    """One host's part.

    Args:
        face: with this host's core.
        make_core: makes another one, where the node moves to another ring, or gets or loses its place in one.
        tag: of this subnet.
        membership: who is there.
        config: settings.
        rng: chooses whom to ask.

    Attributes:
        ring_id: of the ring that the node is in, all zeros as long as it is in none.
        state: what the siblings share.
        inside: whether this host answers for the node, and so tells of changes.
    """

    def __init__(
        self,
        face: Face,
        make_core: Callable[[float], OverlayNode],
        tag: bytes,
        membership: Membership,
        config: NodePartConfig,
        rng: Random,
    ) -> None:
        self.ring_id = NO_RING
        self.inside = False
        self._face = face
        self._make_core = make_core
        self._tag = tag
        self._membership = membership
        self._config = config
        self._rng = rng
        rota = Rota(shared.round_s(config.overlay), shared=config.rota)
        chord = isinstance(face.core, ChordNode)
        self.state = Neighbourhood(membership.hid, rota, self._entry_of, others=self._others, with_predecessor=chord)
        self._following = Following(ask_s=config.ask_s, asks_max=config.asks_max, gather_s=config.gather_s)
        self._heard_of: dict[int, NodeRef] = {}
        self._told_ids: list[int] = []
        self._looked_at: tuple[NodeState, list[object]] | None = None
        "Whether there was a change was last seen for this shared state and these neighbours."
        self._fingers_seen = -1
        self._round_ends_at = math.inf
        self._ready: tuple[tuple[int, State], list[bytes]] = ((-1, State.LEFT), [])

    # ---- coming in -----------------------------------------------------------------------------------------------

    def take_over(self, now: float) -> list[StepEffect]:
        """Have what siblings have: `followed` tells when that is so."""
        self._following.begin(now)
        return self._follow(now)

    def enter(self, ring_id: bytes, now: float) -> list[StepEffect]:
        """This host's core has come into a ring by itself: tell the siblings, if there are any."""
        self._following.stop()
        self.ring_id = ring_id
        self._be_inside(now)
        found = self.neighbours()
        self._told_ids = [node.id for node in found]
        return self.agree(self.state.change(ring_id, self._listed(found), None), now)

    def _be_inside(self, now: float) -> None:
        if not self.inside:
            self.state.rota.start(now)
        self.inside = True

    @property
    def client(self) -> bool:
        """Whether the node has no place in the overlay: it asks, and is not asked."""
        return self.state.client

    def start_over(self, now: float, *, client: bool) -> None:
        """Have another core, which is in no ring yet."""
        self.inside, self.state.client = False, client
        core = self._make_core(now)
        core.client = client
        self._face.renew(core, now)

    def change(self, now: float, *, client: bool) -> None:
        """Take or give up the node's place; what is known of others serves both, but a ring has to be joined."""
        if isinstance(self._face.core, ChordNode):
            self.start_over(now, client=client)
        else:
            self.state.client = self._face.core.client = client

    def neighbours(self) -> list[NodeRef]:
        """What the core has."""
        return shared.neighbours(self._face.core, NEIGHBOURS_MAX)

    def ready(self) -> list[bytes]:
        """Names of the hosts that answer for the node, in the order that all share."""
        key = (self._membership.view.epoch, self._membership.state)
        if self._ready[0] != key:
            self._ready = (key, self._membership.ready_hids())
        return self._ready[1]

    # ---- driver's side -------------------------------------------------------------------------------------------

    def receive(self, member: Member, message: Message, now: float, *, multicast: bool) -> list[StepEffect]:
        """Act on one message of a live member, which answers at its first address."""
        if not member.addresses:
            return []
        address = member.addresses[0]
        match message:
            case NodeStateMessage():
                return self.agree(self.state.receive(member.hid, message, address, now, multicast=multicast), now)
            case Here(node_state_hash=told) if self.inside:
                return self.agree(self.state.on_here(member.hid, address, told, now), now)
            case _:
                return []

    def tick(self, now: float) -> list[StepEffect]:
        """Act on the time."""
        effects = self._follow(now) if now >= self._following.next_deadline() else []
        effects += self.agree(self.state.tick(self.ready(), now), now)
        if now >= self._round_ends_at:
            self._round_ends_at = math.inf
            listed = self._listed(self.neighbours())
            effects += self.agree(self.state.maintained(self.ring_id, listed, None, now), now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""
        due_at = min(self._following.next_deadline(), self._round_ends_at)
        return min(due_at, self.state.next_deadline(self.ready()))

    # ---- changes that this host finds ----------------------------------------------------------------------------

    def tell_changes(self, now: float) -> list[StepEffect]:
        """Look whether the core has other neighbours than before, or one of them other hosts."""
        core = self._face.core
        if isinstance(core, ChordNode) and core.fingers.revision != self._fingers_seen:
            self._fingers_seen = core.fingers.revision
            self.state.changes.note("fingers", [id_bytes(node.id) for node in core.fingers.nodes])
        if not self.inside or self._following.under_way:
            return []
        found = self.neighbours()
        looked_at = (self.state.state, self._seen(found))
        if looked_at == self._looked_at:
            return []
        self._looked_at = looked_at
        ids = [node.id for node in found]
        same = ids == self._told_ids
        if same and [id_bytes(identifier) for identifier in ids] != self.state.state.node_ids:
            return []  # a sibling has told another state, which could not be followed in full
        listed = self._listed(found)
        before = {neighbour.node_id: neighbour for neighbour in self.state.state.neighbours}
        news = [one for one in listed if one != before.get(one.node_id)]
        if same and not news:
            return []
        self._told_ids = ids
        changed = next((entry for one in news if (entry := self._entry_of(one.node_id, now)) is not None), None)
        return self.agree(self.state.change(self.ring_id, listed, changed), now)

    def _seen(self, found: Iterable[NodeRef]) -> list[object]:
        """All of neighbours that siblings are told."""
        nodes = self._face.nodes
        seen: list[object] = []
        for node in found:
            remote = nodes.get(node.address)
            seen += (node.id, None, None) if remote is None else (node.id, remote.tag, remote.epoch)
        return seen

    def _listed(self, found: Iterable[NodeRef]) -> tuple[Neighbour, ...]:
        """Neighbours as siblings are told of them; of two views of one the newer."""
        told = {(one.node_id, one.tag): one.view_epoch for one in self.state.state.neighbours}
        listed = []
        for node in found:
            remote = self._face.nodes.get(node.address)
            node_id = id_bytes(node.id)
            tag = self._tag if remote is None else remote.tag
            epoch = 0 if remote is None else remote.epoch or 0
            listed.append(Neighbour(node_id=node_id, tag=tag, view_epoch=max(epoch, told.get((node_id, tag), 0))))
        return tuple(listed)

    # ---- changes that siblings tell ------------------------------------------------------------------------------

    def agree(self, effects: Iterable[StateEffect], now: float) -> list[StepEffect]:
        """Do what the shared state wants."""
        done: list[StepEffect] = []
        for effect in effects:
            match effect:
                case NeighboursChanged(state=state):
                    self._following.told(state, now)
                    done += self._follow(now)
                case EntryTold(entry=entry):
                    contact = self._face.nodes.believe(entry, now, firsthand=True, private=True)
                    if contact is not None and self._following.begins:
                        self._heard_of[contact.id] = contact
                    done += self._follow(now)
                case Maintain():
                    self._round_ends_at = now + self._config.round_s
                    done += self._face.sent(shared.maintain(self._face.core, now), now)
                case _:
                    done.append(effect)
        self._membership.report.node_state_hash = self.state.hash
        return done

    def _follow(self, now: float) -> list[StepEffect]:
        """Be as a sibling tells, if enough is known; else ask."""
        state = self._following.complete(self._knows, now)
        if state is not None:
            return self._become(state, now)
        siblings = [hid for hid in self.ready() if hid != self._membership.hid]
        if not self._following.asks(now, anybody=bool(siblings)):
            return []
        member = self._membership.view.get(self._rng.choice(siblings)) if siblings else None
        return [] if member is None else self.agree(self.state.ask(member.addresses[0]), now)

    def _become(self, state: NodeState, now: float) -> list[StepEffect]:
        if self.inside and state.ring_id != self.ring_id:
            self.start_over(now, client=state.client)
        elif state.client != self.client:
            self.change(now, client=state.client)
        core = self._face.core
        found = [contact(id_from(node_id)) for node_id in state.node_ids if self._knows(node_id)]
        if isinstance(core, ChordNode) and state.node_ids and not self._knows(state.node_ids[0]):
            found.insert(0, contact(core.id))
        self.ring_id = state.ring_id
        known = list(self._heard_of.values())
        self._heard_of.clear()
        effects: list[StepEffect] = [*self._face.sent(shared.follow(core, found, known, now), now)]
        self._told_ids = [node.id for node in self.neighbours()]
        self._be_inside(now)
        return effects

    # ---- other nodes ---------------------------------------------------------------------------------------------

    def _knows(self, node_id: bytes) -> bool:
        return self._face.nodes.knows(contact(id_from(node_id)))

    def _entry_of(self, node_id: bytes, now: float) -> NodeEntry | None:
        remote = self._face.nodes.get(pseudo_address(id_from(node_id)))
        entry = None if remote is None else remote.entry(now, self._face.nodes.rtt)
        return entry if entry is not None and entry.hosts else None

    def _others(self, now: float) -> list[NodeEntry]:
        """What a host that begins is told beside the neighbours."""
        told = {id_from(node_id) for node_id in self.state.state.node_ids}
        others = [contact for contact in contacts_of(self._face.core) if contact.id not in told]
        entries = [self._entry_of(id_bytes(contact.id), now) for contact in others]
        return [entry for entry in entries if entry is not None]
