"""What the node and the zygote say to each other: frames as in `frames.py`, on a SOCK_SEQPACKET pair of their own."""

from typing import Final, TypeAlias

import msgspec

INNER_ID: Final = 1000
"User and group of a publisher as its container sees them; outside they are one of the node's own numbers."


class GroupWall(msgspec.Struct, frozen=True):
    """A control group to join, and how its limit is read back."""

    wall: str
    "`memory`, `cpu` or `pids`; `cpuacct`, which only counts."
    file: str
    value: str


class Prepare(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Make the directories of a publisher."""

    slot: int
    "Number of the publisher on this node while it has a container."
    user: int
    disk_bytes: int


class Start(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Fork a container; beside it: its control socket, its output, then one directory for each of `groups`."""

    slot: int
    user: int
    descriptors: int
    "Limit (RLIMIT_NOFILE)."
    memory_bytes: int
    disk_bytes: int
    groups: tuple[GroupWall, ...]
    left_out: tuple[str, ...] = ()
    "Walls to leave out: the tests of their tests."


class Release(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Remove the directories of a publisher whose container has ended."""

    slot: int


class Up(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The zygote serves; beside it, its directory of modules."""


class Prepared(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Beside it: the data directory (O_PATH, to ask what is used), and the directory for modules."""

    slot: int


class Started(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A container is forked; beside it a descriptor of its process."""

    slot: int


class Ended(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A container is no more."""

    slot: int
    status: int
    "Exit status; of a signal, its number with a minus."


class Refused(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """A request could not be carried out."""

    slot: int
    text: str


ToZygote: TypeAlias = Prepare | Start | Release
FromZygote: TypeAlias = Up | Prepared | Started | Ended | Refused
