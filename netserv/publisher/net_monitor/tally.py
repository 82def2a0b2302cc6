"""What all nodes of a path have counted, and how fast it grows. No I/O."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from netserv.publisher.net_monitor.reports import COUNT_MAX, Report

FLOWS_MAX: Final = 10_000
"Pairs of source and destination that are kept; the one that was silent for longest goes for a new one."
SHOWN_MAX: Final = 500
"On the page, the busiest first."
TTLS_MAX: Final = 16
"Of one flow at one node: several mean other routes, or a forged source."

Pair: TypeAlias = tuple[str, str]


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """A node on the path, as it is shown."""

    position: int
    node: str
    address: str
    state: str
    "How it stands with the module there, in words."
    reports: bool
    "Whether its module is connected."
    packets: int
    per_second: float


class At(msgspec.Struct, frozen=True, kw_only=True):
    """A flow at a node."""

    node: str
    ttl: int
    packets: int
    per_second: float


class FlowSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, as it is shown."""

    source: str
    destination: str
    packets: int
    "At the node that has seen most of it."
    per_second: float
    at: tuple[At, ...]


class _Node:
    def __init__(self) -> None:
        self.packets = 0
        self.per_second = 0.0


class _Flow:
    def __init__(self) -> None:
        self.packets: Counter[tuple[str, int]] = Counter()
        "By node and TTL."
        self.per_second: dict[tuple[str, int], float] = {}


class Tally:
    """Adds up."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._flows: dict[Pair, _Flow] = {}
        "That which was seen last is the last one."

    def add(self, node: str, report: Report, interval_s: float) -> None:
        """Add what a node has counted in an interval."""
        of_node = self._nodes.setdefault(node, _Node())
        whole = report.others + sum(counted.packets for counted in report.flows)
        of_node.packets = min(of_node.packets + whole, COUNT_MAX)
        of_node.per_second = whole / interval_s
        self._rest(node)
        for counted in report.flows:
            pair = counted.source, counted.destination
            flow = self._flows.pop(pair, None) or _Flow()
            while len(self._flows) >= FLOWS_MAX:
                del self._flows[next(iter(self._flows))]
            self._flows[pair] = flow
            place = node, counted.ttl
            if place not in flow.packets and sum(each == node for each, _ in flow.packets) >= TTLS_MAX:
                continue
            flow.packets[place] = min(flow.packets[place] + counted.packets, COUNT_MAX)
            flow.per_second[place] = flow.per_second.get(place, 0.0) + counted.packets / interval_s

    def left(self, node: str) -> None:
        """A node reports no more: what it has counted stays, and does not grow."""
        if node in self._nodes:
            self._nodes[node].per_second = 0.0
            self._rest(node)

    def counted_at(self, node: str) -> tuple[int, float]:
        """Packets at a node, and packets a second."""
        found = self._nodes.get(node)
        return (0, 0.0) if found is None else (found.packets, round(found.per_second, 1))

    def flows(self) -> Iterable[FlowSeen]:
        """The busiest flows."""
        seen = [_seen(pair, flow) for pair, flow in self._flows.items()]
        seen.sort(key=lambda one: (one.per_second, one.packets), reverse=True)
        return seen[:SHOWN_MAX]

    def _rest(self, node: str) -> None:
        for flow in self._flows.values():
            for place in [place for place in flow.per_second if place[0] == node]:
                del flow.per_second[place]


def _seen(pair: Pair, flow: _Flow) -> FlowSeen:
    at = tuple(
        At(node=node, ttl=ttl, packets=packets, per_second=round(flow.per_second.get((node, ttl), 0.0), 1))
        for (node, ttl), packets in sorted(flow.packets.items())
    )
    packets: Counter[str] = Counter()
    rates: dict[str, float] = {}
    for one in at:
        packets[one.node] += one.packets
        rates[one.node] = rates.get(one.node, 0.0) + one.per_second
    return FlowSeen(
        source=pair[0],
        destination=pair[1],
        packets=max(packets.values(), default=0),
        per_second=max(rates.values(), default=0.0),
        at=at,
    )
