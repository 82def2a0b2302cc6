"""Questions about records that ride on the requests of a lookup, so that whoever is found need not be asked again."""

from collections.abc import Callable
from typing import Any

from dhtboot.ids import NodeRef
from mdht.messages import Get, Got

OnRiding = Callable[[Get, float], Got | None]
"Called with a question and the time: what is at hand, None where that is nothing, or is with others to be asked."


class Riding:
    """What the core of an overlay takes for the layer above."""

    def __init__(self) -> None:
        self.on_riding: OnRiding = lambda _get, _now: None

    def on_question(self, question: Any, _sender: NodeRef, *, with_nodes: bool, now: float) -> Got | None:
        """Answer what rides on a lookup; what is asked without one is asked by a face, not by its core."""
        return self.on_riding(question, now) if with_nodes else Got((), 0, 0, partial=True)

    def on_note(self, _note: Any, _sender: NodeRef, _now: float) -> None:
        """Notes go from face to face."""

    def on_contact(self, _node: NodeRef, _now: float) -> None:
        """Nobody wants to know at once."""

    def on_contact_lost(self, _node: NodeRef, _now: float) -> None:
        """Likewise."""
