"""What the hosts of a subnet share of the overlay around their node, and whose turn it is to look after it (section 4).

Who changes it tells all with an epoch of one more. The larger (epoch, author) wins at every host, so that all come to
the same state in whatever order they hear of it. Of two changes at once one is lost: it is found again in the next turn
of the rota, and until then all agree at least.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from dhtboot.ids import Address
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.epochs import believable, checked, next_epoch
from mdht.subnet.messages import HASH_BYTES, HID_BYTES, NEIGHBOURS_MAX, RING_BYTES, Neighbour, NodeEntry
from mdht.subnet.messages import NodeState as NodeStateMessage
from mdht.subnet.rota import Rota
from mdht.subnet.structure import StructuralChanges

DIFFERENCES: Final = 2
"Heartbeats of one sibling in a row with another state, after which states are compared."
COMPARE_S: Final = 1.0
"Between two comparisons of one host: one that was away hears that it differs from all its siblings at once."
OTHERS_MAX: Final = 24
"Nodes beside the neighbours that a host begins with; the fingers among 10^6 nodes are about 20."
SIBLINGS_MAX: Final = 1024
"As many as a subnet has members."


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """The state itself."""

    ring_id: bytes = bytes(RING_BYTES)
    "Of the overlay that the node is in."
    epoch: int = 0
    "0 as long as nobody has set anything."
    author: bytes = bytes(HID_BYTES)
    neighbours: tuple[Neighbour, ...] = ()
    "Chord: the predecessor (the node itself where it is unknown), then the successors; Kademlia: the closest nodes."
    client: bool = False
    "The node has no place in the overlay: these only serve it to find others."

    @property
    def node_ids(self) -> list[bytes]:
        """Of the neighbours."""
        return [neighbour.node_id for neighbour in self.neighbours]

    def hash(self) -> bytes:
        """What siblings compare, in heartbeats."""
        if not self.epoch:
            return bytes(HASH_BYTES)
        digest = hashlib.sha1(self.epoch.to_bytes(4, "big") + self.author + self.ring_id, usedforsecurity=False)
        for neighbour in self.neighbours:
            digest.update(neighbour.node_id + neighbour.tag + neighbour.view_epoch.to_bytes(4, "big"))
        if self.client:
            digest.update(b"client")
        return digest.digest()[:HASH_BYTES]


class NeighboursChanged(msgspec.Struct, frozen=True):
    """A sibling has changed the state: the overlay's own tables are to follow."""

    state: NodeState


class EntryTold(msgspec.Struct, frozen=True):
    """A sibling tells one neighbour in full: hearsay, for the host set of that node."""

    entry: NodeEntry


class Maintain(msgspec.Struct, frozen=True):
    """It is this host's turn: do one round of the overlay's upkeep, then call `maintained`."""


StateEffect: TypeAlias = Multicast | Unicast | NeighboursChanged | EntryTold | Maintain


class Neighbourhood:
    """One host's copy.

    Args:
        hid: own name.
        rota: whose turn it is.
        entry_of: a neighbour in full, by its identifier, at a time, if it is known.
        others: nodes in full beside the neighbours, at a time, for a host that begins.
        with_predecessor: whether the first neighbour is the predecessor, which is a role of its own (Chord).
        epoch: of the state that this host had before it was started again, so that its changes are not older than that.

    Attributes:
        state: the state.
        client: whether the node has a place in the overlay, by what this host finds.
        hash: of the state, for heartbeats (`Report.node_state_hash`).
        changes: structural ones; fingers are to be noted there by whoever keeps them.
        counters: of what was refused.
    """

    def __init__(
        self,
        hid: bytes,
        rota: Rota,
        entry_of: Callable[[bytes, float], NodeEntry | None],
        *,
        others: Callable[[float], Sequence[NodeEntry]] = lambda _now: (),
        with_predecessor: bool = True,
        epoch: int = 0,
    ) -> None:
        self.state = NodeState()
        self.client = False
        self.hash = self.state.hash()
        self.rota = rota
        self.changes = StructuralChanges()
        self.counters: Counter[str] = Counter()
        self._hid = hid
        self._entry_of = entry_of
        self._others = others
        self._with_predecessor = with_predecessor
        self._floor = checked(epoch)
        self._differs: OrderedDict[bytes, int] = OrderedDict()
        self._compared_at = -COMPARE_S

    # ---- this host's own word ------------------------------------------------------------------------------------

    def change(self, ring_id: bytes, neighbours: Sequence[Neighbour], changed: NodeEntry | None) -> list[StateEffect]:
        """The overlay has other neighbours, or one of them other hosts; tell all.

        Args:
            ring_id: of the overlay.
            neighbours: as they are now; nothing is told if that is no news and no entry is given.
            changed: the one that has changed, in full.
        """
        return self._tell(ring_id, neighbours, changed, None)

    def maintained(
        self, ring_id: bytes, neighbours: Sequence[Neighbour], changed: NodeEntry | None, now: float
    ) -> list[StateEffect]:
        """The round that `Maintain` has asked for is over: what it has found. All are told that it was done."""
        return self._tell(ring_id, neighbours, changed, self.rota.done(now))

    def _tell(
        self, ring_id: bytes, neighbours: Sequence[Neighbour], changed: NodeEntry | None, turn: int | None
    ) -> list[StateEffect]:
        found = tuple(neighbours[:NEIGHBOURS_MAX])
        state = self.state
        news = (ring_id, found, self.client) != (state.ring_id, state.neighbours, state.client)
        if news or changed is not None or not self.state.epoch:
            epoch = next_epoch(max(self.state.epoch, self._floor))
            told = NodeState(ring_id=ring_id, epoch=epoch, author=self._hid, neighbours=found, client=self.client)
            self._become(told, told=False)
        elif turn is None:
            return []
        return [Multicast(self._message(changed=changed, turn=turn))]

    # ---- siblings ------------------------------------------------------------------------------------------------

    def receive(
        self, hid: bytes, message: NodeStateMessage, source: Address, now: float, *, multicast: bool
    ) -> list[StateEffect]:
        """Act on what a member tells; strangers are not to be listened to.

        Args:
            hid: of the member.
            message: what it says.
            source: where it is.
            now: the time.
            multicast: whether all were told. An older state that was told to this host alone is a question.
        """
        if not believable(max(self.state.epoch, self._floor), message.epoch):
            self.counters["absurd_states"] += 1
            return []
        if message.turn is not None:
            self.rota.seen(message.turn, now)
        theirs = NodeState(
            ring_id=message.ring_id,
            epoch=message.epoch,
            author=hid if message.author is None else message.author,
            neighbours=message.neighbours,
            client=bool(message.client),
        )
        if _order(theirs) < _order(self.state):
            return [] if multicast else self._all_told_to(source, now, begins=not theirs.epoch)
        effects: list[StateEffect] = []
        if _order(theirs) > _order(self.state):
            self._become(theirs, told=True)
            effects.append(NeighboursChanged(theirs))
        if message.changed is not None:
            effects.append(EntryTold(message.changed))
        return effects

    def on_here(self, hid: bytes, address: Address, node_state_hash: bytes, now: float) -> list[StateEffect]:
        """A member's heartbeat: when it has another state twice in a row, compare.

        This host tells its own. Whoever of the two knows the newer one has then told it: both need not know who it is.
        """
        if node_state_hash == self.hash:
            self._differs.pop(hid, None)
            return []
        count = self._differs.pop(hid, 0) + 1
        if count >= DIFFERENCES and now >= self._compared_at + COMPARE_S:
            self._compared_at = now
            return [Unicast(address, self._message())]
        self._differs[hid] = count
        if len(self._differs) > SIBLINGS_MAX:
            self._differs.popitem(last=False)
        return []

    def ask(self, address: Address) -> list[StateEffect]:
        """A host that joins wants all that a sibling knows, the neighbours' hosts too."""
        blank = NodeState()
        return [Unicast(address, NodeStateMessage(ring_id=blank.ring_id, epoch=0, neighbours=(), author=blank.author))]

    # ---- time ----------------------------------------------------------------------------------------------------

    def tick(self, members: Sequence[bytes], now: float) -> list[StateEffect]:
        """Whether it is this host's turn; `members` are the ready ones, in the order that all share."""
        return [Maintain()] if self.rota.take(self._hid, members, now) else []

    def next_deadline(self, members: Sequence[bytes]) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self.rota.due_at(self._hid, members)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _become(self, state: NodeState, *, told: bool) -> None:
        self.state = state
        self.hash = state.hash()
        if self._with_predecessor:
            self.changes.note("predecessor", state.node_ids[:1], told=told)
            self.changes.note("successors", state.node_ids[1:], told=told)
        else:
            self.changes.note("closest", state.node_ids, told=told)

    def _message(self, *, changed: NodeEntry | None = None, turn: int | None = None) -> NodeStateMessage:
        state = self.state
        return NodeStateMessage(
            ring_id=state.ring_id,
            epoch=state.epoch,
            neighbours=state.neighbours,
            changed=changed,
            author=None if state.author == self._hid else state.author,
            turn=turn,
            client=state.client or None,
        )

    def _all_told_to(self, to: Address, now: float, *, begins: bool) -> list[StateEffect]:
        """The state with every neighbour in full that is known: one datagram holds one of them."""
        known = [self._entry_of(node_id, now) for node_id in self.state.node_ids]
        entries: list[NodeEntry | None] = [entry for entry in known if entry is not None]
        if begins:
            # Before the neighbours: whoever knows those has all that it waits for.
            entries = [*self._others(now)[:OTHERS_MAX], *entries]
        return [Unicast(to, self._message(changed=entry, turn=self.rota.turn)) for entry in entries or [None]]


def _order(state: NodeState) -> tuple[int, bytes, bytes]:
    """The larger wins. The hash tells apart what one author has said before and after it lost its memory."""
    return state.epoch, state.author, state.hash()
