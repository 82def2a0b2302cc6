"""How a founder finds the overlay: it knocks at entry points, or asks the bootstrap server for an address (section 6).

The server knows addresses and identifiers only, and so do those who give entry points. Who knocks gets to know the
subnet behind the address, its hosts and the ring that it is in.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Final

import msgspec

from dhtboot.bootstrap_client import BootstrapClient, OnContact, Phase
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.effects import Effect
from dhtboot.ids import Address, NodeRef
from mdht.subnet.face_messages import Welcome

EntryPoints = Callable[[], Sequence[Address]]
"Gives addresses of hosts that may be in the overlay."
MakeClient = Callable[[OnContact], BootstrapClient]
"Makes the client of the bootstrap server, given what to call with a contact."
Knock = Callable[[Address, int, float], list[Effect]]
"Asks who is at an address, under a number, at a time."


class SearchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    server_s: float = 12.0
    "The bootstrap server has so long to give a contact; it gives the first node 10 s to begin the overlay."
    knock_s: float = 0.7
    "A contact has so long to answer a knock."
    knocks: int = 2
    "At one contact, before the server is asked for another one."
    contacts: int = 3
    "Contacts of the server tried in one search."
    entry_points: int = 8
    "Entry points tried in one search; of more some, by chance."

    def __post_init__(self) -> None:
        if self.server_s <= 0 or self.knock_s <= 0 or min(self.knocks, self.contacts, self.entry_points) < 1:
            raise ValueError("a search needs times above 0, and at least one contact, one entry point and one knock")


class Stage(Enum):
    """How far it is."""

    IDLE = "idle"
    ASKING = "asking"
    "The bootstrap server, for a contact."
    KNOCKING = "knocking"
    "At a contact."


class Input(Enum):
    """What can happen."""

    BEGIN = "begin"
    NOBODY = "nobody"
    "The server knows nobody, or is silent."
    CONTACT = "contact"
    WELCOMED = "welcomed"
    SILENCE = "silence"
    "The contact does not answer, others may be asked for."
    SPENT = "spent"
    "The last one does not answer."
    BREAK_OFF = "break off"


class Action(Enum):
    """What is done about it."""

    ASK = "ask"
    KNOCK = "knock"
    FOUND = "found"
    NOT_FOUND = "not found"
    STOP = "stop"


TRANSITIONS: Final[Mapping[tuple[Stage, Input], tuple[Stage, Action]]] = {
    (Stage.IDLE, Input.BEGIN): (Stage.ASKING, Action.ASK),
    (Stage.ASKING, Input.CONTACT): (Stage.KNOCKING, Action.KNOCK),
    (Stage.ASKING, Input.NOBODY): (Stage.IDLE, Action.NOT_FOUND),
    (Stage.ASKING, Input.BREAK_OFF): (Stage.IDLE, Action.STOP),
    (Stage.KNOCKING, Input.WELCOMED): (Stage.IDLE, Action.FOUND),
    (Stage.KNOCKING, Input.SILENCE): (Stage.ASKING, Action.ASK),
    (Stage.KNOCKING, Input.SPENT): (Stage.IDLE, Action.NOT_FOUND),
    (Stage.KNOCKING, Input.BREAK_OFF): (Stage.IDLE, Action.STOP),
}
"A pair that is not listed changes nothing: one search at a time, and a late welcome is no news."


class Way(msgspec.Struct, frozen=True):
    """A node of the overlay, with hosts that are known by now, and the ring that it is in."""

    contact: NodeRef
    ring_id: bytes
    alone: bool
    "Whether it is the only node there."


class Nobody(msgspec.Struct, frozen=True):
    """No node of the overlay was found."""


class Search:
    """One host's part.

    Args:
        make_client: makes the client of the server; None where there is no server.
        entry_points: whom to try before the server is asked.
        knock: asks who is at an address.
        config: times and limits.
        rng: all chance.

    Attributes:
        stage: how far it is.
        client: of the server; it also puts the node on the server's list.
    """

    def __init__(
        self,
        make_client: MakeClient | None,
        entry_points: EntryPoints,
        knock: Knock,
        config: SearchConfig,
        rng: Random,
    ) -> None:
        self.stage = Stage.IDLE
        self.client = None if make_client is None else make_client(self._on_contact)
        self._entry_points = entry_points
        self._knock = knock
        self._config = config
        self._rng = rng
        self._address: Address = ("", 0)
        self._number = 0
        self._knocks = self._contacts = 0
        self._to_try: list[Address] = []
        self._due_at = math.inf
        self._effects: list[Effect] = []
        self._outcome: Way | Nobody | None = None

    def begin(self, now: float) -> list[Effect]:
        """Look for a node of the overlay; it ends with an `outcome`, perhaps at once."""
        if self.stage is Stage.IDLE:
            self._contacts = 0
            found = list(dict.fromkeys(self._entry_points()))
            self._to_try = self._rng.sample(found, min(len(found), self._config.entry_points))
        self._on_input(Input.BEGIN, now)
        return self._collect()

    def break_off(self, now: float) -> list[Effect]:
        """Nobody wants to know any more."""
        self._on_input(Input.BREAK_OFF, now)
        return self._collect()

    def outcome(self) -> Way | Nobody | None:
        """How the search has ended, told once; None while there is nothing to tell."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def receive(self, packet: BootstrapPacket, source: Address, now: float) -> list[Effect]:
        """Act on a packet of the server."""
        if self.client is not None:
            self._effects += self.client.receive(packet, source, now)
        return self._collect()

    def welcomed(self, welcome: Welcome, contact: NodeRef, now: float) -> None:
        """A node has answered a knock."""
        if self._number and welcome.number == self._number:
            self._on_input(Input.WELCOMED, now)
            self._outcome = Way(contact, welcome.ring_id, welcome.alone)

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if self.client is not None:
            self._effects += self.client.tick(now)
        if now >= self._due_at:
            if self.stage is Stage.ASKING:
                self._on_input(Input.NOBODY, now)
            elif self._knocks < self._config.knocks:
                self._knock_again(now)
            else:
                spent = not self._to_try and self._contacts >= self._config.contacts
                self._on_input(Input.SPENT if spent else Input.SILENCE, now)
        return self._collect()

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(self._due_at, math.inf if self.client is None else self.client.next_deadline())

    # ---- inside --------------------------------------------------------------------------------------------------

    def _on_contact(self, contact: NodeRef | None, now: float) -> None:
        if contact is None:
            self._on_input(Input.NOBODY, now)
        else:
            self._contacts += 1
            self._try(contact.address, now)

    def _try(self, address: Address, now: float) -> None:
        self._address = address
        self._on_input(Input.CONTACT, now)

    def _on_input(self, what: Input, now: float) -> None:
        step = TRANSITIONS.get((self.stage, what))
        if step is None:
            return
        self.stage, action = step
        match action:
            case Action.ASK:
                self._ask(now)
            case Action.KNOCK:
                self._knocks = 0
                self._number = self._rng.getrandbits(64) or 1
                self._knock_again(now)
            case Action.NOT_FOUND:
                self._outcome = Nobody()
        if self.stage is Stage.IDLE:
            self._number, self._due_at = 0, math.inf
            if self.client is not None and self.client.phase is Phase.ASKING:
                self._effects += self.client.leave(now)

    def _ask(self, now: float) -> None:
        self._number = 0  # whoever was silent welcomes too late
        self._due_at = now + self._config.server_s
        if self._to_try:
            self._try(self._to_try.pop(), now)
        elif self.client is None:
            self._on_input(Input.NOBODY, now)
        else:
            self._effects += self.client.ask(now)

    def _knock_again(self, now: float) -> None:
        self._knocks += 1
        self._due_at = now + self._config.knock_s
        self._effects += self._knock(self._address, self._number, now)

    def _collect(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
