"""`module.toml`: what a bundle says of its module."""

from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["server", "packet", "both"]
FailurePolicy: TypeAlias = Literal["open", "closed", "reload"]
"""What happens to packets of a module that fails: they pass, they are dropped, or they pass while it is started again
after 1, 2, 4 .. 60 seconds."""

PREMATCH_MAX: Final = 16
"Bytes: `NOTIFY sip:` and the like; the kernel compares them with each packet of the filter."


class PortWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port that a server module listens on, if the operator lets this publisher."""

    proto: Literal["tcp", "udp"]
    port: int


class Prematch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only packets whose transport payload has these bytes there go to the module; others pass in the kernel."""

    offset: int
    data: bytes
    "At most `PREMATCH_MAX`."


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says of its module."""

    name: str
    "Dotted, `NetServ.apps.NetMonitor`."
    version: str
    entry: str
    "`package.module:Class` of its activator."
    kind: Kind
    description: str = ""
    requires: tuple[str, ...] = ()
    "Modules and blocks, `name` or `name>=1.2`."
    exports: tuple[str, ...] = ()
    "Services that modules of the same publisher may find."
    ports: tuple[PortWish, ...] = ()
    failure: FailurePolicy = "open"
    prematch: tuple[Prematch, ...] = ()
    "One of them is enough."
