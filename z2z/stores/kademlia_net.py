"""The `kademlia` store: services in a network of the PyPI package of that name, plain nodes of it among its members.

The package runs on asyncio, in a thread of its own. IPv4 only, as its nodes tell each other addresses of one kind. A
put takes some round trips, a change is seen when it is asked for (`--poll`), and the clocks of the sites must agree to
within minutes (`kademlia_sets`). A value has at most 16 KiB; a key has room for `PAGES_MAX` sets of `SET_MAX` bytes.
"""

import asyncio
import errno
import ipaddress
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, Final, TypeVar

import trio

from dhtboot.ids import Address
from mdht import rendezvous
from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import UnreachableError
from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores.base import Change, Receipt, StoredValue
from z2z.stores.kademlia_node import SetServer
from z2z.stores.kademlia_pages import Pages, Written
from z2z.stores.kademlia_storage import SetStorage
from z2z.stores.kinds import OpenStore, StoreKind, StoreSettings

log = logging.getLogger(__name__)

PORT: Final = 8_468
"What the package uses in its examples; where it is taken, any free one."
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - a node of a network of many
START_S: Final = 10.0
CALL_S: Final = 60.0
"For one put or get; those who call have less patience, so this only ends what hangs."
STOP_S: Final = 5.0
JOIN_S: Final = 5.0
"For the first try, before the store is used; without it, a first put would find nobody."
REJOIN_S: Final = 10.0
"A node that knows no other one asks its entry points again and again."

_T = TypeVar("_T")


class _Node:
    """A node in its own event loop and thread, and the way there and back."""

    def __init__(self, host: str, port: int) -> None:
        self.storage = SetStorage()
        self.server = SetServer(self.storage)
        self.failures = 0
        "Datagrams of others that made the package raise."
        self._host, self._port = host, port
        self._started: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        # A daemon, so that the program could end even if something in there did not.
        self._thread = threading.Thread(target=self._run, name="kademlia", daemon=True)

    async def start(self) -> None:
        """Start the thread, and wait until the socket is open.

        Raises:
            OSError: it cannot be opened.
        """
        self._thread.start()
        await _outcome(self._started, START_S)

    async def stop(self) -> None:
        """Close the socket and wait for the end of the thread."""
        self._stopping = True
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # closed already
                self._loop.call_soon_threadsafe(self._stop.set)
        with trio.CancelScope(shield=True), suppress(StoreError):
            await _outcome(self._ended, STOP_S)
            self._thread.join(STOP_S)  # it has nothing left to do

    async def call(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do something in the node's loop; when cancelled, it goes on there and nobody waits for it.

        Raises:
            StoreError: it failed, or did not end in time.
        """
        if self._loop is None or self._ended.done():
            raise StoreError("the node has been stopped")

        async def guarded() -> _T:
            return await work()

        try:
            return await _outcome(asyncio.run_coroutine_threadsafe(guarded(), self._loop), CALL_S)
        except (StoreError, trio.Cancelled):
            raise
        except Exception as error:  # whatever the package raises is a failure of the store, not of the program
            raise StoreError(f"kademlia: {type(error).__name__}: {error}") from error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # the thread that waits is to be told
            if not self._started.done():
                self._started.set_exception(error)
        finally:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._count_failure)
        try:
            await self.server.listen(self._port, self._host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._port:
                raise
            await self.server.listen(0, self._host)
        self._started.set_result(None)
        if not self._stopping:  # set before there was an event to wake this up with
            await self._stop.wait()
        self.server.stop()

    def _count_failure(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The package takes a datagram apart in a task, which fails where it is not of its form."""
        self.failures += 1
        log.debug("%s: %r", context.get("message"), context.get("exception"))


class KademliaStore:
    """A node as a store."""

    pushes = False

    def __init__(self, node: _Node, signer: SigningKey, *, bootstrap: tuple[str, ...], ends_soon: bool) -> None:
        self._node, self._bootstrap, self._ends_soon = node, bootstrap, ends_soon
        self._pages = Pages(node.server, signer, time.time)

    @property
    def port(self) -> int:
        """The UDP port in use."""
        return self._node.server.port

    def describe(self) -> str:
        """Return how the node stands, as `port 8468, 3 nodes known, 5 values held`."""
        refused = self._node.storage.read.refused
        known, values = self._node.server.known, self._node.storage.count()
        text = f"port {self.port}, {known} node{_s(known)} known, {values} value{_s(values)} held"
        return f"{text}, {refused} bad record{_s(refused)} refused" if refused else text

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Write or replace this writer's value."""
        written = await self._node.call(lambda: self._pages.put(key, name, value, lease_s))
        self._check_company(written)
        return _receipt(written)

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values under a key, as several nodes of the network know them."""
        found = await self._node.call(lambda: self._pages.get(key))
        if not found and self._bootstrap and not self._node.server.known:
            self._check_company(Written(fits=True, stored=1))
        return found

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Remove this writer's value; one that is not there is no error."""
        written = await self._node.call(lambda: self._pages.remove(key, name))
        if written is None:
            return Receipt(stored=1)
        self._check_company(written)
        return _receipt(written)

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:  # noqa: ARG002
        """Yield what is there; the network tells no changes, so nothing follows."""
        send, receive = trio.open_memory_channel[Change](0)
        with send, receive:
            yield receive

    async def stay_joined(self) -> None:
        """Ask the entry points again, as long as no other node is known, until cancelled."""
        while True:
            await trio.sleep(REJOIN_S)
            if not self._node.server.known:
                await self.join()

    async def join(self) -> None:
        """Ask the entry points once."""
        found: list[Address] = []
        for text in self._bootstrap:
            try:
                found += await _addresses(text)
            except UnreachableError as error:
                log.info("kademlia: %s", error)
        try:
            known = await self._node.call(lambda: self._node.server.join(found)) if found else 0
        except StoreError as error:
            log.warning("joining: %s; trying again in %.0f s", error, REJOIN_S)
            return
        if self._bootstrap and not known:
            log.info("kademlia: none of the entry points %s answers", ", ".join(self._bootstrap))

    def _check_company(self, written: Written) -> None:
        """A node that was given entry points is not meant to be a network of its own."""
        if written.stored >= 2 or not (self._bootstrap or self._ends_soon):
            return
        if written.refused:
            raise StoreError("; ".join(written.refused))
        if not self._bootstrap:
            raise StoreError("no other node stored it, and this one is about to end; give one with --bootstrap")
        raise StoreError(f"no node of the network answers; is UDP open to {', '.join(self._bootstrap)}?")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _receipt(written: Written) -> Receipt:
    return Receipt(stored=written.stored, refused=written.refused)


async def _outcome(future: "Future[_T]", patience_s: float) -> _T:
    """Return the result of what another thread does, which goes on if this is cancelled."""
    done, token = trio.Event(), trio.lowlevel.current_trio_token()

    def tell(_future: "Future[_T]") -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(tell)
    with trio.move_on_after(patience_s):
        await done.wait()
    if not future.done():
        raise StoreError(f"the kademlia node did nothing within {patience_s:.0f} s")
    return future.result()


async def _addresses(text: str) -> list[Address]:
    entry = rendezvous.parse(text)
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    found = await rendezvous.resolve(f"{host}:{entry.port or PORT}", Random())
    return [address for address in found if isinstance(ipaddress.ip_address(address[0]), ipaddress.IPv4Address)]


def _check_entry_points(bootstrap: tuple[str, ...]) -> None:
    for text in bootstrap:
        try:
            entry = rendezvous.parse(text)
        except MdhtLocalError as error:
            raise LocalProtocolError(str(error)) from error
        if ":" in entry.host:
            raise LocalProtocolError(f"bootstrap {text!r}: nodes of the kademlia store have IPv4 addresses")


@asynccontextmanager
async def open_kademlia(
    signer: SigningKey,
    *,
    bootstrap: tuple[str, ...] = (),
    host: str = ANY_ADDRESS,
    port: int = PORT,
    ends_soon: bool = False,
) -> AsyncIterator[KademliaStore]:
    """Run a node while the context lasts.

    Args:
        signer: by what values are written.
        bootstrap: nodes of the network as `HOST:PORT`; without any, this is the first one of its network.
        host: address to listen at.
        port: UDP port; another one if it is taken, any if 0.
        ends_soon: this program ends after its puts, so a copy that only it holds is as good as none.

    Raises:
        LocalProtocolError: an entry point or the address cannot be used.
    """
    _check_entry_points(bootstrap)
    for name in ("kademlia", "rpcudp"):  # an error to them is any node that is gone
        logging.getLogger(name).setLevel(logging.CRITICAL)
    node = _Node(host, port)
    try:
        try:
            await node.start()
        except OSError as error:
            raise LocalProtocolError(f"kademlia: UDP {host}:{port}: {error.strerror or error}") from error
        store = KademliaStore(node, signer, bootstrap=bootstrap, ends_soon=ends_soon)
        with trio.move_on_after(JOIN_S):
            await store.join()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.stay_joined)
            yield store
            nursery.cancel_scope.cancel()
    finally:
        await node.stop()


@asynccontextmanager
async def _open(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    async with open_kademlia(
        settings.signer, bootstrap=settings.bootstrap, port=PORT, ends_soon=settings.ends_soon
    ) as store:
        yield OpenStore(store=store, describe=store.describe)


KIND: Final = StoreKind(open=_open)
