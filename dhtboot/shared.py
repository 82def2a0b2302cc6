"""One overlay node that several hosts stand for: each has a core of it, and these keep the cores alike.

One of the hosts finds out what has changed around the node and tells the others, which follow; and one at a time looks
after the neighbours (`maintain`), so the settings of such a core have its own rounds never come.
"""

import math
from collections.abc import Collection, Sequence

import msgspec

from dhtboot.chord.config import ChordConfig
from dhtboot.chord.node import ChordNode
from dhtboot.effects import Effect
from dhtboot.ids import NodeRef
from dhtboot.overlay import OverlayConfig, OverlayNode


def without_rounds(config: OverlayConfig) -> OverlayConfig:
    """The settings of a core whose rounds come from outside; it still reacts at once to what it finds dead."""
    if isinstance(config, ChordConfig):
        return msgspec.structs.replace(config, stabilize_min_s=math.inf, stabilize_max_s=math.inf)
    return msgspec.structs.replace(config, sibling_check_s=math.inf, contact_check_s=math.inf)


def round_s(config: OverlayConfig) -> float:
    """The period of the rounds that `without_rounds` takes away."""
    return config.stabilize_max_s if isinstance(config, ChordConfig) else config.sibling_check_s


def neighbours(core: OverlayNode, most: int) -> list[NodeRef]:
    """Whom all hosts of the node should agree on.

    Chord: the predecessor, this node itself where it is unknown, and the successors; Kademlia: the closest nodes.
    """
    if not isinstance(core, ChordNode):
        return core.neighbours[:most]
    predecessor = core.neighbours.predecessor
    successors = core.neighbours.successors.nodes
    if predecessor is None and not successors:
        return []
    return [predecessor or NodeRef(core.id, ("", 0)), *successors][:most]


def predecessor(core: OverlayNode) -> NodeRef | None:
    """The node before this one on the circle; None where there is no circle, or it is unknown."""
    return core.neighbours.predecessor if isinstance(core, ChordNode) else None


def follow(core: OverlayNode, found: Sequence[NodeRef], known: Collection[NodeRef], now: float) -> list[Effect]:
    """Be part of the overlay between these neighbours, since another host of this node is.

    Args:
        core: of this host.
        found: neighbours as the other host has them, from `neighbours`.
        known: what else it has in its tables, for a host that begins.
        now: the time.

    Returns:
        What the core wants done; nothing is asked of other nodes because of this alone.
    """
    if isinstance(core, ChordNode):
        predecessor = found[0] if found and found[0].id != core.id else None
        successors = found[1:]
        begins = not core.joined
        core.neighbours.follow(predecessor, successors, now)
        core.joining.follow(now)
        if begins and successors:
            core.fingers.fill(successors[0], (*successors, *known))
    else:
        core.siblings.follow(found)
        for node in (*found, *known):
            core.table.add(node, now)
        core.note_outside()
        core.joining.follow(now)
    core.set_timers()
    return core.collect()


def late(core: OverlayNode, request_id: int, now: float) -> list[Effect]:
    """The response to a request takes longer than it should: whoever waits for it may ask somebody else meanwhile."""
    pending = core.rpc.get(request_id)
    if pending is not None and pending.hedged:
        pending.asker.on_late(pending.node, now)
        core.set_timers()
    return core.collect()


def give_up(core: OverlayNode, request_id: int, now: float) -> list[Effect]:
    """A request will not be answered, as whoever carries it has found out before the core's own time is over."""
    pending = core.rpc.close(request_id)
    if pending is not None:
        core.on_unanswered(pending, now)
        core.set_timers()
    return core.collect()


def silent(core: OverlayNode, node: NodeRef, now: float) -> list[Effect]:
    """A node has not answered what was asked beside the core."""
    core.on_dead(node, now)
    core.set_timers()
    return core.collect()


def abandon(core: OverlayNode, now: float) -> None:
    """Another core takes the place of this one: whoever waits for an answer hears that there is none, till all know."""
    while (pending := core.rpc.close_any()) is not None:
        pending.asker.on_fail(pending.node, now)


def maintain(core: OverlayNode, now: float) -> list[Effect]:
    """One round of what looks after the neighbours."""
    if isinstance(core, ChordNode):
        # What the predecessor asks reaches any host, so this one cannot know whether it has been heard.
        core.neighbours.doubt()
        core.neighbours.tick(now)
    else:
        core.upkeep.maintain(now)
    core.set_timers()
    return core.collect()
