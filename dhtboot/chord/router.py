"""What the parts of a Chord node need of the whole."""

from typing import TYPE_CHECKING, Any

from dhtboot.chord.fingers import FingerTable
from dhtboot.chord.messages import Successors
from dhtboot.chord.outcome import Outcome
from dhtboot.core import Core
from dhtboot.ids import NodeRef
from dhtboot.rpc import Asker

if TYPE_CHECKING:
    from dhtboot.chord.walk import Walk


class Router(Core):
    """A node as its lookups and its fingers see it; a base class for the same reason as `Core`.

    Attributes:
        id: own identifier.
        fingers: own fingers.
    """

    __slots__ = ("fingers", "id")

    id: int
    fingers: FingerTable

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker) -> None:
        """Send a request and wait for its response."""
        raise NotImplementedError

    def next_step(self, target: int) -> Successors:
        """What the node itself knows about the way to a target."""
        raise NotImplementedError

    def on_walked(self, walk: "Walk", outcome: Outcome, now: float) -> None:
        """A lookup has ended."""
        raise NotImplementedError

    def look_up_finger(self, index: int, now: float) -> None:
        """Look for the node responsible for the start of a finger."""
        raise NotImplementedError
