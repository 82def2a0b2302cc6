"""Questions to neighbours for the hosts of silent nodes: one at a time for each node, whoever wants to know."""

import math

from dhtboot.ids import Address


class _Pull:
    __slots__ = ("expires_at", "number", "waiting")

    def __init__(self, number: int, waiting: int, expires_at: float) -> None:
        self.number = number
        self.waiting = waiting
        self.expires_at = expires_at


class Pulls:
    """Which questions are open. There are no more of them than requests under way."""

    __slots__ = ("_by_node",)

    def __init__(self) -> None:
        self._by_node: dict[Address, _Pull] = {}

    def __contains__(self, node: object) -> bool:
        return node in self._by_node

    def __len__(self) -> int:
        return len(self._by_node)

    def start(self, node: Address, number: int, waiting: int, expires_at: float) -> None:
        """So many hosts were asked for a node, under this number."""
        self._by_node[node] = _Pull(number, waiting, expires_at)

    def answered(self, number: int) -> Address | None:
        """One of them has answered; the node that it is about, None for what was not asked, or not any more."""
        for node, pull in self._by_node.items():
            if pull.number == number:
                pull.waiting -= 1
                return node
        return None

    def end(self, node: Address, *, enough: bool, now: float) -> bool:
        """Whether the question for a node is over: by its time, since all have answered, or since that is enough."""
        pull = self._by_node.get(node)
        if pull is None or not (enough or pull.waiting <= 0 or pull.expires_at <= now):
            return False
        del self._by_node[node]
        return True

    def expired(self, now: float) -> list[Address]:
        """Nodes for which nobody is waited any more."""
        return [node for node, pull in self._by_node.items() if pull.expires_at <= now]

    def next_deadline(self) -> float:
        """When to look at `expired`; `math.inf` for never."""
        return min((pull.expires_at for pull in self._by_node.values()), default=math.inf)
