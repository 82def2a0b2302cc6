"""What the layers above need of an overlay node, whichever protocol it speaks."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from dhtboot.effects import Effect
from dhtboot.ids import Address, NodeRef
from dhtboot.lookup import LookupResult

OnDone = Callable[[LookupResult, float], None]
"Called once with how a lookup ended, and the time."


class OverlayNode(Protocol):
    """A node of Chord or Kademlia as a core without I/O."""

    id: int

    def receive(self, packet: Any, source: Address, now: float) -> list[Effect]:
        """Act on one packet from the network."""

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""

    def join(self, contacts: Iterable[NodeRef], now: float) -> list[Effect]:
        """Join through these contacts; alone when there are none."""

    def leave(self) -> list[Effect]:
        """Say goodbye."""

    def collect(self) -> list[Effect]:
        """The effects queued since the last call."""

    def lookup(self, target: int, now: float, *, on_done: OnDone, width: int | None = None) -> None:
        """Look for the node responsible for `target`: the first of the result's `closest`, this one if there is none."""

    def tell(self, address: Address, note: Any) -> None:
        """Send a note of the layer above, once, without guarantee."""

    def is_responsible(self, target: int) -> bool:
        """Whether this node believes that `target` is its own."""
