"""What the tables of a ring of Chord should be, as one knows who sees all of its nodes."""

from bisect import bisect_left
from collections.abc import Sequence

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.node import ChordNode
from dhtboot.chord.ring import clockwise
from dhtboot.ids import ID_BITS
from dhtboot.overlay import OverlayConfig, OverlayNode


def following(live: Sequence[int], key: int) -> int | None:
    """The first of these nodes, which are in ascending order, that is not before a key; None where there are none."""
    return live[bisect_left(live, key) % len(live)] if live else None


def wrong_tables(core: OverlayNode, live: Sequence[int], config: OverlayConfig) -> list[str]:
    """Which tables of one node are not what they should be, given those that live; of Kademlia this is not known."""
    if not isinstance(core, ChordNode) or not isinstance(config, ChordConfig):
        return ["overlay"]
    at = bisect_left(live, core.id)
    others = [*live[at + 1 :], *live[:at]]
    found = core.neighbours
    wrong = []
    if (None if found.predecessor is None else found.predecessor.id) != (others[-1] if others else None):
        wrong.append("predecessor")
    if [node.id for node in found.successors.nodes] != others[: config.successors]:
        wrong.append("successors")
    trivial = clockwise(core.id, others[0]).bit_length() if others else ID_BITS
    for index in range(ID_BITS):
        first = following(live, core.fingers.start(index))
        finger = core.fingers.get(index)
        if (None if finger is None else finger.id) != (None if index < trivial or first == core.id else first):
            return [*wrong, "fingers"]
    return wrong
