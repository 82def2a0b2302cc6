"""A running node of the record store: the Python API of `mdht` on trio.

async with open_mdht(MdhtConfig(), writer) as node:
    await node.put(key, b"value", ttl_s=300)
    found = await node.get(key)
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import msgspec
import trio

from dhtboot.ids import id_bytes
from dhtboot.overlay import Located
from mdht import chunks
from mdht.errors import MdhtError, MissingChunkError, RefusalCode, RemoteProtocolError
from mdht.host_status import name_of, status_of
from mdht.keeping.cached_get import CachedGet
from mdht.keeping.get import GetOutcome, GetRun
from mdht.keeping.keeper import Keeper
from mdht.keeping.put import PutOutcome, PutRun
from mdht.keeping.watch import Watch
from mdht.link_running import RunningHost
from mdht.pending_changes import PendingChanges
from mdht.records import LEASE_MAX_S, Copy, Record, life_s
from mdht.results import Change, Explanation, Found, Hop, Receipt, Refusal, Status
from mdht.signing import SigningKey

log = logging.getLogger(__name__)

CHUNKS_AT_ONCE: Final = 8
"Chunks of one value put or fetched side by side."
LEASES_KEPT: Final = 10_000
"Own records whose lease is remembered for their removal; one forgotten costs a look-up."
CHANGES_BUFFERED: Final = 64
"Changes handed to a slow reader before further ones of a slot are merged."

T = TypeVar("T")


class Mdht:
    """One node, as its user sees it. Made by `mdht.node.open_mdht`.

    Args:
        hosts: this host on each of its links, with what carries it over its sockets; what is put and got goes by the
            first, as they are of one overlay.
        writer: signs what is put here.
    """

    def __init__(self, hosts: Sequence[RunningHost], writer: SigningKey) -> None:
        self._hosts = tuple(hosts)
        self._host = self._hosts[0]
        self._writer = writer
        self._last_seq = 0
        self._leases: OrderedDict[tuple[bytes, bytes], int] = OrderedDict()
        self._started_at = trio.current_time()

    @property
    def host(self) -> RunningHost:
        """This host, on the first of its links."""
        return self._host

    @property
    def hosts(self) -> tuple[RunningHost, ...]:
        """This host on each of its links."""
        return self._hosts

    # ---- records -------------------------------------------------------------------------------------------------

    async def put(
        self, key: bytes, value: bytes, *, ttl_s: float, name: bytes = b"", acks: int | None = None
    ) -> Receipt:
        """Write or replace this writer's record of that name under a key.

        Args:
            key: 20 bytes.
            value: up to 16 KiB.
            ttl_s: seconds until the record ends unless it is put again; 1 s to 7 days.
            name: sub-name of up to 64 bytes, for several records of one writer under one key.
            acks: confirmations to wait for; 2 by default, or all nodes if there are fewer.

        Raises:
            LocalProtocolError: a size or lifetime is out of bounds.
        """
        head, parts = chunks.split(value)
        keys = chunks.chunk_keys(head)
        lease_s = math.ceil(ttl_s)

        async def put_part(chunk_key: bytes, part: bytes) -> None:
            await self._put_record(chunk_key, b"", part, lease_s=lease_s, deleted=False, acks=acks)

        await _side_by_side([_bind(put_part, each, part) for each, part in zip(keys, parts, strict=True)])
        self._leases[key, name] = lease_s
        if len(self._leases) > LEASES_KEPT:
            self._leases.popitem(last=False)
        return await self._put_record(key, name, head, lease_s=lease_s, deleted=False, acks=acks)

    async def remove(self, key: bytes, name: bytes = b"") -> Receipt:
        """Remove this writer's record of that name; a tombstone keeps late copies from bringing it back.

        The tombstone lasts as long as the longest lease that such a copy can have: that of the last put of this
        process, or what the nodes hold, or the longest of all when neither is known.

        Args:
            key: 20 bytes.
            name: sub-name.
        """
        lease_s = self._leases.pop((key, name), 0)
        if not lease_s:
            held = await self._get(key, fresh=True)
            leases = (c.record.lease_s for c in held.copies if c.record.slot == self._slot(name))
            lease_s = max(leases, default=LEASE_MAX_S)
        return await self._put_record(key, name, b"", lease_s=lease_s, deleted=True, acks=None)

    async def get(self, key: bytes, *, fresh: bool = False) -> list[Found]:
        """Return all live records under a key, signatures verified, chunks joined.

        Anybody may write under a key, so a record that is not whole (a chunk is gone, or its bytes are none of ours)
        is left out, logged and counted; it must not keep the others from their readers.

        Args:
            key: 20 bytes.
            fresh: ask the nodes that hold the key. Else the answer may be what this host or another one of its link
                has cached, for a minute at most, of what others have written; what was put here meanwhile is seen.
        """
        outcome = await self._get(key, fresh=fresh)
        found = [await self._whole(copy) for copy in outcome.copies if not copy.record.deleted]
        return [each for each in found if each is not None]

    async def get_first(self, key: bytes) -> Found | None:
        """Return the first live record that anybody answers with, None when all closest nodes hold none."""
        first: list[Copy] = []
        done = trio.Event()

        def on_copy(copy: Copy, _now: float) -> None:
            if not copy.record.deleted and not first:
                first.append(copy)
                done.set()

        keeper = await self._host.keeper()
        run = GetRun(keeper, key, on_copy=on_copy, on_done=lambda _outcome, _now: done.set())
        run.start(trio.current_time())
        self._host.flush()
        await self._host.while_kept(keeper, done)
        return await self._whole(first[0]) if first else None

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Subscribe to a key: what is there arrives as `added`, then every change, while the context lasts.

        A reader that falls behind gets the latest state of each record, never a gap at the end.
        """
        pending = PendingChanges()
        keeper = await self._host.keeper()
        watch = Watch(keeper, key, pending.on_change)
        send, receive = trio.open_memory_channel[Change](CHANGES_BUFFERED)
        async with trio.open_nursery() as nursery, receive:
            nursery.start_soon(self._deliver, pending, send)
            nursery.start_soon(self._move_along, watch, keeper)
            watch.start(trio.current_time())
            self._host.flush()
            try:
                yield receive
            finally:
                watch.stop(trio.current_time())
                self._host.flush()
                nursery.cancel_scope.cancel()

    async def explain(self, key: bytes) -> Explanation:
        """Say how a key is reached and who holds what."""
        started = trio.current_time()
        outcome = await self._get(key, fresh=True)
        return Explanation(
            key=key.hex(),
            elapsed_ms=(trio.current_time() - started) * 1000.0,
            requests=outcome.located.requests,
            hops=self._hops(outcome.located),
            holders=tuple(name_of(self._host, node) for node in outcome.holders),
            records=sum(not copy.record.deleted for copy in outcome.copies),
            tombstones=sum(copy.record.deleted for copy in outcome.copies),
        )

    def status(self) -> Status:
        """The state of the node at this moment, and those of this host's other links."""
        uptime_s = trio.current_time() - self._started_at
        first, *others = [status_of(host, self._writer.public_key, uptime_s) for host in self._hosts]
        return msgspec.structs.replace(first, others=tuple(others))

    # ---- inside --------------------------------------------------------------------------------------------------

    def _next_seq(self, above: int = 0) -> int:
        # The wall clock makes numbers grow over restarts and lost state; between two puts they grow by themselves.
        self._last_seq = max(self._last_seq + 1, above + 1, int(time.time() * 1000))
        return self._last_seq

    async def _put_record(
        self, key: bytes, name: bytes, value: bytes, *, lease_s: int, deleted: bool, acks: int | None
    ) -> Receipt:
        outcome = await self._put_once(key, name, value, lease_s=lease_s, deleted=deleted, acks=acks, above=0)
        if any(code is RefusalCode.STALE for _address, code in outcome.refused):
            # Somebody holds a later number of ours: a clock set back, or a second process with this identity.
            held = await self._get(key, fresh=True)
            mine = [c.record.seq for c in held.copies if c.record.slot == self._slot(name)]
            above = max(mine, default=0)
            outcome = await self._put_once(key, name, value, lease_s=lease_s, deleted=deleted, acks=acks, above=above)
        return Receipt(
            stored=len(outcome.stored),
            refused=tuple(Refusal(node=name_of(self._host, node), code=code) for node, code in outcome.refused),
            unanswered=outcome.unanswered,
            expires_in_s=float(lease_s),
        )

    def _slot(self, name: bytes) -> tuple[bytes, bytes]:
        return self._writer.public_key, name

    async def _put_once(
        self, key: bytes, name: bytes, value: bytes, *, lease_s: int, deleted: bool, acks: int | None, above: int
    ) -> PutOutcome:
        record = Record.signed(
            key=key,
            writer=self._writer,
            name=name,
            seq=self._next_seq(above),
            lease_s=lease_s,
            deleted=deleted,
            value=value,
        )
        copy = Copy(record, life_s(record))

        def start(keeper: Keeper, on_done: Callable[[PutOutcome, float], None]) -> None:
            PutRun(keeper, copy, acks=acks or keeper.config.acks, on_done=on_done).start(trio.current_time())

        return await self._run(start)

    async def _get(self, key: bytes, *, fresh: bool) -> GetOutcome:
        def start(keeper: Keeper, on_done: Callable[[GetOutcome, float], None]) -> None:
            CachedGet(keeper, key, fresh=fresh, on_done=on_done).start(trio.current_time())

        return await self._run(start)

    async def _run(self, start: Callable[[Keeper, Callable[[T, float], None]], None]) -> T:
        """Start an operation and wait for its outcome; again, if this host comes to another subnet meanwhile."""
        outcomes: list[T] = []
        while not outcomes:
            done = trio.Event()

            def on_done(outcome: T, _now: float, done: trio.Event = done) -> None:
                outcomes.append(outcome)
                done.set()

            keeper = await self._host.keeper()
            start(keeper, on_done)
            self._host.flush()
            await self._host.while_kept(keeper, done)
        return outcomes[0]

    async def _move_along(self, watch: Watch, keeper: Keeper) -> None:
        """Have a watch follow this host to another subnet."""
        while True:
            await self._host.while_kept(keeper, trio.Event())
            keeper = await self._host.keeper()
            watch.move(keeper, trio.current_time())
            self._host.flush()

    async def _whole(self, copy: Copy) -> Found | None:
        """The record with its chunks joined; None, logged and counted, when that cannot be done."""
        record = copy.record
        try:
            value = await self._join(record)
        except (MissingChunkError, RemoteProtocolError) as error:
            self._host.counters["broken_values"] += 1
            log.warning("record %r of writer %s: %s", record.name, record.writer.hex()[:16], error)
            return None
        return Found(
            writer=record.writer,
            name=record.name,
            seq=record.seq,
            value=value,
            lease_s=record.lease_s,
            remaining_s=copy.remaining_s,
        )

    async def _join(self, record: Record) -> bytes:
        parts: list[bytes | None] = []
        keys = chunks.chunk_keys(record.value)
        if keys:
            parts = [None] * len(keys)

            async def fetch(at: int) -> None:
                # A chunk never changes, so a cached one is as good; but this writer's may be younger than the copy.
                outcome = await self._get(keys[at], fresh=False)
                parts[at] = _chunk(outcome, record.writer)
                if parts[at] is None and outcome.cached:
                    parts[at] = _chunk(await self._get(keys[at], fresh=True), record.writer)

            await _side_by_side([_bind(fetch, at) for at in range(len(keys))])
        return chunks.join(record.value, parts)

    async def _deliver(self, pending: PendingChanges, send: trio.MemorySendChannel[Change]) -> None:
        async with send:
            while True:
                kind, record, remaining_s = await pending.next()
                found = _bare(record) if kind == "removed" else await self._whole(Copy(record, remaining_s))
                if found is not None:
                    await send.send(Change(kind=kind, found=found))

    def _hops(self, located: Located) -> tuple[Hop, ...]:
        return tuple(
            Hop(
                node=id_bytes(step.node.id).hex(),
                address=name_of(self._host, step.node),
                hops=step.hops,
                state=step.state.value,
                rtt_ms=None if (rtt_s := self._host.rtt_s(step.node)) is None else rtt_s * 1000.0,
            )
            for step in located.steps
        )


def _bare(record: Record) -> Found:
    """What is left to say of a removed record: its value, unless that was in chunks, which may be gone as well."""
    try:
        value = b"" if chunks.is_manifest(record.value) else chunks.join(record.value)
    except RemoteProtocolError:
        value = b""
    return Found(
        writer=record.writer, name=record.name, seq=record.seq, value=value, lease_s=record.lease_s, remaining_s=0.0
    )


def _chunk(outcome: GetOutcome, writer: bytes) -> bytes | None:
    """A writer's part of a value among those of all who have put the same value."""
    found = [copy.record for copy in outcome.copies if copy.record.writer == writer and not copy.record.deleted]
    return found[0].value if found else None


def _bind(function: Callable[..., Awaitable[None]], *arguments: object) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        await function(*arguments)

    return call


async def _side_by_side(jobs: list[Callable[[], Awaitable[None]]]) -> None:
    limit = trio.CapacityLimiter(CHUNKS_AT_ONCE)

    errors: list[MdhtError] = []

    async def one(job: Callable[[], Awaitable[None]]) -> None:
        async with limit:
            try:
                await job()
            except MdhtError as error:  # kept out of the nursery, which would wrap it in a group
                errors.append(error)

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(one, job)
    if errors:
        raise errors[0]
