"""What the supervisor says of containers and modules: events as they happen, and how things are."""

from enum import StrEnum
from typing import TypeAlias

import msgspec


class ModuleState(StrEnum):
    """Where a module is."""

    LOADING = "loading"
    RUNNING = "running"
    WAITING = "waiting"
    "Failed; will be loaded again after the back-off."
    FAILED = "failed"
    "And stays so; its packets pass or are dropped by its policy."


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """A module runs; `again` where it ran before: the rings are then to be attached anew."""

    module: int
    again: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A module has raised; a strike."""

    module: int
    where: str
    text: str


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """A module does not run any more: packets of its filters go by its policy until `Loaded` comes, if ever."""

    module: int
    why: str
    again_in_s: float | None
    "None: it stays so."


class Died(msgspec.Struct, frozen=True, tag=True):
    """A container has ended that was not told to."""

    account: str
    why: str


Event: TypeAlias = Loaded | Failed | Stopped | Died


class ModuleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A module."""

    number: int
    name: str
    version: str
    state: ModuleState
    strikes: int
    restarts: int
    counters: dict[str, float]


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A container, and what it has used."""

    account: str
    running: bool
    process: int
    "Its number on this machine; 0 while it does not run."
    user: int
    walls: dict[str, bool]
    memory_bytes: int
    memory_limit_bytes: int
    cpu_s: float
    pids: int
    disk_bytes: int
    disk_limit_bytes: int
    killed_for_memory: int
    rubbish: int
    "Frames that were none."
    modules: tuple[ModuleStatus, ...]
