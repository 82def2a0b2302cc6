"""The DHT as discovery uses it: through the running `mdht run` of this user, else by a node of its own."""

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import trio

from mdht.control import ControlClient, Records, control_path
from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import MdhtError
from mdht.results import Found
from mdht.signing import SigningKey
from mdht.state import default_state_dir
from netserv_discovery.advertising import Put, Remove
from netserv_discovery.dht_settings import DhtSettings
from netserv_discovery.errors import DiscoveryError, LocalProtocolError, UnreachableError

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"Keys asked for or written side by side: a node's limits on what one source may ask are far above this."
GET_S: Final = 3.0
"For one key. Nodes that have died cost a lookup a second or two; a search goes on without what takes longer."
PUT_S: Final = 10.0
"For one record."
WATCH_AGAIN_S: Final = 1.0
"Before a key is followed again after its node has stopped."
REMOVE_S: Final = 2.0
"For taking everything back at the end: who pressed Ctrl-C waits no longer, and leases end by themselves."


PutElsewhere: TypeAlias = Callable[[bytes, bytes, bytes, int], Awaitable[int]]
"Key, name, value and lease of a record; how many others have it."


class StoredValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value under a key."""

    writer: bytes
    name: bytes
    value: bytes


class Dht:
    """Records of an overlay; made by `open_dht`.

    Args:
        records: by which they are read and written.
        through: in words, by what.
        put_elsewhere: by a node of our own: puts so that others have it when that one ends.
    """

    def __init__(self, records: Records, through: str, put_elsewhere: PutElsewhere | None = None) -> None:
        self.records, self.through = records, through
        self._put_elsewhere = put_elsewhere
        self.counters: Counter[str] = Counter()

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values under a key: not from a cache, as nodes that are gone must not be found.

        Raises:
            UnreachableError: it cannot be reached in time.
        """
        self.counters["gets"] += 1
        try:
            with trio.fail_after(GET_S):
                return [_stored(found) for found in await self.records.get(key, fresh=True)]
        except MdhtError as error:
            self.counters["gets_failed"] += 1
            raise UnreachableError(str(error)) from error
        except trio.TooSlowError as error:
            self.counters["gets_failed"] += 1
            raise UnreachableError(f"the DHT did not answer within {GET_S:g} s") from error

    async def put(self, key: bytes, name: bytes, value: bytes, *, lease_s: int, leaves: bool = False) -> int:
        """Write a record; how many nodes have it.

        Args:
            key: 20 bytes.
            name: sub-name of up to 64 bytes.
            value: up to 16 KiB.
            lease_s: seconds until it ends.
            leaves: this program ends after it, so that a copy which only a node of its own has is as good as none.

        Raises:
            DiscoveryError: none has.
        """
        try:
            with trio.fail_after(PUT_S):
                if leaves and self._put_elsewhere is not None:
                    return await self._put_elsewhere(key, name, value, lease_s)
                receipt = await self.records.put(key, value, ttl_s=lease_s, name=name)
        except MdhtLocalError as error:
            raise LocalProtocolError(str(error)) from error
        except MdhtError as error:
            raise UnreachableError(str(error)) from error
        except trio.TooSlowError as error:
            raise UnreachableError(f"the DHT did not answer within {PUT_S:g} s") from error
        if not receipt.stored:
            reasons = ", ".join(f"{each.node} {each.code.name.lower()}" for each in receipt.refused)
            raise UnreachableError(f"no node of the DHT has stored it: {reasons or 'none answered'}")
        return receipt.stored

    async def remove(self, key: bytes, name: bytes) -> None:
        """Remove a record of ours.

        Raises:
            DiscoveryError: it cannot be removed now; it ends with its lease.
        """
        try:
            await self.records.remove(key, name)
        except MdhtError as error:
            raise UnreachableError(str(error)) from error

    @asynccontextmanager
    async def watch(self, keys: Sequence[bytes]) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        """Yield a channel that has a key whenever something under it has changed; a slow reader misses repetitions."""
        send, receive = trio.open_memory_channel[bytes](max(1, len(keys)))
        pending: set[bytes] = set()
        rung = trio.Event()

        async def follow(key: bytes) -> None:
            nonlocal rung
            while True:
                try:
                    async with self.records.watch(key) as changes:
                        async for _change in changes:
                            pending.add(key)
                            rung.set()
                except MdhtError as error:
                    log.info("watching key %s: %s", key.hex(), error)
                await trio.sleep(WATCH_AGAIN_S)

        async def forward() -> None:
            nonlocal rung
            while True:
                await rung.wait()
                rung = trio.Event()
                while pending:
                    await send.send(pending.pop())

        async with trio.open_nursery() as nursery, receive:
            for key in keys:
                nursery.start_soon(follow, key)
            nursery.start_soon(forward)
            try:
                yield receive
            finally:
                nursery.cancel_scope.cancel()


class Writer:
    """Carries puts and removals out: of each slot only the newest, one after the other.

    Args:
        on_done: is called with what came of a put: it, and why it failed or None.
    """

    def __init__(self, on_done: Callable[[Put, str | None], None]) -> None:
        self._on_done = on_done
        # One task works on a slot, so that a put never overtakes a removal.
        self._wishes: dict[tuple[bytes, bytes], Put | Remove] = {}
        self._busy: set[tuple[bytes, bytes]] = set()
        self._rung = trio.Event()
        self.counters: Counter[str] = Counter()
        self._failing = False

    @property
    def settled(self) -> bool:
        """Whether all is done."""
        return not self._wishes and not self._busy

    def take(self, effect: Put | Remove) -> None:
        """Have it done: in the place of what was not begun of the same slot."""
        self._wishes[effect.key, effect.name] = effect
        self._rung.set()

    async def run(self, dht: Dht) -> None:
        """Carry out until cancelled."""
        limiter = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                for slot in [each for each in self._wishes if each not in self._busy]:
                    self._busy.add(slot)
                    nursery.start_soon(self._work, dht, slot, limiter)
                await self._rung.wait()
                self._rung = trio.Event()

    async def _work(self, dht: Dht, slot: tuple[bytes, bytes], limiter: trio.CapacityLimiter) -> None:
        while slot in self._wishes:
            effect = self._wishes.pop(slot)
            error = None
            async with limiter:
                try:
                    await _carry_out(dht, effect)
                except DiscoveryError as caught:
                    error = str(caught)
            self._note(effect, error)
            if isinstance(effect, Put):
                self._on_done(effect, error)
        self._busy.discard(slot)

    def _note(self, effect: Put | Remove, error: str | None) -> None:
        if error is None:
            self.counters["puts" if isinstance(effect, Put) else "removes"] += 1
            if self._failing:
                self._failing = False
                log.warning("the DHT takes records again")
            return
        self.counters["failed"] += 1
        if not self._failing:  # once: many records fail together
            self._failing = True
            log.warning("%s: %s; trying again", effect.text, error)


async def remove_all(dht: Dht, removes: Iterable[Remove]) -> None:
    """Take everything back at the end, for `REMOVE_S` at the most."""
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(effect: Remove) -> None:
        async with limiter:
            try:
                await _carry_out(dht, effect)
            except DiscoveryError as error:
                log.info("%s is not removed, so it ends with its lease: %s", effect.text, error)

    with trio.move_on_after(REMOVE_S, shield=True):
        async with trio.open_nursery() as nursery:
            for effect in removes:
                nursery.start_soon(one, effect)


async def _carry_out(dht: Dht, effect: Put | Remove) -> None:
    match effect:
        case Put(key=key, name=name, value=value, lease_s=lease_s):
            await dht.put(key, name, value, lease_s=lease_s)
        case Remove(key=key, name=name):
            await dht.remove(key, name)


@asynccontextmanager
async def open_dht(settings: DhtSettings, writer: SigningKey, *, wait: bool) -> AsyncIterator[Dht]:
    """Use the DHT while the context lasts.

    Args:
        settings: which.
        writer: signs what a node of our own writes; a running one signs with its own key.
        wait: until a node of our own has joined others, or has looked long enough; else it joins meanwhile.

    Raises:
        DiscoveryError: the settings cannot be used here.
    """
    control = await _running(settings)
    if control is not None:
        log.info("using the running mdht node at %s", control)
        yield Dht(ControlClient(control), f"the running mdht at {control}")
        return
    # In a thread, so that links are served meanwhile; and only now, as most commands never need it.
    await trio.to_thread.run_sync(import_module, "netserv_discovery.dht_node")
    from netserv_discovery.dht_node import OwnNode, open_own_node  # noqa: PLC0415 - it takes half a second

    async with open_own_node(settings, writer, wait=wait) as node:
        yield Dht(node, "a node of its own", OwnNode(node).put_elsewhere)


async def _running(settings: DhtSettings) -> Path | None:
    """The control socket of a running node, if there is one."""
    if settings.own_node:
        return None
    directory = settings.mdht_state_dir or default_state_dir(os.environ, settings.network)
    try:
        path = control_path(directory, os.environ)
    except MdhtLocalError as error:
        raise LocalProtocolError(str(error)) from error
    return path if await ControlClient(path).answers() else None


def _stored(found: Found) -> StoredValue:
    return StoredValue(writer=found.writer, name=found.name, value=found.value)
