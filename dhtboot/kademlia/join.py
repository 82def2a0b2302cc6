"""How a node becomes part of the overlay: a table of steps, and what it does on each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol

from dhtboot.effects import Effect, Joined, JoinFailed
from dhtboot.ids import Address, NodeRef

CONTACTS_MAX: Final = 32
"""Entry points that are told after joining, and lost siblings, of each kind the newest ones. The many siblings that die
while a cut lasts must not drive out the entry points."""


class Phase(Enum):
    """Where the node stands with the overlay."""

    NEW = "new"
    CONTACTING = "contacting"
    "Entry points are pinged, because only their addresses are known."
    LOOKING_UP = "looking_up"
    "The node looks up its own identifier, which makes it known where it belongs."
    WAITING = "waiting"
    "Nobody answered; another attempt follows."
    JOINED = "joined"


class JoinInput(Enum):
    """What can happen to a joining node."""

    ALONE = "alone"
    "Started without entry points."
    CONTACTS = "contacts"
    "Given entry points."
    CONTACT_ALIVE = "contact_alive"
    "An entry point, or anybody else, has answered."
    ALL_SILENT = "all_silent"
    "No entry point answers and no contact is known."
    FOUND = "found"
    "The lookup of the own identifier was answered."
    NOTHING_FOUND = "nothing_found"
    RETRY_DUE = "retry_due"
    ISOLATED = "isolated"
    "The last known contact is dead."
    TOLD = "told"
    "Another host that stands for the same node tells its neighbours."


class JoinAction(Enum):
    """What the node does on a step."""

    NONE = "none"
    CONTACT = "contact"
    LOOK_UP = "look_up"
    REPORT = "report"
    RETRY_LATER = "retry_later"


TRANSITIONS: Final[Mapping[tuple[Phase, JoinInput], tuple[Phase, JoinAction]]] = {
    (Phase.NEW, JoinInput.ALONE): (Phase.JOINED, JoinAction.REPORT),
    (Phase.NEW, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    # A lone node that is given entry points, or a joined one that is given others.
    (Phase.JOINED, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    (Phase.CONTACTING, JoinInput.CONTACT_ALIVE): (Phase.LOOKING_UP, JoinAction.LOOK_UP),
    (Phase.CONTACTING, JoinInput.ALL_SILENT): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.LOOKING_UP, JoinInput.FOUND): (Phase.JOINED, JoinAction.REPORT),
    (Phase.LOOKING_UP, JoinInput.NOTHING_FOUND): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.NEW, JoinInput.TOLD): (Phase.JOINED, JoinAction.NONE),
    (Phase.CONTACTING, JoinInput.TOLD): (Phase.JOINED, JoinAction.NONE),
    (Phase.LOOKING_UP, JoinInput.TOLD): (Phase.JOINED, JoinAction.NONE),
    (Phase.WAITING, JoinInput.TOLD): (Phase.JOINED, JoinAction.NONE),
    (Phase.JOINED, JoinInput.ISOLATED): (Phase.WAITING, JoinAction.RETRY_LATER),
    (Phase.WAITING, JoinInput.RETRY_DUE): (Phase.CONTACTING, JoinAction.CONTACT),
    (Phase.WAITING, JoinInput.CONTACTS): (Phase.CONTACTING, JoinAction.CONTACT),
    # A peer of the link has found us before we found an entry point.
    (Phase.WAITING, JoinInput.CONTACT_ALIVE): (Phase.LOOKING_UP, JoinAction.LOOK_UP),
}
"A pair that is not listed changes nothing: a second pong, say, while the lookup runs."


class Joinable(Protocol):
    """What joining needs of its node."""

    @property
    def contacts(self) -> Sequence[NodeRef]:
        """All known live nodes."""

    def ping(self, node: NodeRef, now: float) -> None:
        """See whether a node is there."""

    def look_up_self(self, seeds: Sequence[NodeRef], now: float) -> None:
        """Look up the own identifier, from these contacts and the known ones."""

    def emit(self, effect: Effect) -> None:
        """Tell the driver."""


class Joining:
    """Walks the table at one node.

    Attributes:
        phase: where the node stands.
        entries: entry points, tried again while they are not known as live.
        lost: siblings that were lost, likewise.
        retry_at: when to call `tick`.
    """

    __slots__ = ("_node", "_retry_s", "entries", "lost", "phase", "retry_at")

    def __init__(self, node: Joinable, retry_s: float) -> None:
        self._node = node
        self._retry_s = retry_s
        self.phase = Phase.NEW
        self.entries: tuple[NodeRef, ...] = ()
        self.lost: tuple[NodeRef, ...] = ()
        self.retry_at = math.inf

    def join(self, contacts: Iterable[NodeRef], now: float) -> None:
        """Join through these contacts (identifier 0 where only the address is known); alone when there are none."""
        self.entries = tuple(contacts)
        self.on_input(JoinInput.CONTACTS if self.entries else JoinInput.ALONE, now)

    def follow(self, now: float) -> None:
        """Be part of the overlay, since another host that stands for this node is."""
        self.retry_at = math.inf
        self.on_input(JoinInput.TOLD, now)

    def tick(self, now: float) -> None:
        """Try again."""
        if now >= self.retry_at:
            self.retry_at = math.inf
            self.on_input(JoinInput.RETRY_DUE, now)

    @property
    def contacts(self) -> tuple[NodeRef, ...]:
        """Whoever is tried again while it is not known as live."""
        return (*self.entries, *self.lost)

    def remember_entry(self, contact: NodeRef) -> None:
        """Try this entry point too."""
        self.entries = _with(self.entries, contact)

    def remember_lost(self, sibling: NodeRef) -> None:
        """Try this one again later."""
        self.lost = _with(self.lost, sibling)

    def remembers(self, address: Address) -> bool:
        """Whether an entry point or a lost sibling was at an address."""
        for known in (self.entries, self.lost):
            for contact in known:
                if contact.address == address:
                    return True
        return False

    def on_input(self, event: JoinInput, now: float) -> None:
        """Take the step that the table has for this."""
        self.phase, action = TRANSITIONS.get((self.phase, event), (self.phase, JoinAction.NONE))
        match action:
            case JoinAction.CONTACT:
                contacts = self.contacts
                if any(contact.id for contact in contacts):
                    self.on_input(JoinInput.CONTACT_ALIVE, now)
                for contact in contacts:
                    if not contact.id:
                        self._node.ping(contact, now)
            case JoinAction.LOOK_UP:
                self._node.look_up_self([contact for contact in self.contacts if contact.id], now)
            case JoinAction.REPORT:
                self._node.emit(Joined(len(self._node.contacts)))
            case JoinAction.RETRY_LATER:
                self.retry_at = now + self._retry_s
                self._node.emit(JoinFailed(self._retry_s))


def _with(known: tuple[NodeRef, ...], contact: NodeRef) -> tuple[NodeRef, ...]:
    """A contact more, by its address, since another node may answer there."""
    others = [one for one in known if one.address != contact.address]
    return (*others, NodeRef(0, contact.address))[-CONTACTS_MAX:]
