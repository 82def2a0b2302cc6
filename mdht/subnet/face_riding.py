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

    def on_question(self, question: Any, now: float) -> Got | None:
        """Answer what rides on a lookup."""
        return self.on_riding(question, now)

    def on_note(self, _note: Any, _sender: NodeRef, _now: float) -> None:
        """Notes go from face to face."""
