"""A host that is in the overlay, and yet was told of entry points: are those in it too?

Its siblings may have come into the overlay without them, and whoever gave them wants them to be reached. It knocks at
each until it knows the node behind it. That makes one overlay of two: in Kademlia the node gets into the tables of the
core, in Chord it is asked whom it takes for the core's successor.
"""

import math
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Final

from dhtboot.effects import Effect
from dhtboot.ids import Address, NodeRef

KNOCK_S: Final = 0.2
"From the host's coming into the overlay until it knocks for the first time."
RETRY_MIN_S: Final = 5.0
RETRY_MAX_S: Final = 60.0
ALONE_MAX_S: Final = 10.0
"The same where no other node is known: what was cut off is to be back within seconds after the cut is healed."
AT_ONCE: Final = 8
"Entry points knocked at together; of more some, by chance."


class Meeting:
    """One host's part.

    Args:
        entry_points: gives their addresses, without those of this host.
        knock: asks who is at an address, under a number, at a time.
        known: identifiers of the nodes in the core's tables, and of this one.
        rng: all chance.
    """

    def __init__(
        self,
        entry_points: Callable[[], Sequence[Address]],
        knock: Callable[[Address, int, float], list[Effect]],
        known: Callable[[], Collection[int]],
        rng: Random,
    ) -> None:
        self._entry_points = entry_points
        self._knock = knock
        self._known = known
        self._rng = rng
        self._numbers: dict[int, Address] = {}
        self._behind: dict[Address, int] = {}
        self._retry_s = RETRY_MIN_S
        self._due_at = math.inf

    def begin(self, now: float) -> None:
        """This host is in the overlay, or there is a new entry point."""
        self._retry_s = RETRY_MIN_S
        self._due_at = min(self._due_at, now + KNOCK_S)

    def welcomed(self, number: int, contact: NodeRef) -> bool:
        """Somebody has answered a knock; whether it was one of these, at a node that is not known."""
        address = self._numbers.pop(number, None)
        if address is None:
            return False
        self._behind[address] = contact.id
        return contact.id not in self._known()

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if now < self._due_at:
            return []
        known = self._known()
        addresses = list(dict.fromkeys(self._entry_points()))
        self._behind = {address: node_id for address, node_id in self._behind.items() if address in addresses}
        strange = [address for address in addresses if self._behind.get(address) not in known]
        self._due_at = now + self._retry_s * (0.9 + 0.2 * self._rng.random())
        self._retry_s = min(2.0 * self._retry_s, ALONE_MAX_S if len(known) <= 1 else RETRY_MAX_S)
        if not strange:  # whoever falls out of the tables is knocked at soon
            self._retry_s = RETRY_MIN_S
        self._numbers = {
            self._rng.getrandbits(64): address for address in self._rng.sample(strange, min(len(strange), AT_ONCE))
        }
        effects: list[Effect] = []
        for number, address in self._numbers.items():
            effects += self._knock(address, number, now)
        return effects

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return self._due_at
