"""What a container is to run, as the controller decides it."""

from pathlib import Path

import msgspec

from netserv.forwarding.filters import PacketFilter, Prefix
from netserv.modules.manifest import Manifest, PortWish


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What all modules of one publisher together may use on this node."""

    memory_bytes: int = 64 << 20
    cpu_share: float = 0.25
    "Of one core."
    pids: int = 16
    "Processes and threads; the runtime itself has 3."
    disk_bytes: int = 16 << 20
    descriptors: int = 128


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A publisher as the containers know him."""

    name: str
    limits: Limits = Limits()
    prefixes: tuple[Prefix, ...] = ()
    "Whose packets his modules may see, and from and to which they may send."
    connects: tuple[Prefix, ...] = ()
    "Where his modules may connect to, through the node."


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """One module, to be loaded into the container of its publisher."""

    account: Account
    manifest: Manifest
    bundle: Path
    "Verified; unpacked by whoever installs it."
    properties: tuple[tuple[str, str], ...] = ()
    packets: PacketFilter | None = None
    ports: tuple[PortWish, ...] = ()
    "Those of the manifest that the operator grants."
