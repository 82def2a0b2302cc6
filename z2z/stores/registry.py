"""The stores by name. A store of one's own is four methods (`stores/base.py`) and one line here."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from mdht.signing import SigningKey
from z2z.stores.base import Store
from z2z.stores.memory import MemoryStore
from z2z.stores.overlay import open_overlay
from z2z.stores.stream import StreamReader, StreamWriter


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a store may need to know of the program."""

    signer: SigningKey
    role: Literal["export", "import", "both"]
    state_dir: Path
    "A directory of this running program alone."
    interface: str | None = None
    bootstrap: tuple[str, ...] = ()
    presence: bool = True
    ends_soon: bool = False
    "The program ends after its first puts (`--once`)."


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """A store in use."""

    store: Store
    ended: trio.Event | None = None
    "Set when the store is at its end by itself, as a stream is."
    end_text: str = ""
    end_status: int = 0
    "Exit status of a program whose store ended."
    describe: Callable[[], str] = str
    "One line for `z2z status`."


Opener = Callable[[StoreSettings], AbstractAsyncContextManager[OpenStore]]


@asynccontextmanager
async def _open_mdht(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    async with open_overlay(
        settings.signer,
        bootstrap=settings.bootstrap,
        interface=settings.interface,
        presence=settings.presence,
        state_dir=settings.state_dir / "mdht",
        ends_soon=settings.ends_soon,
    ) as store:
        yield OpenStore(store=store, describe=store.describe)


@asynccontextmanager
async def _open_memory(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    yield OpenStore(store=MemoryStore(settings.signer.public_key))


@asynccontextmanager
async def _open_stream(settings: StoreSettings) -> AsyncIterator[OpenStore]:
    if settings.role == "export":
        writer = StreamWriter(settings.signer.public_key, sys.stdout.fileno())
        yield OpenStore(store=writer, ended=writer.ended, end_text=writer.end_text, end_status=1)
        return
    reader = StreamReader(sys.stdin.fileno())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        yield OpenStore(store=reader, ended=reader.ended, end_text=reader.end_text)
        nursery.cancel_scope.cancel()


STORES: Final[dict[str, Opener]] = {"mdht": _open_mdht, "stream": _open_stream, "memory": _open_memory}
DEFAULT_STORE: Final = "mdht"
ONE_WAY: Final = frozenset({"stream"})
"Stores that need one instance for each role."
KEYLESS: Final = frozenset({"stream"})
"Stores that can be imported from without a key: they carry only what was meant for the reader."
