"""NetServ nodes of the world, by the records that they keep in the DHT.

All that tell a place stand in one of the 32 largest cells of the globe (`location`), so that to follow those follows
them all, in 32 watches of one running node. Others are followed by the names of their blocks, where these are given.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec
import trio

from mdht.control import Records
from mdht.errors import MdhtError
from mdht.results import Found
from netserv_discovery.console.items import NodeSeen
from netserv_discovery.console.node_places import NodePlace, control_of
from netserv_discovery.console.node_seen import node_seen
from netserv_discovery.console.picture import View
from netserv_discovery.console.sources import Tell, counted
from netserv_discovery.errors import Refusal, RemoteProtocolError, UnreachableError
from netserv_discovery.keys import block_key, cell_key, keys_of, list_key
from netserv_discovery.record import NodeRecord, OfferList, decode, decode_list
from netserv_discovery.rounds import CELL_LETTERS

BLOCKS_MAX: Final = 16
"Names of blocks that can be followed: each, as each cell, holds one of the 256 connections of the node's socket."
OF_WRITER_MAX: Final = 64
"""Nodes of one writer that are shown: a machine advertises its own node, or those of a site. Whoever wants to fill the
page needs a host in the DHT for each so many."""
LISTS_MAX: Final = 256
"Lists of offers that are got, of those nodes that have more than their record has room for: some 5 MB in memory."
LIST_S: Final = 10.0
"For one list; it lies in chunks, which are lookups of their own."
SETTLE_S: Final = 0.25
"After a change, for those that come with it: a node's record stands under several keys."


@dataclass(slots=True)
class _Held:
    """What stands under one key, by writer and name."""

    values: dict[tuple[bytes, bytes], NodeRecord] = field(default_factory=dict)


class DhtSource:
    """The DHT, by a running node.

    Args:
        places: gives where nodes may run.
        blocks: names of blocks whose nodes are shown though they tell no place.
        unix_now: seconds.
    """

    name = "dht"
    title = "Nodes in the DHT"

    def __init__(
        self,
        places: Callable[[], Sequence[NodePlace]],
        blocks: Sequence[str] = (),
        unix_now: Callable[[], float] = time.time,
    ) -> None:
        self._places, self._unix_now = places, unix_now
        self._keys = {cell_key(letter) for letter in CELL_LETTERS} | {block_key(name) for name in blocks}
        self._held: dict[bytes, _Held] = {}
        self._lists: dict[bytes, OfferList | None] = {}
        "By digest; None while one is on its way, or cannot be had."
        self._changed = trio.Event()
        self.refused: Counter[str] = Counter()
        "Values that are no records which count, by why."

    async def snapshot(self) -> View:
        """What is known now; more comes in by `changes`."""
        newest: dict[bytes, tuple[NodeRecord, bytes]] = {}
        for held in self._held.values():
            for (writer, _), record in held.values.items():
                known = newest.get(record.public_key)
                if record.expires > self._unix_now() and (known is None or known[0].issued < record.issued):
                    newest[record.public_key] = record, writer
        of_writer: Counter[bytes] = Counter()
        nodes: dict[str, NodeSeen] = {}
        left_out = 0
        for key, (record, writer) in sorted(newest.items()):
            of_writer[writer] += 1
            if of_writer[writer] > OF_WRITER_MAX:
                left_out += 1
                continue
            nodes[key.hex()] = node_seen(self._with_list(record), "DHT")
        return View(items={"nodes": nodes}, why=self._words(len(nodes), left_out))

    async def changes(self, tell: Tell) -> None:
        """Follow the keys.

        Raises:
            UnreachableError: no node of this user runs, or it has ended.
        """
        records = await self._records()
        self._held.clear()
        self._lists.clear()
        async with trio.open_nursery() as nursery:
            for key in self._keys:
                nursery.start_soon(self._follow, records, key, nursery)
            while True:
                tell(await self.snapshot())
                with trio.move_on_after(self._next_end_s()):
                    await self._changed.wait()
                    await trio.sleep(SETTLE_S)
                self._changed = trio.Event()

    async def _records(self) -> Records:
        for place in self._places():
            client = control_of(place)
            if client is not None and await client.answers():
                return client
        raise UnreachableError("no node of this user runs by which to look; start one with `mdht run`")

    async def _follow(self, records: Records, key: bytes, nursery: trio.Nursery) -> None:
        held = self._held.setdefault(key, _Held())
        async with records.watch(key) as changes:
            async for change in changes:
                slot = change.found.writer, change.found.name
                record = None if change.kind == "removed" else self._read(key, change.found)
                if record is not None:
                    held.values[slot] = record
                    if record.more is not None and record.more not in self._lists and len(self._lists) < LISTS_MAX:
                        self._lists[record.more] = None
                        nursery.start_soon(self._get_list, records, record.more)
                elif held.values.pop(slot, None) is None:
                    continue
                self._changed.set()
        raise UnreachableError("the node by which it looked has ended")

    async def _get_list(self, records: Records, digest: bytes) -> None:
        with trio.move_on_after(LIST_S), suppress(MdhtError):
            for found in await records.get(list_key(digest)):
                with suppress(RemoteProtocolError):  # anybody may put something under the key; the digest decides
                    self._lists[digest] = decode_list(found.value, digest)
                    self._changed.set()
                    return

    def _with_list(self, record: NodeRecord) -> NodeRecord:
        """The record with all of its offers, if they are known."""
        offers = None if record.more is None else self._lists.get(record.more)
        if offers is None:
            return record
        return msgspec.structs.replace(record, blocks=offers.blocks, modules=offers.modules, more=None)

    def _read(self, key: bytes, found: Found) -> NodeRecord | None:
        try:
            record = decode(found.value, self._unix_now())
        except RemoteProtocolError as error:
            self.refused[error.code.value] += 1
            self._changed.set()
            return None
        if key not in {place.key for place in keys_of(record)}:
            self.refused[Refusal.WRONG_PLACE.value] += 1
            self._changed.set()
            return None
        return record

    def _next_end_s(self) -> float:
        """Seconds until a record that is shown ends."""
        ends = [record.expires for held in self._held.values() for record in held.values.values()]
        return max(0.0, min(ends) - self._unix_now()) if ends else math.inf

    def _words(self, nodes: int, left_out: int) -> str:
        refused = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in sorted(self.refused.items()))
        return "".join(
            (
                counted(nodes, "node"),
                f", {left_out} more of the same writers" if left_out else "",
                f"; refused: {refused}" if refused else "",
            )
        )
