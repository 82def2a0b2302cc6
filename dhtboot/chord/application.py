"""The layer above Chord."""

from typing import Any, Protocol

from dhtboot.ids import NodeRef


class Application(Protocol):
    """What the layer above wants to know."""

    def on_note(self, note: Any, sender: NodeRef, now: float) -> None:
        """Take in a note."""
