"""What a node does for its own user: put and get, as steps over the overlay without I/O.

Each operation is one small object that lives until it has called `on_done`. Listening is in `watch.py`.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from dhtboot.ids import Address, NodeRef, id_from
from dhtboot.kademlia.messages import Busy
from dhtboot.kademlia.search import Wish
from dhtboot.lookup import LookupResult
from mdht.errors import RefusalCode
from mdht.messages import Get, Got, Put, Stored
from mdht.records import Copy, digest, life_s, merge
from mdht.store import StoreNode, refusal

PAGES_MAX: Final = 2048
"Pages taken from one holder: above 1,000 records of a page each, so that a lying holder cannot keep us for ever."


class PutOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a put went, at the moment of its acknowledgement."""

    stored: tuple[NodeRef, ...]
    "Nodes that confirmed; this one has address ('', 0)."
    refused: tuple[tuple[Address, RefusalCode], ...]
    unanswered: int


class PutRun:
    """Stores one copy at the nodes closest to its key.

    Args:
        node: the store node.
        copy: what to store.
        acks: confirmations wanted before `on_done`; the replicas still asked then go on being asked.
        on_done: called once.
    """

    def __init__(self, node: StoreNode, copy: Copy, *, acks: int, on_done: Callable[[PutOutcome, float], None]) -> None:
        self._node = node
        self._copy = copy
        self._acks = acks
        self._on_done: Callable[[PutOutcome, float], None] | None = on_done
        self._stored: list[NodeRef] = []
        self._refused: list[tuple[Address, RefusalCode]] = []
        self._unanswered = 0
        self._under_way = 0
        self._spare: list[NodeRef] = []

    def start(self, now: float) -> None:
        """Find the closest nodes, then store."""
        target = id_from(self._copy.record.key)
        self._node.overlay.lookup(target, now, on_done=self._found, width=self._node.config.locate_width)

    def _found(self, result: LookupResult, now: float) -> None:
        replicas = self._node.config.replicas
        target = id_from(self._copy.record.key)
        closer = sum(node.id ^ target < self._node.overlay.id ^ target for node in result.closest[:replicas])
        if closer < replicas:
            outcome = self._node.store(self._copy, "", now)
            if outcome.refusal is None:
                self._stored.append(NodeRef(self._node.overlay.id, ("", 0)))
                replicas -= 1
            else:
                self._refused.append((("", 0), outcome.refusal))
        self._spare = list(reversed(result.closest[replicas:]))
        for node in result.closest[:replicas]:
            self._send(node, now)
        self._check(now)

    def _send(self, node: NodeRef, now: float) -> None:
        self._under_way += 1
        self._node.overlay.ask(node, Put((self._copy,)), now, on_reply=self._on_reply, on_fail=self._on_fail)

    def _on_reply(self, node: NodeRef, answer: Any, now: float) -> None:
        self._under_way -= 1
        if isinstance(answer, Stored) and len(answer.codes) == 1:
            if answer.codes[0] == 0:
                self._stored.append(node)
            else:
                self._refused.append((node.address, refusal(answer.codes[0])))
        elif isinstance(answer, Busy):
            self._refused.append((node.address, RefusalCode.BUSY))
        else:
            self._unanswered += 1  # an answer of another kind is no answer
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
        on_done, self._on_done = self._on_done, None
        outcome = PutOutcome(
            stored=tuple(self._stored),
            refused=tuple(self._refused),
            unanswered=self._unanswered,
        )
        on_done(outcome, now)


class GetOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    copies: tuple[Copy, ...]
    "Merged over all holders that answered; tombstones included."
    lookup: LookupResult
    holders: tuple[Address, ...]
    "Nodes that held something; this one has address ('', 0)."


class GetRun:
    """Collects what the nodes closest to a key hold.

    It is complete when `read_quorum` holders agree (by set digest) and their set has arrived; while they differ, all
    replicas are asked and what they hold is merged.

    Args:
        node: the store node.
        key: 20 bytes.
        on_copy: called with every verified copy that is new or changes what was known so far.
        on_done: called once.
    """

    def __init__(
        self,
        node: StoreNode,
        key: bytes,
        *,
        on_copy: Callable[[Copy, float], None] | None,
        on_done: Callable[[GetOutcome, float], None],
    ) -> None:
        self._node = node
        self._key = key
        self._on_copy = on_copy
        self._on_done: Callable[[GetOutcome, float], None] | None = on_done
        self._merged: dict[tuple[bytes, bytes], Copy] = {}
        self._digest = 0
        self._agreeing: dict[int, int] = {}
        self._holders: list[Address] = []
        self._fetches: set[int] = set()
        self._lookup: LookupResult | None = None

    def start(self, now: float) -> None:
        """Take what is held here, then ask on the way to the key."""
        node = self._node
        own = node.table.get(self._key, now)
        if own:
            self._take(own, now)
            if node.is_replica(self._key):
                self._holders.append(("", 0))
                self._agreeing[node.table.digest(self._key)] = 1
        node.overlay.lookup(
            id_from(self._key),
            now,
            on_done=self._on_lookup_done,
            width=node.config.replicas,
            question=Get(self._key),
            on_answer=self._on_answer,
        )

    def _on_answer(self, holder: NodeRef, answer: Any, now: float) -> Wish:
        if not isinstance(answer, Got) or not answer.count:
            return Wish.ALL  # a late contact may be the one that holds something
        self._holders.append(holder.address)
        self._take(answer.copies, now)
        self._agreeing[answer.digest] = agreeing = self._agreeing.get(answer.digest, 0) + 1
        missing = answer.count > len(answer.copies)
        if missing and self._digest != answer.digest and answer.digest not in self._fetches:
            self._fetches.add(answer.digest)
            fetch = PageFetch(
                self._node, holder, self._key, len(answer.copies), on_page=self._take, on_done=self._on_fetched
            )
            fetch.start(now, answer.digest)
        return Wish.ENOUGH if agreeing >= self._node.config.read_quorum else Wish.PROMPT

    def _take(self, copies: list[Copy] | tuple[Copy, ...], now: float) -> None:
        for copy in copies:
            record = copy.record
            slot = record.writer, record.name
            known = self._merged.get(slot)
            if known is not None and known.record == record:
                self._merged[slot] = merge(known, copy)
                continue
            if record.key != self._key or not copy.remaining_s > 0 or not self._node.verify(record):
                self._node.counters["refused_copies"] += 1
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
        self._finish(now)

    def _on_lookup_done(self, result: LookupResult, now: float) -> None:
        self._lookup = result
        self._finish(now)

    def _finish(self, now: float) -> None:
        if self._lookup is None or self._fetches or self._on_done is None:
            return
        on_done, self._on_done = self._on_done, None
        on_done(
            GetOutcome(
                copies=tuple(self._merged.values()),
                lookup=self._lookup,
                holders=tuple(self._holders),
            ),
            now,
        )


class PageFetch:
    """Takes all pages of a key from one holder, in order."""

    def __init__(
        self,
        node: StoreNode,
        holder: NodeRef,
        key: bytes,
        offset: int,
        *,
        on_page: Callable[[tuple[Copy, ...], float], None],
        on_done: Callable[[int, float], None],
    ) -> None:
        self._node = node
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
        self._node.overlay.ask(self._holder, question, now, on_reply=self._on_reply, on_fail=self._on_fail)

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
