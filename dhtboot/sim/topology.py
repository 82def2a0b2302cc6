"""The shape of a ring: snapshots, and what must hold in every node at every moment."""

from collections.abc import Mapping
from typing import Any

from dhtboot.chord.join import Phase
from dhtboot.chord.node import ChordNode
from dhtboot.chord.ring import clockwise
from dhtboot.overlay import OverlayNode
from dhtboot.sim.config import Scenario
from dhtboot.sim.result import Snapshot


def snapshot(nodes: Mapping[int, Any], now: float) -> Snapshot:
    """The successor pointers of all Chord nodes that have joined.

    Args:
        nodes: living nodes by the number of their arrival; those of other protocols are left out.
        now: virtual time.
    """
    joined = {
        number: node
        for number, node in nodes.items()
        if isinstance(node, ChordNode) and node.joining.phase is Phase.JOINED
    }
    numbers = tuple(sorted(joined, key=lambda number: joined[number].id))
    by_id = {node.id: number for number, node in joined.items()}
    successors = tuple(_successor(joined[number], number, by_id) for number in numbers)
    return Snapshot(
        at_s=now, numbers=numbers, successors=successors, ring=largest_ring(dict(zip(numbers, successors, strict=True)))
    )


def _successor(node: ChordNode, number: int, by_id: Mapping[int, int]) -> int:
    first = node.neighbours.successors.first
    return number if first is None else by_id.get(first.id, number)  # a dead one leads nowhere


def largest_ring(successors: Mapping[int, int]) -> int:
    """Nodes on the largest cycle of successor pointers."""
    largest = 0
    seen: dict[int, int] = {}
    for start in successors:
        path: list[int] = []
        number = start
        while number not in seen:
            seen[number] = start
            path.append(number)
            number = successors[number]
        if seen[number] == start and number in path:
            largest = max(largest, len(path) - path.index(number))
    return largest


def check_node(node: OverlayNode, scenario: Scenario, now: float) -> None:
    """Look at what holds in a node at every moment.

    Raises:
        AssertionError: it does not; the text names seed and time.
    """
    problem = _chord_problem(node, scenario) if isinstance(node, ChordNode) else _kademlia_problem(node, scenario)
    if problem:
        raise AssertionError(f"{problem} in node {node.id:040x} at {now:.3f} s of seed {scenario.seed}")


def _chord_problem(node: ChordNode, scenario: Scenario) -> str:
    successors = node.neighbours.successors.nodes
    distances = [clockwise(node.id, successor.id) for successor in successors]
    if distances != sorted(set(distances)) or 0 in distances:
        return "successors out of order, twice, or itself among them"
    if len(successors) > scenario.chord.successors:
        return f"{len(successors)} successors"
    if node.neighbours.predecessor is not None and node.neighbours.predecessor.id == node.id:
        return "itself as predecessor"
    if node.neighbours.predecessor is not None and not successors:
        return "a predecessor, but no successor"
    return ""


def _kademlia_problem(node: Any, scenario: Scenario) -> str:
    contacts = list(node.table)
    if len({contact.id for contact in contacts}) != len(contacts):
        return "a contact twice in the table"
    if any(contact.id == node.id for contact in contacts):
        return "itself in the table"
    distances = [sibling.id ^ node.id for sibling in node.neighbours]
    if distances != sorted(set(distances)) or len(distances) > scenario.kademlia.siblings:
        return "siblings out of order or too many"
    return ""
