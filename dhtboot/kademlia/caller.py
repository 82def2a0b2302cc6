"""What the parts of a Kademlia node need of the whole."""

from typing import Any

from dhtboot.core import Core
from dhtboot.ids import NodeRef
from dhtboot.rpc import Asker


class Caller(Core):
    """What searches and answers need of their node; a base class for the same reason as `Core`."""

    def call(self, node: NodeRef, request: Any, now: float, asker: Asker, *, hedged: bool = False) -> None:
        """Send a request and wait for its response."""
        raise NotImplementedError

    def closest(self, target: int, count: int, but: int = -1) -> list[NodeRef]:
        """The known nodes closest to a target."""
        raise NotImplementedError
