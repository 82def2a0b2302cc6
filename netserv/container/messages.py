"""What node and container say to each other, each frame one msgpack value in one packet of a SOCK_SEQPACKET pair.

The socket says who is speaking; no field does. File descriptors travel beside the frame that names how many there are.
"""

from typing import Final, TypeAlias

import msgspec

FRAME_MAX: Final = 65_536
"Bytes; a longer log line or error is cut by who writes it."


class AttachRing(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The rings of this container; beside it, in this order: memory, wake-up of the container, of the broker."""


class Load(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Load a module and start it.

    Beside it, for each port in their order: a listening socket (TCP), or what `datagrams.DatagramSocket` takes (UDP).
    """

    module: int
    "Number on this node."
    name: str
    version: str
    directory: str
    "Where its files are, as the container sees it; its entry is imported from there."
    entry: str
    kind: str
    properties: dict[str, str] = {}
    ports: tuple[tuple[str, int], ...] = ()
    filters: tuple[int, ...] = ()
    "Numbers of its packet filters: packets in the ring bear them."
    exports: tuple[str, ...] = ()


class Filters(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The packet filters of a module from now on, instead of those that `Load` named."""

    module: int
    filters: tuple[int, ...]


class Unload(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Stop a module and forget it."""

    module: int


class Ping(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Say that you live."""

    number: int


class Connected(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The answer to `Connect`; beside it the connected socket, unless there is an error."""

    number: int
    error: str = ""


class Ready(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The first word of a container: its walls, and whether each has held a test from inside."""

    walls: dict[str, bool]


class Loaded(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A module runs."""

    module: int


class Unloaded(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A module has stopped."""

    module: int


class Failed(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A module could not be loaded, or has raised; a strike against it."""

    module: int
    where: str
    "`load`, `start`, `process`, `server`, `timer` or `stop`."
    text: str
    "The last lines of its traceback."


class Log(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A line of a module; 0 is the container itself."""

    module: int
    level: str
    text: str


class Metrics(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Counters of a module, all of them."""

    module: int
    counters: dict[str, float]


class Pong(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The answer to `Ping`."""

    number: int


class Connect(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Connect a TCP socket for a module."""

    number: int
    module: int
    host: str
    port: int


ToContainer: TypeAlias = AttachRing | Load | Filters | Unload | Ping | Connected
FromContainer: TypeAlias = Ready | Loaded | Unloaded | Failed | Log | Metrics | Pong | Connect
