"""One put: a copy goes to the nodes nearest to its key."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from dhtboot.ids import NodeRef
from dhtboot.overlay import Located
from mdht.errors import RefusalCode
from mdht.keeping.keeper_base import Base
from mdht.messages import Put, Stored
from mdht.records import Copy


class PutOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a put went, at the moment of its acknowledgement."""

    stored: tuple[NodeRef, ...]
    "Nodes that confirmed; this one has address ('', 0)."
    refused: tuple[tuple[NodeRef, RefusalCode], ...]
    unanswered: int


class PutRun:
    """Stores one copy at the nodes nearest to its key.

    Args:
        base: this node and the others.
        copy: what to store.
        acks: confirmations wanted before `on_done`; the nodes still asked then go on being asked.
        on_done: called once.
    """

    def __init__(self, base: Base, copy: Copy, *, acks: int, on_done: Callable[[PutOutcome, float], None]) -> None:
        self._base = base
        self._copy = copy
        self._acks = acks
        self._on_done: Callable[[PutOutcome, float], None] | None = on_done
        self._stored: list[NodeRef] = []
        self._refused: list[tuple[NodeRef, RefusalCode]] = []
        self._unanswered = 0
        self._under_way = 0
        self._spare: list[NodeRef] = []

    def start(self, now: float) -> None:
        """Find the nearest nodes, then store."""
        self._base.caches.seen(self._copy.record, now)
        self._base.others.locate(self._copy.record.key, self._base.config.locate_width, now, self._on_located)

    def _on_located(self, found: Located, now: float) -> None:
        replicas = self._base.config.replicas
        self._spare = list(reversed(found.nodes[replicas:]))
        self._under_way += 1  # until all are asked: an answer may come at once
        for node in found.nodes[:replicas]:
            self._send(node, now)
        self._under_way -= 1
        self._check(now)

    def _send(self, node: NodeRef, now: float) -> None:
        self._under_way += 1
        if node.id == self._base.others.me:
            self._base.store_copy(self._copy, now, partial(self._note, node))
        else:
            self._base.others.ask(node, Put((self._copy,)), now, on_reply=self._on_reply, on_fail=self._on_fail)

    def _on_reply(self, node: NodeRef, answer: Any, now: float) -> None:
        if not isinstance(answer, Stored) or len(answer.codes) != 1:
            self._on_fail(node, now)  # an answer of another kind is no answer
        else:
            self._note(node, refusal_of(answer.codes[0]), now)

    def _note(self, node: NodeRef, refusal: RefusalCode | None, now: float) -> None:
        self._under_way -= 1
        if refusal is None:
            self._stored.append(node)
        else:
            self._refused.append((node, refusal))
        self._check(now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self._under_way -= 1
        self._unanswered += 1
        if self._spare:
            self._send(self._spare.pop(), now)
        self._check(now)

    def _check(self, now: float) -> None:
        if self._on_done is None or (self._under_way and len(self._stored) < self._acks):
            return
        self._base.caches.seen(self._copy.record, now)  # again: some nodes may have answered from before until now
        on_done, self._on_done = self._on_done, None
        on_done(PutOutcome(stored=tuple(self._stored), refused=tuple(self._refused), unanswered=self._unanswered), now)


def refusal_of(code: int) -> RefusalCode | None:
    """The refusal behind a number of the wire, None for none; numbers of later versions count as malformed."""
    if not code:
        return None
    try:
        return RefusalCode(code)
    except ValueError:
        return RefusalCode.MALFORMED
