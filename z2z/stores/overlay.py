"""The overlay store: the embedded mDHT, which needs no server (thesis ch. 3)."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from mdht import results
from mdht.control import control_path, serve_control
from mdht.errors import LocalProtocolError as MdhtLocalError
from mdht.errors import MdhtError
from mdht.link_keys import read_keys
from mdht.node import Mdht, MdhtConfig, open_mdht
from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores.base import Change, Receipt, StoredValue
from z2z.stores.kinds import OpenStore, StoreKind, StoreSettings

CHANGES_MAX: Final = 64
"Changes on their way to the importer; behind them mdht merges changes of one record."


class OverlayStore:
    """One node of the overlay as a store."""

    pushes = True

    def __init__(self, node: Mdht, *, ends_soon: bool) -> None:
        """Wrap a node.

        Args:
            node: the running node.
            ends_soon: this program ends after its puts, so a copy that only it holds is as good as none.
        """
        self.node = node
        self._ends_soon = ends_soon

    def describe(self) -> str:
        """Return how the node stands, as `joined, 2 hosts in the subnet, 3 nodes known, 5 records held`."""
        status = self.node.status()
        members = len(status.members) + 1
        return (
            f"{status.phase}, {members} host{'s' if members > 1 else ''} in the subnet, {status.contacts} nodes known, "
            f"{status.records} records held{_port_text(status.mapped_port)}"
        )

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Write or replace this writer's value."""
        try:
            receipt = _receipt(await self.node.put(key, value, ttl_s=lease_s, name=name))
        except MdhtError as error:
            raise StoreError(str(error)) from error
        if receipt.stored == 0:
            raise StoreError("; ".join(receipt.refused) or "no node of the overlay answered")
        if self._ends_soon and receipt.stored < 2 and not self.node.status().members:
            raise StoreError("no other node answered, and this one is about to end")
        return receipt

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values under a key: not from a cache, as services that are gone must go from the link."""
        try:
            return [_stored(found) for found in await self.node.get(key, fresh=True)]
        except MdhtError as error:
            raise StoreError(str(error)) from error

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Remove this writer's value at once."""
        try:
            return _receipt(await self.node.remove(key, name))
        except MdhtError as error:
            raise StoreError(str(error)) from error

    @asynccontextmanager
    async def listen(self, key: bytes) -> AsyncIterator[trio.MemoryReceiveChannel[Change]]:
        """Subscribe to a key; changes arrive within a second."""
        send, receive = trio.open_memory_channel[Change](CHANGES_MAX)
        async with self.node.watch(key) as changes, trio.open_nursery() as nursery, receive:

            async def forward() -> None:
                async for change in changes:
                    await send.send(Change(kind=change.kind, stored=_stored(change.found)))

            nursery.start_soon(forward)
            try:
                yield receive
            finally:
                nursery.cancel_scope.cancel()


def _port_text(port: results.MappedPort | None) -> str:
    if port is None:
        return ""
    return f", {port.outside} opened by the router" if port.outside else f", no port opened: {port.why}"


def _stored(found: results.Found) -> StoredValue:
    return StoredValue(writer=found.writer, name=found.name, value=found.value, remaining_s=found.remaining_s)


def _receipt(receipt: results.Receipt) -> Receipt:
    return Receipt(
        stored=receipt.stored,
        refused=tuple(f"{refusal.node}: {refusal.code.name.lower()}" for refusal in receipt.refused),
    )


@asynccontextmanager
async def open_overlay(writer: SigningKey, config: MdhtConfig, *, ends_soon: bool) -> AsyncIterator[OverlayStore]:
    """Run a node of the overlay while the context lasts.

    Args:
        writer: the site's identity.
        config: settings of the node; one running program for each state directory.
        ends_soon: see `OverlayStore`.

    Raises:
        LocalProtocolError: an entry point or the directory cannot be used.
    """
    try:
        async with open_mdht(config, writer) as node, _answering(node, config.state_dir):
            yield OverlayStore(node, ends_soon=ends_soon)
    except MdhtLocalError as error:
        raise LocalProtocolError(str(error)) from error


@asynccontextmanager
async def _answering(node: Mdht, state_dir: Path | None) -> AsyncIterator[None]:
    """Let this user's other programs use the node, as they use one of `mdht run`, while the context lasts."""
    if state_dir is None:
        yield
        return
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, node, control_path(state_dir, os.environ))
        yield
        nursery.cancel_scope.cancel()


def _config(settings: StoreSettings) -> MdhtConfig:
    """The node's settings, with peers that are found on the link where there is one.

    Raises:
        LocalProtocolError: the file of keys cannot be used.
    """
    config = MdhtConfig(
        bootstrap=settings.bootstrap,
        interfaces=() if settings.interface is None else (settings.interface,),
        presence=settings.presence,
        state_dir=settings.state_dir / "mdht",
        map_port=settings.map_port,
        host_keys=settings.host_keys,
    )
    if settings.link_key_file is None:
        return config
    try:
        return msgspec.structs.replace(config, keys=read_keys(settings.link_key_file, config.network))
    except MdhtLocalError as error:
        raise LocalProtocolError(str(error)) from error


@asynccontextmanager
async def _open(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    async with open_overlay(settings.signer, _config(settings), ends_soon=settings.ends_soon) as store:
        yield OpenStore(store=store, describe=store.describe)


KIND: Final = StoreKind(open=_open)
