"""What a sibling tells of the node's neighbours, until this host knows enough of them to follow (mDHT, section 4).

A neighbour without hosts would look dead to the overlay's core, and that is a structural change. So nobody follows
before it knows hosts of each neighbour; it asks siblings for what it lacks.
"""

import math
from collections.abc import Callable

from mdht.subnet.node_state import NodeState


class Following:
    """One host's part. Times are in seconds.

    Args:
        ask_s: between two questions.
        asks_max: questions after which it follows without the neighbours of which nobody knows hosts.
        gather_s: a host that begins waits so long for what else the sibling tells.

    Attributes:
        begins: whether this host takes over all that a sibling has, rather than one change.
    """

    __slots__ = ("_ask_at", "_ask_s", "_asked", "_asks_max", "_gather_s", "_gathered_at", "_state", "begins")

    def __init__(self, *, ask_s: float, asks_max: int, gather_s: float) -> None:
        self.begins = False
        self._ask_s = ask_s
        self._asks_max = asks_max
        self._gather_s = gather_s
        self._state: NodeState | None = None
        self._gathered_at: float | None = None
        self._asked = 0
        self._ask_at = math.inf

    @property
    def under_way(self) -> bool:
        """Whether there is something to follow, or a sibling is being asked for it."""
        return self._ask_at < math.inf

    def begin(self, now: float) -> None:
        """Take over whatever siblings have: ask at once."""
        self.begins = True
        self._state = self._gathered_at = None
        self._asked = 0
        self._ask_at = now

    def told(self, state: NodeState, now: float) -> None:
        """A sibling has told the state: follow it."""
        if self._state is None or not self.begins:
            self._asked = 0  # what was asked before was not about this
        if self._state is None and self.begins:
            self._gathered_at = now + self._gather_s
        self._state = state
        ask_at = now + self._ask_s
        self._ask_at = min(self._ask_at, ask_at) if self.begins else ask_at  # or many changes would put it off for ever

    def stop(self) -> None:
        """There is nobody to follow."""
        self._state = self._gathered_at = None
        self._ask_at, self.begins = math.inf, False

    def complete(self, knows: Callable[[bytes], bool], now: float) -> NodeState | None:
        """The state to follow now, once; None as long as there is none, or too little is known.

        Args:
            knows: whether hosts of the node of an identifier are known; of the own one they are.
            now: the time.
        """
        state = self._state
        if state is None or (self._gathered_at is not None and now < self._gathered_at):
            return None
        self._gathered_at = None
        spent = self._asked >= self._asks_max and now >= self._ask_at  # the last question too has its time
        if not spent and not all(knows(node_id) for node_id in state.node_ids):
            return None
        self.stop()
        return state

    def asks(self, now: float, *, anybody: bool) -> bool:
        """Whether to ask a sibling now; if there is not anybody yet, that is looked up soon."""
        if now < self._ask_at:
            return False
        if not anybody:
            self._ask_at = now + self._gather_s
            return False
        self._asked += 1
        self._ask_at = now + self._ask_s
        return True

    def next_deadline(self) -> float:
        """When to call `complete` and `asks`; `math.inf` for never."""
        return self._ask_at if self._gathered_at is None else min(self._ask_at, self._gathered_at)
