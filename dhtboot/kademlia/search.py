"""One iterative lookup under way at a node: turns the bookkeeping of `dhtboot.lookup` into requests."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from dhtboot.ids import NodeRef
from dhtboot.kademlia.caller import Caller
from dhtboot.kademlia.messages import Nodes
from dhtboot.lookup import Lookup, LookupResult
from dhtboot.rpc import Asker


class Wish(Enum):
    """What the asker of a question wants after an answer."""

    ALL = "all"
    "Go on, and at the end wait for late contacts too."
    PROMPT = "prompt"
    "Go on, but not for the sake of late contacts."
    ENOUGH = "enough"
    "End the lookup."


OnAnswer = Callable[[NodeRef, Any, float], Wish]
"Called with a peer, its answer and the time."
OnDone = Callable[[LookupResult, float], None]


class Search(Asker):
    """One lookup under way at a node: turns its bookkeeping into requests."""

    __slots__ = ("_node", "_on_answer", "_on_done", "_request", "lookup")

    def __init__(
        self,
        node: Caller,
        lookup: Lookup,
        request: Any,
        *,
        on_answer: OnAnswer | None,
        on_done: OnDone,
        patient: bool,
    ) -> None:
        self.lookup = lookup
        self._node = node
        self._request = request
        self._on_answer = on_answer
        self._on_done = on_done
        lookup.patient = patient and on_answer is not None

    def advance(self, now: float) -> None:
        """Ask whoever is to be asked now; report at the end."""
        if self.lookup.over:
            return
        for node in self.lookup.next_to_ask():
            self._node.call(node, self._request, now, self, hedged=True)
        if self.lookup.over:
            self._on_done(self.lookup.result(), now)

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        """A peer has answered."""
        if not isinstance(message, Nodes):
            self.on_fail(node, now)
            return
        self.lookup.answered(node, message.nodes)
        if self.lookup.over:
            return
        if message.answer is not None and self._on_answer is not None:
            wish = self._on_answer(node, message.answer, now)
            self.lookup.patient = self.lookup.patient and wish is Wish.ALL
            if wish is Wish.ENOUGH:
                self.lookup.over = True
                self._on_done(self.lookup.result(), now)
                return
        self.advance(now)

    def on_fail(self, node: NodeRef, now: float) -> None:
        """A peer is dead, or no help."""
        self.lookup.failed(node)
        self.advance(now)

    def on_late(self, node: NodeRef, now: float) -> None:
        """Ask another one meanwhile."""
        self.lookup.late(node)
        self.advance(now)
