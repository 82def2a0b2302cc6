"""Questions to neighbours for the hosts of silent nodes: one at a time for each node, whoever wants to know.

A host knows the neighbours of those nodes only that are its own. Of another one it asks the nearest that it knows;
their answers name nodes that are nearer, which are asked next, until one has just been told of the silent one's hosts.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.bounded import remember

ASKED_MAX: Final = 256
"Silent nodes of which it is remembered who was asked for them."
ASKED_S: Final = 20.0
"And so long: whoever has been told of its hosts meanwhile is asked again."


class _Pull:
    __slots__ = ("expires_at", "number", "waiting")

    def __init__(self, number: int, waiting: int, expires_at: float) -> None:
        self.number = number
        self.waiting = waiting
        self.expires_at = expires_at


class Pulls:
    """Which questions are open. There are no more of them than requests under way."""

    __slots__ = ("_asked", "_by_node")

    def __init__(self) -> None:
        self._by_node: dict[Address, _Pull] = {}
        self._asked: OrderedDict[Address, tuple[float, frozenset[int]]] = OrderedDict()

    def __contains__(self, node: object) -> bool:
        return node in self._by_node

    def __len__(self) -> int:
        return len(self._by_node)

    def next_to_ask(self, node: Address, nearest: Iterable[int], most: int, now: float) -> list[int]:
        """The first of these nodes that were not asked for the silent one lately; they count as asked."""
        at, asked = self._asked.get(node, (now, frozenset()))
        if now > at + ASKED_S:
            asked = frozenset()
        chosen = [node_id for node_id in nearest if node_id not in asked][:most]
        remember(self._asked, node, (now, asked | frozenset(chosen)), ASKED_MAX)
        return chosen

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
        return min(pull.expires_at for pull in self._by_node.values()) if self._by_node else math.inf
