"""Carries pushes to other nodes: to one host of each, to another if it is silent, and on around the ring (section 5).

In Chord a node stands in the successor lists of the eight nodes before it, and knows one of them. Whoever hears a push
answers with the node before its own, which is told next; the next time all of them are told at once.
"""

import math
from random import Random
from typing import Final

import msgspec

from dhtboot.chord.ring import clockwise
from dhtboot.effects import Send
from dhtboot.ids import id_from
from mdht.subnet.face import Face
from mdht.subnet.face_messages import HostsHeard
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.messages import Reason
from mdht.subnet.push import Peer, Push

DEPTH: Final = 8
"Nodes before this one: as many as a successor list is long."
ANSWER_S: Final = 0.5
TRIES_MAX: Final = 3
"Hosts of one node that are tried."
UNDER_WAY_MAX: Final = 256


class Before:
    """The nodes before this one on the circle, nearest first, as they were found last.

    Args:
        me: identifier of this node.
    """

    def __init__(self, me: int) -> None:
        self._me = me
        self._nodes: list[int] = []
        self._told: set[int] = set()

    def begin(self, predecessor: int) -> list[int]:
        """Those to be told at once; the nearest is known."""
        self._nodes = [predecessor, *self._beyond(predecessor)][:DEPTH]
        self._told = set(self._nodes)
        return list(self._nodes)

    def heard(self, node: int, before: int) -> int | None:
        """A node names the one before it; whom to tell next because of that, None for nobody."""
        if node not in self._nodes:
            return None
        nearer = self._nodes[: self._nodes.index(node) + 1]
        if self._distance(before) <= self._distance(node):  # all the way around
            self._nodes = nearer
            return None
        self._nodes = [*nearer, before, *self._beyond(before)][:DEPTH]
        if before not in self._nodes or before in self._told:
            return None
        self._told.add(before)
        return before

    def _beyond(self, node: int) -> list[int]:
        return [each for each in self._nodes if self._distance(each) > self._distance(node)]

    def _distance(self, node: int) -> int:
        """How far back on the circle."""
        return clockwise(node, self._me)


class _Waiting(msgspec.Struct, frozen=True):
    node_id: int
    tried: tuple[bytes, ...]
    reason: Reason
    expires_at: float


class Pushing:
    """One host's part.

    Args:
        face: sends, and knows hosts of other nodes.
        rng: chooses hosts.
    """

    def __init__(self, face: Face, rng: Random) -> None:
        self._face = face
        self._rng = rng
        self._before = Before(face.core.id)
        self._waiting: dict[int, _Waiting] = {}
        self._reason = Reason.JOIN

    def nodes_before(self, predecessor: int) -> list[int]:
        """Whom a push that begins is to tell at once, the predecessor first."""
        return self._before.begin(predecessor)

    def tell(self, push: Push, now: float) -> list[Send]:
        """Tell one host."""
        self._reason = push.reason
        return self._send(push.peer, (), push.reason, now)

    def heard(self, answer: HostsHeard, node_id: int, now: float) -> list[Send]:
        """A host has heard a push, and names the node before its own."""
        waiting = self._waiting.get(answer.number)
        if waiting is None or waiting.node_id != node_id:
            return []
        del self._waiting[answer.number]
        following = None if answer.before is None else self._before.heard(node_id, id_from(answer.before))
        return [] if following is None else self._tell(following, (), self._reason, now)

    def tick(self, now: float) -> list[Send]:
        """Try another host where one was silent."""
        sent: list[Send] = []
        for number in [number for number, one in self._waiting.items() if one.expires_at <= now]:
            waiting = self._waiting.pop(number)
            remote = self._face.nodes.get(pseudo_address(waiting.node_id))
            if remote is not None:
                remote.silent(waiting.tried[-1], waiting.expires_at - ANSWER_S, now)
            if len(waiting.tried) < TRIES_MAX:
                sent += self._tell(waiting.node_id, waiting.tried, waiting.reason, now)
        return sent

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(waiting.expires_at for waiting in self._waiting.values()) if self._waiting else math.inf

    def _tell(self, node_id: int, tried: tuple[bytes, ...], reason: Reason, now: float) -> list[Send]:
        peers = [peer for peer in self._face.nodes.hosts_of(node_id) if peer.hid not in tried]
        return self._send(self._rng.choice(peers), tried, reason, now) if peers else []

    def _send(self, peer: Peer, tried: tuple[bytes, ...], reason: Reason, now: float) -> list[Send]:
        if len(self._waiting) >= UNDER_WAY_MAX:
            return []
        number = self._rng.getrandbits(64)
        self._waiting[number] = _Waiting(peer.node_id, (*tried, peer.hid), reason, now + ANSWER_S)
        return self._face.push(peer, number, reason, now)
