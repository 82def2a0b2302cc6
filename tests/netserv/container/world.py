"""Containers for tests: a supervisor whose runtime carries out Python text, and what is seen of it from outside."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import trio

from netserv.container.installation import Account, Installation, Limits
from netserv.container.states import ContainerStatus, Event
from netserv.container.supervisor import Supervisor, supervising
from netserv.container.supervisor_config import SupervisorConfig
from netserv.modules.manifest import Manifest

BOXED = Path(__file__).parent / "boxed"
CONFIG = SupervisorConfig(runtime="box_probe", runtime_directories=(BOXED,))
PATIENCE_S = 20.0


def config(**changes: Any) -> SupervisorConfig:
    return msgspec.structs.replace(CONFIG, **changes)


def no_files(_data: bytes) -> Mapping[str, bytes]:
    return {"here.txt": b"of the bundle"}


@asynccontextmanager
async def supervised(settings: SupervisorConfig = CONFIG) -> AsyncIterator[Supervisor]:
    async with supervising(settings, no_files) as supervisor:
        yield supervisor


def installation(do: str = "", *, account: Account | str = "alice", failure: str = "open", **more: Any) -> Installation:
    """A module that carries out some text when it is loaded; `beside` does so in a thread."""
    owner = Account(name=account) if isinstance(account, str) else account
    beside = more.pop("beside", "")
    properties = tuple((name, text) for name, text in (("do", do), ("beside", beside)) if text)
    return Installation(
        account=owner,
        manifest=Manifest(name="test.Probe", version="1.0.0", entry="probe:Probe", kind="server", failure=failure),
        bundle=Path(os.devnull),
        properties=properties,
        **more,
    )


async def said(supervisor: Supervisor, do: str, **more: Any) -> list[str]:
    """What a module says that runs a text; the module stays."""
    number = await supervisor.install(installation(do, **more))
    return [line.text for line in supervisor.log(number)]


def status(supervisor: Supervisor, account: str = "alice") -> ContainerStatus:
    return next(status for status in supervisor.status() if status.account == account)


async def next_event(supervisor: Supervisor, kind: type[Event]) -> Any:
    """The next of a kind."""
    with trio.fail_after(PATIENCE_S):
        async for event in supervisor.events:
            if isinstance(event, kind):
                return event
    raise AssertionError


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what only another process can bring about."""
    with trio.fail_after(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - the kernel sends no event
            await trio.sleep(0.01)


def limits(**changes: Any) -> Limits:
    return Limits(**changes)


def account(name: str, *, connects: tuple[str, ...] = (), **more: Any) -> Account:
    return Account(name=name, connects=tuple(ip_network(prefix) for prefix in connects), **more)
