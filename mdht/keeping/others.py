"""The other nodes, as those need them that keep records: who is near a key, and what he answers."""

import heapq
from collections.abc import Callable
from typing import Any

from dhtboot.ids import NodeRef, id_from
from dhtboot.kademlia.search import OnAnswer
from dhtboot.overlay import OnLocated, locate, nearness
from dhtboot.rpc import OnReply, OnSilence, Then
from mdht.messages import Answer, Get, Note, Question
from mdht.subnet.face_asked import AskedBy
from mdht.subnet.face_packets import contacts_of
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_stage import Stage
from mdht.subnet.push import Peer


class Others:
    """Those that one host knows.

    Args:
        part: this host's part of its node.
        out: where effects go.
    """

    def __init__(self, part: NodePart, out: list[Any]) -> None:
        self._part = part
        self._out = out

    @property
    def me(self) -> int:
        """Identifier of this node."""
        return self._part.face.core.id

    @property
    def inside(self) -> bool:
        """Whether this host answers for its node."""
        return self._part.stage is Stage.IN

    @property
    def held_open(self) -> bool:
        """Whether others reach this host only where, and for as long as, it has talked to them."""
        return self._part.outside.unlisted

    @property
    def known(self) -> list[NodeRef]:
        """Nodes in the tables of this host."""
        return contacts_of(self._part.face.core)

    def founding(self, node: NodeRef) -> bytes | None:
        """The tag of a node, None where no host of it is known."""
        remote = self._part.face.nodes.get(node.address)
        return None if remote is None else remote.tag

    def nearness(self, key: bytes) -> Callable[[int], int]:
        """How far an identifier is from a key."""
        return nearness(self._part.face.core, id_from(key))

    def is_nearer(self, key: bytes, node_id: int) -> bool:
        """Whether another node is nearer to a key than this one."""
        far = self.nearness(key)
        return far(node_id) < far(self.me)

    def nearest(self, key: bytes, count: int) -> list[NodeRef]:
        """Of the known nodes those nearest to a key, nearest first, without this one."""
        far = self.nearness(key)
        return heapq.nsmallest(count, self.known, key=lambda node: far(node.id))

    def is_replica(self, key: bytes, count: int) -> bool:
        """Whether this node is, as far as it knows, one of so many nearest to a key; a client only if it is alone."""
        if self._part.step.client:
            return not self.known
        far = self.nearness(key)
        own = far(self.me)
        return sum(far(node.id) < own for node in self.known) < count

    def locate(
        self,
        key: bytes,
        width: int,
        now: float,
        on_located: OnLocated,
        question: Get | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        """Look for the nodes nearest to a key, this one among them; see `dhtboot.overlay.locate`."""
        locate(self._part.face.core, id_from(key), width, now, on_located, question, on_answer)
        self._out += self._part.collect(now)

    def ask(self, node: NodeRef, question: Question, now: float, *, on_reply: OnReply, on_fail: OnSilence) -> None:
        """Ask a node; one of the two is called, once."""
        self._out += self._part.face.ask(node, question, now, Then(on_reply, on_fail))

    def answer(self, asker: AskedBy, answer: Answer, now: float) -> None:
        """Answer what was asked."""
        self._out += self._part.face.answer(asker, answer, now)

    def tell(self, peer: Peer, note: Note, now: float) -> None:
        """Tell a host something, once, without guarantee."""
        self._out += self._part.face.note(peer, note, now)
