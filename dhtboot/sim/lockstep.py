"""Six nodes in lockstep: how a hub and a chain of successor pointers dissolve (thesis section 2.4.3, figures 2.7, 2.8).

All nodes stabilise at the same moment and nothing else happens, so that one cycle is one step of the figure. The nodes
are the shipped ones, brought into the wrong shape by hand.
"""

from collections.abc import Mapping
from random import Random
from typing import Final

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.join import Phase
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Effect
from dhtboot.ids import ID_BITS, NodeRef
from dhtboot.sim.engine import DELAYS, Engine
from dhtboot.sim.kinds import message_kinds
from dhtboot.sim.topology import largest_ring

NODES: Final = 6
HUB: Final[Mapping[int, int]] = {1: 0, 2: 0, 3: 0, 4: 0, 5: 0}
"Figure 2.7: nodes 1 to 5 take node 0 for their successor; 5 is right."
CHAIN: Final[Mapping[int, int]] = {5: 4, 4: 3, 3: 2, 2: 1, 1: 0}
"Figure 2.8: each takes the node before it for its successor, all the way around the circle."
CYCLE_S: Final = 5.0
CONFIG: Final = msgspec.structs.replace(ChordConfig.thesis("standard"), fix_fingers_min_s=1e6, fix_fingers_max_s=1e6)
"Fingers change no successor in the standard protocol; without them a cycle shows nothing but STABILIZE and NOTIFY."


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """The pointers of all six nodes after so many cycles."""

    number: int
    "0 is the shape to begin with."
    successors: dict[int, int]
    "Of each node; itself for one that knows no other."
    predecessors: dict[int, int | None]
    ring: int
    "Nodes on the largest cycle of successor pointers."


def steps(shape: Mapping[int, int], cycles: int) -> tuple[Cycle, ...]:
    """Let six nodes stabilise so many times.

    Args:
        shape: whom each node takes for its successor at the beginning; one left out is alone.
        cycles: how often.
    """
    engine = Engine([50] * DELAYS, b"", message_kinds())
    nodes = [ChordNode(_ref(number).id, CONFIG, Random(number), 0.0) for number in range(NODES)]
    hosts = [engine.add(node, _ref(number).address, _ignore) for number, node in enumerate(nodes)]
    for number, node in enumerate(nodes):
        node.joining.phase = Phase.JOINED
        if number in shape:
            node.neighbours.enter(_ref(shape[number]), (), None, 0.0)
        node.on_joined(0.0)
    found = [_cycle(0, nodes)]
    for host in hosts:
        engine.perform(host, ())
    for number in range(1, cycles + 1):
        engine.run(number * CYCLE_S - 1.0)
        found.append(_cycle(number, nodes))
    return tuple(found)


def _cycle(number: int, nodes: list[ChordNode]) -> Cycle:
    numbers = {node.id: at for at, node in enumerate(nodes)}
    firsts = [node.neighbours.successors.first for node in nodes]
    befores = [node.neighbours.predecessor for node in nodes]
    successors = {at: at if first is None else numbers[first.id] for at, first in enumerate(firsts)}
    predecessors = {at: None if before is None else numbers[before.id] for at, before in enumerate(befores)}
    return Cycle(number=number, successors=successors, predecessors=predecessors, ring=largest_ring(successors))


def _ref(number: int) -> NodeRef:
    """Node `number`: evenly around the circle."""
    return NodeRef(number * ((1 << ID_BITS) // NODES), (f"10.0.0.{number}", 4000))


def _ignore(_effect: Effect, _now: float) -> None:
    """Nobody joins."""
