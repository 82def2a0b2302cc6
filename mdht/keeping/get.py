"""One get: what the nodes nearest to a key hold, merged."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from dhtboot.ids import NodeRef
from dhtboot.kademlia.search import Wish
from dhtboot.overlay import Located
from mdht.keeping.keeper_base import Base
from mdht.keeping.shelf import Held
from mdht.messages import Get, Got
from mdht.records import Copy, digest, life_s, merge

PAGES_MAX: Final = 2048
"Pages taken from one node: above 1,000 records of a page each, so that a lying one cannot keep us for ever."


class GetOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    copies: tuple[Copy, ...]
    "Merged over all nodes that answered; tombstones included."
    located: Located
    holders: tuple[NodeRef, ...]
    "Nodes that held something; this one has address ('', 0)."
    cached: bool = False
    "It comes from a cache of this link, and nobody was located or held something."


class GetRun:
    """Collects what the nodes nearest to a key hold.

    The question rides on the lookup, where the overlay's protocol can carry it; who is found and has not answered that
    is asked himself. The get is complete when `read_quorum` of them agree (by set digest) and their set has arrived;
    while they differ, or are silent, all replicas are asked and what they hold is merged.

    Args:
        base: this node and the others.
        key: 20 bytes.
        on_copy: called with every verified copy that is new or changes what was known so far.
        on_done: called once.
    """

    def __init__(
        self,
        base: Base,
        key: bytes,
        *,
        on_copy: Callable[[Copy, float], None] | None,
        on_done: Callable[[GetOutcome, float], None],
    ) -> None:
        self._base = base
        self._key = key
        self._on_copy = on_copy
        self._on_done: Callable[[GetOutcome, float], None] | None = on_done
        self._merged: dict[tuple[bytes, bytes], Copy] = {}
        self._digest = 0
        self._digests: set[int] = set()
        self._holders: list[NodeRef] = []
        self._fetches: set[int] = set()
        self._under_way = 0
        self._replicas: list[NodeRef] = []
        self._spare: list[NodeRef] = []
        self._told: dict[int, Got] = {}
        "What has ridden on the lookup."
        self._located = Located((), 0)

    def start(self, now: float) -> None:
        """Find the nearest nodes, and ask them."""
        width, question = self._base.config.locate_width, Get(self._key)
        self._base.others.locate(self._key, width, now, self._on_located, question, self._on_riding)

    def _on_riding(self, node: NodeRef, answer: Got, now: float) -> Wish:
        self._told[node.id] = answer
        self._take(answer.copies, now)
        return Wish.PROMPT

    def _on_located(self, found: Located, now: float) -> None:
        config = self._base.config
        self._located = found
        replicas = list(found.nodes[: config.replicas])
        self._spare = list(reversed(found.nodes[config.replicas :]))
        self._replicas = replicas[config.read_quorum :]
        self._under_way += 1
        for node in replicas[: config.read_quorum]:
            self._ask(node, now)
        self._under_way -= 1
        self._check(now)

    def _ask(self, node: NodeRef, now: float) -> None:
        self._under_way += 1
        told = self._told.pop(node.id, None)
        if told is not None:
            self._on_reply(node, told, now)
        elif node.id == self._base.others.me:
            self._base.shelf.get(self._key, now, partial(self._on_own, node))
        else:
            self._base.others.ask(node, Get(self._key), now, on_reply=self._on_reply, on_fail=self._on_fail)

    def _on_own(self, node: NodeRef, held: Held, now: float) -> None:
        count = len(held.copies)
        self._on_reply(node, Got(held.copies, count, held.digest, held.partial and not count), now)

    def _on_reply(self, node: NodeRef, answer: Any, now: float) -> None:
        if not isinstance(answer, Got) or answer.partial:
            self._on_fail(node, now)
            return
        self._under_way -= 1
        if answer.count:
            self._holders.append(node)
        self._take(answer.copies, now)
        self._digests.add(answer.digest)
        missing = answer.count > len(answer.copies) > 0
        if missing and self._digest != answer.digest and answer.digest not in self._fetches:
            self._fetches.add(answer.digest)
            fetch = PageFetch(
                self._base, node, self._key, len(answer.copies), on_page=self._take, on_done=self._on_fetched
            )
            fetch.start(now, answer.digest)
        self._check(now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self._under_way -= 1
        if self._replicas or self._spare:
            self._ask(self._replicas.pop(0) if self._replicas else self._spare.pop(), now)
        self._check(now)

    def _take(self, copies: tuple[Copy, ...], now: float) -> None:
        for copy in copies:
            record = copy.record
            slot = record.slot
            known = self._merged.get(slot)
            if known is not None and known.record == record:
                self._merged[slot] = merge(known, copy)
                continue
            if record.key != self._key or not copy.remaining_s > 0 or not self._base.verify(record):
                self._base.counters["refused_copies"] += 1
                continue
            copy = Copy(record, min(copy.remaining_s, life_s(record)))  # noqa: PLW2901 - no holder extends a life
            best = copy if known is None else merge(known, copy)
            if known is not None:
                self._digest ^= digest(known.record)
            self._digest ^= digest(best.record)
            self._merged[slot] = best
            if best is copy and self._on_copy is not None:
                self._on_copy(best, now)

    def _on_fetched(self, digest_wanted: int, now: float) -> None:
        self._fetches.discard(digest_wanted)
        self._check(now)

    def _check(self, now: float) -> None:
        if self._on_done is None or self._under_way:
            return
        if self._replicas and (len(self._digests) > 1 or 0 in self._digests):
            # They differ, or hold nothing, as those that have come just now do: all are asked, once.
            rest, self._replicas = self._replicas, []
            self._under_way += 1
            for node in rest:
                self._ask(node, now)
            self._under_way -= 1
            self._check(now)
            return
        if self._fetches:
            return
        on_done, self._on_done = self._on_done, None
        on_done(
            GetOutcome(copies=tuple(self._merged.values()), located=self._located, holders=tuple(self._holders)), now
        )


class PageFetch:
    """Takes all further pages of a key from one node, in order."""

    def __init__(
        self,
        base: Base,
        holder: NodeRef,
        key: bytes,
        offset: int,
        *,
        on_page: Callable[[tuple[Copy, ...], float], None],
        on_done: Callable[[int, float], None],
    ) -> None:
        self._base = base
        self._holder = holder
        self._key = key
        self._offset = offset
        self._on_page = on_page
        self._on_done = on_done
        self._pages = 0
        self._token = 0

    def start(self, now: float, token: int) -> None:
        """Begin; `token` comes back with `on_done`."""
        self._token = token
        self._next(now)

    def _next(self, now: float) -> None:
        self._pages += 1
        question = Get(self._key, self._offset)
        self._base.others.ask(self._holder, question, now, on_reply=self._on_reply, on_fail=self._on_fail)

    def _on_reply(self, _node: NodeRef, answer: Any, now: float) -> None:
        if not isinstance(answer, Got) or not answer.copies:
            self._on_done(self._token, now)
            return
        self._on_page(answer.copies, now)
        self._offset += len(answer.copies)
        if self._offset >= answer.count or self._pages >= PAGES_MAX:
            self._on_done(self._token, now)
        else:
            self._next(now)

    def _on_fail(self, _node: NodeRef, now: float) -> None:
        self._on_done(self._token, now)
