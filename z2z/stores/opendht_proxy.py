"""The OpenDHT store, through the REST interface of a `dhtnode --proxyserver`; the one door to httpx."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import trio

from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores.base import Change, Receipt, StoredValue
from z2z.stores.kinds import OpenStore, StoreKind, StoreSettings
from z2z.stores.opendht_values import FRAME_MAX, SLOTS_MAX, Slots, Versions, to_json

DEFAULT_PROXY: Final = "http://127.0.0.1:8080"
ANSWER_S: Final = 15.0
"A search of the proxy's node ends after some seconds, whatever it finds."
CHANGES_MAX: Final = 256
LINE_MAX: Final = 2 * FRAME_MAX
"Of one value: base 64 makes four bytes of three."
LINES_MAX: Final = 8 * SLOTS_MAX
"Of one answer: so many versions of as many values as are kept of a key."
_NO_NETWORK: Final = 502


class OpenDhtStore:
    """A key of an OpenDHT network is a key of z2z.

    Args:
        signer: signs what is put.
        client: speaks to the proxy.
        proxy: its address, for messages.
    """

    pushes = True

    def __init__(self, signer: SigningKey, client: httpx.AsyncClient, proxy: str) -> None:
        self._client, self._proxy = client, proxy
        self._versions = Versions(signer)
        self._slots: dict[bytes, Slots] = {}

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Put a value; again, if it is there already.

        Raises:
            StoreError: the proxy does not answer, or has no network, or the value is too large.
        """
        try:
            data = self._versions.put(key, name, value, lease_s, trio.current_time(), time.time())
        except LocalProtocolError as error:
            raise StoreError(str(error)) from error
        return await self._post(key, data)

    async def get(self, key: bytes) -> list[StoredValue]:
        """Read all values.

        Raises:
            StoreError: the proxy does not answer.
        """
        lines: list[bytes] = []
        async with self._answer(f"/key/{key.hex()}", ANSWER_S) as answer:
            async for line in _lines(answer):
                lines.append(line)
                if len(lines) > LINES_MAX:
                    break
        return self._of(key).snapshot(lines, trio.current_time())

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Say that a value is removed; its versions end by themselves.

        Raises:
            StoreError: the proxy does not answer, or has no network.
        """
        return await self._post(key, self._versions.remove(key, name, time.time()))

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Follow a key while the context lasts; what is there already comes first.

        Raises:
            StoreError: the proxy does not answer; or it has stopped to.
        """
        send, receive = trio.open_memory_channel[Change](CHANGES_MAX)
        broken: list[StoreError] = []
        async with receive, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, key, send, broken)
            yield receive
            nursery.cancel_scope.cancel()
        if broken:
            raise broken[0]

    def describe(self) -> str:
        """One line for the status."""
        ignored = sum(sum(slots.counters.values()) for slots in self._slots.values())
        return f"through {self._proxy}" + (f"; {ignored} values ignored that are none of ours" if ignored else "")

    def _of(self, key: bytes) -> Slots:
        return self._slots.setdefault(key, Slots(key))

    async def _post(self, key: bytes, data: bytes) -> Receipt:
        try:
            answer = await self._client.post(f"/key/{key.hex()}", json=to_json(data), timeout=ANSWER_S)
        except httpx.HTTPError as error:
            raise self._unreached(error) from error
        self._check(answer.status_code)
        return Receipt(stored=1)

    async def _follow(self, key: bytes, send: trio.MemorySendChannel[Change], broken: list[StoreError]) -> None:
        slots, now = self._of(key), trio.current_time()
        async with send:
            try:
                for stored in slots.living(now):
                    await send.send(Change(kind="added", stored=stored))
                async with self._answer(f"/key/{key.hex()}/listen", None) as answer:
                    async for line in _lines(answer):
                        change = slots.take(line, trio.current_time())
                        if change is not None:
                            await send.send(change)
                broken.append(StoreError(f"{self._proxy} has ended the subscription"))
            except StoreError as error:
                broken.append(error)
            except trio.BrokenResourceError:  # nobody listens any more
                pass

    @asynccontextmanager
    async def _answer(self, path: str, patience_s: float | None) -> AsyncIterator[httpx.Response]:
        try:
            timeout = httpx.Timeout(ANSWER_S, read=patience_s)
            async with self._client.stream("GET", path, timeout=timeout) as answer:
                self._check(answer.status_code)
                yield answer
        except httpx.HTTPError as error:
            raise self._unreached(error) from error

    def _check(self, status: int) -> None:
        if status == _NO_NETWORK:
            raise StoreError(
                f"the OpenDHT node behind {self._proxy} knows no other node; start it with -b HOST:PORT of one"
            )
        if not httpx.codes.is_success(status):
            raise StoreError(f"{self._proxy} answers with status {status}; is it a `dhtnode --proxyserver`?")

    def _unreached(self, error: httpx.HTTPError) -> StoreError:
        return StoreError(
            f"no OpenDHT proxy answers at {self._proxy} ({error or type(error).__name__}); start one with "
            "`dhtnode --proxyserver PORT`, and name it with --proxy"
        )


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The lines of an answer that may never end; of one that is too long nothing is kept."""
    begun, skipping = bytearray(), False
    async for part in answer.aiter_bytes():
        for number, piece in enumerate(part.split(b"\n")):
            if number:
                if begun and not skipping:
                    yield bytes(begun)
                begun.clear()
                skipping = False
            if len(begun) + len(piece) > LINE_MAX:
                skipping = True
                begun.clear()
            elif not skipping:
                begun += piece
    if begun and not skipping:
        yield bytes(begun)


@asynccontextmanager
async def _open(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    proxy = settings.proxy or DEFAULT_PROXY
    try:
        client = httpx.AsyncClient(base_url=proxy, trust_env=False)
    except (httpx.InvalidURL, ValueError) as error:
        raise LocalProtocolError(f"--proxy {proxy}: {error}") from error
    async with client:
        store = OpenDhtStore(settings.signer, client, proxy)
        yield OpenStore(store=store, describe=store.describe)


KIND: Final = StoreKind(open=_open)
