"""Two rings that know nothing of each other become one: former contacts are asked whom they take for our successor.

Lost packets can leave two rings after a mass arrival, and a long cut leaves one on each side. Inside each of them all
is well: only somebody outside can say that a nearer successor exists. Once that is known, STABILIZE and NOTIFY do the
rest.
"""

import math
from collections.abc import Iterable
from random import Random
from typing import Any, Final, Protocol

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.messages import FindSuccessor, Notify, Step, Successors
from dhtboot.chord.periods import Period
from dhtboot.chord.ring import between
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.rpc import IGNORED, Asker

ENTRIES_MAX: Final = 8
"Entry points that are remembered after joining; the newest ones. One that stands in the other ring is enough."
LOST_MAX: Final = 16
"""Dead neighbours that are asked, in case they stand behind a cut; the newest ones. They have places of their own, so
that the many who die while a cut lasts do not drive out the entry points."""
LOST_CHECK_S: Final = 30.0
"One of them is asked so often, so that the two rings of a cut network grow together after it."
JITTER: Final = 0.25
"Share of the period between two questions to entry points: those who joined together must not ask together."


class Caller(Protocol):
    """Who sends the questions."""

    client: bool
    joined: bool

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker) -> None:
        """Send a request and wait for its response."""


class Places(Protocol):
    """What a ring looks like from one of its nodes."""

    def is_successor(self, identifier: int) -> bool:
        """Whether that node is our successor."""

    def on_met(self, node: NodeRef, now: float) -> bool:
        """A node of some ring has shown itself; True when it has become our successor."""


class Reunion(Asker):
    """The former contacts of one node, and one question to one of them now and then.

    Args:
        node: asks.
        me: its identifier.
        places: its neighbours.
        config: settings.
        rng: chooses whom to ask.

    Attributes:
        lost: dead neighbours, oldest first.
    """

    __slots__ = (
        "_asked",
        "_entries",
        "_entry_at",
        "_lost_at",
        "_me",
        "_node",
        "_period",
        "_places",
        "_rng",
        "_steps",
        "_steps_max",
        "lost",
    )

    def __init__(self, node: Caller, me: int, places: Places, config: ChordConfig, rng: Random) -> None:
        self._node = node
        self._me = me
        self._places = places
        self._rng = rng
        self._period: Period | None = None
        if config.contact_check_s:
            jitter_s = JITTER * config.contact_check_s
            low_s, high_s = config.contact_check_s - jitter_s, config.contact_check_s + jitter_s
            self._period = Period(low_s, high_s, config.contact_quiet_s, config, rng)
        self._entries: tuple[NodeRef, ...] = ()
        self._entry_at = math.inf
        self._lost_at = math.inf
        self._asked: NodeRef | None = None
        self._steps = 0
        self._steps_max = config.hops_max
        self.lost: tuple[NodeRef, ...] = ()

    # ---- whom to ask ---------------------------------------------------------------------------------------------

    @property
    def former(self) -> tuple[NodeRef, ...]:
        """All former contacts, entry points first."""
        return (*self._entries, *self.lost)

    def remember_entries(self, contacts: Iterable[NodeRef], now: float) -> None:
        """Ask these entry points later; by their addresses, since other nodes may answer there then."""
        found = {contact.address: NodeRef(0, contact.address) for contact in contacts}
        others = [known for known in self._entries if known.address not in found]
        self._entries = (*others, *found.values())[-ENTRIES_MAX:]
        if self._entries and self._period is not None and self._entry_at == math.inf:
            self._entry_at = now + self._period.next()

    def meet(self, contact: NodeRef, now: float) -> None:
        """Ask this entry point now, and later."""
        self.remember_entries([contact], now)
        self._begin(contact, now)

    def remember_lost(self, node: NodeRef, now: float) -> None:
        """A neighbour is dead, or seems to be."""
        if not self.lost:
            self._lost_at = now + LOST_CHECK_S
        self.lost = (*[lost for lost in self.lost if lost.id != node.id], node)[-LOST_MAX:]
        self._hurry()

    # ---- asking --------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Begin the questions that are due."""
        if self.lost and now >= self._lost_at:
            self._lost_at = now + LOST_CHECK_S
            self._begin(self.lost[self._rng.randrange(len(self.lost))], now)
        if self._period is not None and now >= self._entry_at:
            self._period.calm()
            self._entry_at = now + self._period.next()
            self._begin(self._entries[self._rng.randrange(len(self._entries))], now)

    def _begin(self, contact: NodeRef, now: float) -> None:
        if self._node.client:
            return  # it has a place in neither ring
        self._asked = contact
        self._steps = self._steps_max
        self._ask(NodeRef(0, contact.address), now)

    def _ask(self, node: NodeRef, now: float) -> None:
        if self._steps:
            self._steps -= 1
            self._node.call(node, FindSuccessor(id_bytes(self._me)), now, self)

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        """A node says whom it takes for our successor, or who is closer to that one."""
        if type(message) is not Successors or not self._node.joined:
            return  # the one is not part of a ring, or the other not any more
        taken = self._places.on_met(node, now)
        mine = message.step is Step.MINE
        if not (mine or message.nodes):
            return
        named = node if mine else message.nodes[0]
        if message.step is Step.HOPS:
            if between(named.id, node.id, self._me):
                self._ask(named, now)
        elif named.id == self._me or (not taken and self._places.is_successor(named.id)):
            self._agree()
        else:
            self._hurry()
            if not mine:
                self._ask(named, now)  # whether it lives
            elif not taken:
                # Ours is nearer, so that the other ring lacks us: from its predecessor on it hears of us.
                self._node.call(node, Notify(), now, IGNORED)

    def on_fail(self, node: NodeRef, now: float) -> None:
        """No answer; another contact is asked next time."""

    def _agree(self) -> None:
        """The one that was asked stands in our ring: it is not lost."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self.lost = tuple(lost for lost in self.lost if lost.address != asked.address)

    def _hurry(self) -> None:
        """Not all is well, so ask the entry points more often."""
        if self._period is not None:
            self._period.reset()
