"""What a store is: four methods over bytes. Several values live under one key, one per writer and name."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:  # the importer's core uses the values of this file and does no I/O
    import trio


class StoredValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value under a key."""

    writer: bytes
    "Public key of its writer (32 bytes), or empty where the store has no writers."
    name: bytes
    "Sub-name that tells apart several values of one writer under one key, up to 64 bytes."
    value: bytes
    remaining_s: float
    "Seconds until the store forgets it unless its writer puts it again."


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change under a key, as `listen` yields it."""

    kind: Literal["added", "updated", "removed"]
    stored: StoredValue


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How a put or a remove went."""

    stored: int
    "Nodes (or files, or tables) that confirmed the value, this process included."
    refused: tuple[str, ...] = ()
    "One readable reason per refusal."


class Store(Protocol):
    """A place for service items. All methods are trio coroutines; `StoreError` is their only expected error."""

    pushes: bool
    "Whether `listen` reports changes by itself (then an importer polls only as a safety net)."

    async def put(self, key: bytes, name: bytes, value: bytes, lease_s: float) -> Receipt:
        """Write or replace this writer's value of that name under a 20-byte key for `lease_s` seconds."""
        ...

    async def get(self, key: bytes) -> list[StoredValue]:
        """Return the live values under a key."""
        ...

    async def remove(self, key: bytes, name: bytes) -> Receipt:
        """Remove this writer's value of that name at once."""
        ...

    def listen(self, key: bytes) -> AbstractAsyncContextManager["trio.MemoryReceiveChannel[Change]"]:
        """Subscribe to a key while the context lasts; what is there already arrives as `added` first."""
        ...
