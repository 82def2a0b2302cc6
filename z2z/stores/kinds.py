"""What a kind of store gives z2z to be used by its name. A store of one's own is one `StoreKind` and an entry point."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import trio

from mdht.signing import SigningKey
from z2z.stores.base import Store


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a store may need to know of the program."""

    signer: SigningKey
    "By what values are written; another one than the site's where a secret hides the site."
    role: Literal["export", "import", "both"]
    state_dir: Path
    "A directory of this running program alone."
    interface: str | None = None
    bootstrap: tuple[str, ...] = ()
    map_port: bool = False
    "Have the router forward a port to a store that others reach from outside."
    link_key_file: Path | None = None
    "Passphrases of the overlay, for a store that is part of one."
    host_keys: bool = False
    "Hosts of a link sign what they say of themselves."
    proxy: str = ""
    "Address of a proxy into a network, for stores that use one."
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKind:
    """One kind."""

    open: Opener
    "Makes a store of this kind; `LocalProtocolError` says what to change where that cannot be."
    one_way: bool = False
    "It needs one instance for each role."
    keyless: bool = False
    "It can be imported from without a key: it carries only what was meant for the reader."
