# ruff: noqa: ARG002 - each side implements the whole store protocol, and half of it has nothing to do here
"""The stream store: puts become lines on a pipe, lines of a pipe become values (thesis ExporterToStream).

One store of a program writes its standard output or reads its standard input, never both:
`z2z --export:stream _ipp._tcp | ssh host z2z --import:stream` is a complete bridge.
"""

import errno
import logging
import math
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from z2z.errors import RemoteProtocolError, StoreError
from z2z.stores.base import Change, Receipt, StoredValue
from z2z.stores.kinds import OpenStore, StoreKind, StoreSettings
from z2z.stream import LINE_MAX, StreamEvent, decode_line, encode_line

log = logging.getLogger(__name__)

VALUES_MAX: Final = 10_000
"Values kept of a stream: more than one link can show, so that a stream without an end stays bounded."
CHANGES_MAX: Final = 256
"Changes read ahead of the importer; then the pipe waits."
ANY_KEY: Final = b""
"Key of `listen` and `get` for everything that the stream carries."


class StreamWriter:
    """The exporting side: one line per put and remove."""

    pushes = False

    def __init__(self, writer: bytes, descriptor: int) -> None:
        self.ended = trio.Event()
        self.end_text = "the reader of the stream is gone"
        self._writer, self._descriptor = writer, descriptor
        self._known: set[tuple[bytes, bytes]] = set()
        self._lock = trio.Lock()  # lines of concurrent puts must not mix

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Write a `+` line, or `~` for a value written before."""
        known = (key, name) in self._known
        self._known.add((key, name))
        await self._write(
            StreamEvent(
                event="~" if known else "+", key=key, writer=self._writer, name=name, lease_s=lease_s, value=value
            )
        )
        return Receipt(stored=1)

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return nothing: this side only writes."""
        await trio.lowlevel.checkpoint()
        return []

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Write a `-` line for a value written before."""
        if (key, name) in self._known:
            self._known.discard((key, name))
            await self._write(StreamEvent(event="-", key=key, writer=self._writer, name=name))
        return Receipt(stored=1)

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Yield a channel on which nothing ever comes."""
        send, receive = trio.open_memory_channel[Change](0)
        with send, receive:
            yield receive

    async def _write(self, event: StreamEvent) -> None:
        data = memoryview(encode_line(event))
        async with self._lock:
            try:
                # In a thread, since the descriptor may be a file or a terminal and is not ours to make non-blocking.
                # Abandoned on cancel: a reader that stopped reading must not keep the program from ending.
                while data:
                    size = await trio.to_thread.run_sync(os.write, self._descriptor, data, abandon_on_cancel=True)
                    data = data[size:]
            except OSError as error:
                if error.errno == errno.EPIPE:
                    self.ended.set()
                raise StoreError(f"standard output: {error.strerror}") from error


@dataclass(slots=True)
class _Kept:
    value: bytes
    expires_at: float


class StreamReader:
    """The importing side: keeps what the lines said."""

    pushes = True

    def __init__(self, descriptor: int) -> None:
        self.ended = trio.Event()
        self.end_text = "end of the stream"
        self.bad_lines = 0
        self._descriptor = descriptor
        # What a file says does not age while it is read; a pipe's far end refreshes what it says.
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._kept: dict[bytes, dict[tuple[bytes, bytes], _Kept]] = {}
        self._readers: list[tuple[bytes, trio.MemorySendChannel[Change]]] = []
        self._telling = trio.Lock()  # a new reader hears the past before the present

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Refuse: this side only reads."""
        raise StoreError("a stream that is read cannot be written")

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Refuse: this side only reads."""
        raise StoreError("a stream that is read cannot be written")

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return what the stream has said under a key, or under any with `ANY_KEY`."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        return [
            StoredValue(writer=writer, name=name, value=kept.value, remaining_s=kept.expires_at - now)
            for each, slots in self._kept.items()
            if key in {each, ANY_KEY}
            for (writer, name), kept in slots.items()
            if kept.expires_at > now
        ]

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Subscribe to a key, or to everything with `ANY_KEY`."""
        send, receive = trio.open_memory_channel[Change](CHANGES_MAX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._replay, key, send)
            try:
                with receive:
                    yield receive
            finally:
                self._readers = [each for each in self._readers if each[1] is not send]
                nursery.cancel_scope.cancel()

    async def _replay(self, key: bytes, send: trio.MemorySendChannel[Change]) -> None:
        async with self._telling:
            for stored in await self.get(key):
                await send.send(Change(kind="added", stored=stored))
            self._readers.append((key, send))

    async def run(self) -> None:
        """Read until the end of the stream, then set `ended`; a file's values stay, a pipe's end sets it at once."""
        number = 0
        async for data in self._lines():
            number += 1
            if not data.strip():
                continue
            try:
                event = decode_line(data)
                await self._apply(event)
            except RemoteProtocolError as error:
                self.bad_lines += 1
                log.warning("standard input, line %d: %s", number, error)
        if self._is_file:
            log.warning("end of the file after %d lines: what it says stays until z2z is ended", number)
            return
        self.ended.set()

    async def _lines(self) -> AsyncIterator[bytes]:
        rest = b""
        skipping = False  # inside a line that was given up for its length
        while True:
            data = await trio.to_thread.run_sync(os.read, self._descriptor, LINE_MAX, abandon_on_cancel=True)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not skipping:
                    yield line
                skipping = False
            if len(rest) > LINE_MAX:
                if not skipping:
                    yield rest  # refused for its length, and so reported once
                rest, skipping = b"", True
            if not data:
                if rest and not skipping:
                    yield rest
                return

    async def _apply(self, event: StreamEvent) -> None:
        slot = (event.writer, event.name)
        slots = self._kept.setdefault(event.key, {})
        known = slots.get(slot)
        if event.event == "-":
            if known is not None:
                del slots[slot]
                gone = StoredValue(writer=event.writer, name=event.name, value=known.value, remaining_s=0.0)
                await self._tell(event.key, Change(kind="removed", stored=gone))
            return
        if known is None and sum(len(each) for each in self._kept.values()) >= VALUES_MAX:
            raise RemoteProtocolError(f"more than {VALUES_MAX} values")
        remaining_s = math.inf if self._is_file else event.lease_s
        slots[slot] = _Kept(event.value, trio.current_time() + remaining_s)
        stored = StoredValue(writer=event.writer, name=event.name, value=event.value, remaining_s=remaining_s)
        await self._tell(event.key, Change(kind="added" if known is None else "updated", stored=stored))

    async def _tell(self, key: bytes, change: Change) -> None:
        async with self._telling:
            for wanted, reader in list(self._readers):
                if wanted in {key, ANY_KEY}:
                    with suppress(trio.BrokenResourceError):  # it stopped listening meanwhile
                        await reader.send(change)


@asynccontextmanager
async def _open(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    if settings.role == "export":
        writer = StreamWriter(settings.signer.public_key, sys.stdout.fileno())
        yield OpenStore(store=writer, ended=writer.ended, end_text=writer.end_text, end_status=1)
        return
    reader = StreamReader(sys.stdin.fileno())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        yield OpenStore(store=reader, ended=reader.ended, end_text=reader.end_text)
        nursery.cancel_scope.cancel()


KIND: Final = StoreKind(open=_open, one_way=True, keyless=True)
