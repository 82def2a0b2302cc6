"""Records of a DHT in memory: satisfies `mdht.control.Records`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from mdht.errors import MdhtError, RefusalCode
from mdht.results import Change, Explanation, Found, Receipt, Refusal

WRITER = bytes(32)


def found(value: bytes, name: bytes) -> Found:
    return Found(writer=WRITER, name=name, seq=1, value=value, lease_s=60, remaining_s=59.5)


class MemoryRecords:
    def __init__(self) -> None:
        self.values: dict[tuple[bytes, bytes], bytes] = {}
        self.error: MdhtError | None = None
        self.delay_s = 0.0
        self.stored = 2
        self.calls: list[str] = []
        self.watchers: list[trio.MemorySendChannel[Change]] = []
        "Of all keys: each is told of every change."

    async def put(self, key: bytes, value: bytes, *, ttl_s: float, name: bytes = b"") -> Receipt:
        await trio.sleep(self.delay_s)
        self.calls.append(f"put {value.decode(errors='replace')} {ttl_s:g}")
        if self.error is not None:
            raise self.error
        self.values[key, name] = value
        refused = () if self.stored else (Refusal(node="192.0.2.1:1", code=RefusalCode.BUSY),)
        self._tell(Change(kind="added", found=found(value, name)))
        return Receipt(stored=self.stored, refused=refused, expires_in_s=ttl_s)

    async def get(self, key: bytes, *, fresh: bool = False) -> list[Found]:
        await trio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        return [found(value, name) for (at, name), value in self.values.items() if at == key]

    async def remove(self, key: bytes, name: bytes = b"") -> Receipt:
        await trio.sleep(self.delay_s)
        self.calls.append("remove")
        if self.error is not None:
            raise self.error
        if self.values.pop((key, name), None) is not None:
            self._tell(Change(kind="removed", found=found(b"", name)))
        return Receipt(stored=1, expires_in_s=1.0)

    async def explain(self, key: bytes) -> Explanation:
        raise NotImplementedError

    @asynccontextmanager
    async def watch(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        if self.error is not None:
            raise self.error
        send, receive = trio.open_memory_channel[Change](1_000)
        self.watchers.append(send)
        async with receive:
            yield receive

    def _tell(self, change: Change) -> None:
        for watcher in self.watchers:
            watcher.send_nowait(change)
